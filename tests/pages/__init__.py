"""Tests of pages that are held to the source."""
