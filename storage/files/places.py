"""The place of a spool, as the configuration names it, and the spool at that place."""

from pathlib import Path

from storage.files.folder_spool import FolderSpool
from storage.files.spool import Spool

SpoolPlace = Path
"""A folder."""


def open_spool(place: SpoolPlace, min_free_bytes: int = 0) -> Spool:
    """Open a spool without creating it; `min_free_bytes` stay free on the disk of a folder."""
    return FolderSpool(place, min_free_bytes, create=False)
