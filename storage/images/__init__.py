"""Received instances, their results and their deliveries."""
