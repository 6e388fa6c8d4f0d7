"""Worklist managers of tests: one state machine of PS3.4 Annex CC, over DIMSE and over the web."""
