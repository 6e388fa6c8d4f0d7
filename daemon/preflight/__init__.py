"""`cxrd check`: faults of the setup, found before the first image is sent."""
