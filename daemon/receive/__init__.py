"""Storing received instances, queueing their analysis, sweeping the spool; in the listener."""
