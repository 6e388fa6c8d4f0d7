"""Waits of jobs for a worker, counted by each role and read by the web role."""
