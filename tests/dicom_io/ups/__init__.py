"""Tests of Unified Procedure Steps."""
