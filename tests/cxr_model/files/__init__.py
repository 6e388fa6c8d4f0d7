"""Tests of reading files of unknown origin."""
