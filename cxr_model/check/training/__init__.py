"""Trains and measures a picture check."""
