"""Fits calibration curves and operating points."""
