"""Health and metrics of this host."""
