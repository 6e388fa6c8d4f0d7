"""Instances that come as files, not by C-STORE."""
