"""The model: findings, network, calibration, heatmaps, bundles and training."""
