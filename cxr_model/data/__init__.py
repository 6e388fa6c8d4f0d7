"""Films, labels, splits and tables of predictions."""
