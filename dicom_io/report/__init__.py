"""Findings to a Structured Report."""
