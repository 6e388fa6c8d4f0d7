"""Query and retrieval at an archive: C-FIND, C-MOVE and C-GET (PS3.4 Annex C)."""
