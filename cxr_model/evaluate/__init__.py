"""Metrics with intervals, by film, patient and label."""
