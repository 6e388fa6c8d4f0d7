"""`cxrd init`: questions or options, then a configuration."""
