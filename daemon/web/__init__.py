"""Role: the status page, health and metrics, read from the store."""
