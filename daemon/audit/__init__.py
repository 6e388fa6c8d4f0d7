"""Audit events: record, export, forward to syslog."""
