"""The files of a spool under test."""

from pathlib import Path

from storage.files.spool import MARKER_NAME, Spool


def files_in(spool: Spool) -> set[Path]:
    """Return all files of the spool except its marker."""
    files = {path for path in spool.path("tmp").parent.rglob("*") if path.is_file()}
    return files - {spool.path(MARKER_NAME)}
