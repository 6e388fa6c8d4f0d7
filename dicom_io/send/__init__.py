"""The SCU: associations, C-STORE, what responses mean."""
