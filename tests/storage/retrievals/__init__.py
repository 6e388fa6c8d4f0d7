"""Tests of storage.retrievals."""
