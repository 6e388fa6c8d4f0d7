"""Reviews: agreement with findings and remarks on films, as people send them."""
