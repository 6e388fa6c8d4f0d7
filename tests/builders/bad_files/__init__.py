"""Bundles, checkpoints and tables that must be refused."""
