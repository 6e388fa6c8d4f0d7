"""The analyst: image to findings, heatmaps and result objects."""
