"""The ways to a destination, one file for each kind, behind one interface."""
