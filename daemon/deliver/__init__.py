"""Delivery of results, and the purge of old files; in the courier."""
