"""Calibration on what reviewers say about the findings of a site."""
