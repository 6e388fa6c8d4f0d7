"""A bundle and an image to calibrated findings and heatmaps."""
