"""Imports published checkpoints into bundles."""
