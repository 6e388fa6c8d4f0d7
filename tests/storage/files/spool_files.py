"""The files of a spool under test."""

from pathlib import Path

from storage.files.folder_spool import FolderSpool
from storage.files.marker import MARKER_NAME


def files_in(spool: FolderSpool) -> set[Path]:
    """Return all files of the spool except its marker."""
    files = {path for path in spool.path("tmp").parent.rglob("*") if path.is_file()}
    return files - {spool.path(MARKER_NAME)}
