"""Films and findings for the statistics, read a day at a time."""
