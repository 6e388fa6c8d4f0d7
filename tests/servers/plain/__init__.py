"""Servers of files and of syslog messages."""
