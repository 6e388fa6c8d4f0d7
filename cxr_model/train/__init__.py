"""Training: films to a measured bundle."""
