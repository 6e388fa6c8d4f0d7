"""Unified Procedure Steps (PS3.4 Annex CC): the performer's side, over DIMSE and over the web."""
