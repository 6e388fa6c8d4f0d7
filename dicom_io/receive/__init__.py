"""The SCP: associations, limits, C-STORE requests."""
