"""The SCU: associations, C-STORE, classification of responses."""
