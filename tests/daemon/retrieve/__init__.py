"""Tests of daemon.retrieve."""
