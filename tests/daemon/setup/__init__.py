"""Tests of `cxrd init`."""
