"""Received instances and their results."""
