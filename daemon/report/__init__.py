"""Reports of quiet studies; in the analyst."""
