"""Backup, integrity check, retention."""
