"""The place of a spool, as the configuration names it, and the spool at that place."""

from pathlib import Path

from storage.errors import SpoolError
from storage.files.folder_spool import FolderSpool
from storage.files.s3.place import S3Place
from storage.files.spool import Spool

SpoolPlace = Path | S3Place
"""A folder, or a bucket."""


def open_spool(place: SpoolPlace, min_free_bytes: int = 0) -> Spool:
    """Open a spool without creating it; `min_free_bytes` stay free on the disk of a folder.

    Raises SpoolError if the library for S3 is not installed.
    """
    if isinstance(place, Path):
        return FolderSpool(place, min_free_bytes, create=False)
    try:
        from storage.files.s3.s3_spool import S3Spool
    except ModuleNotFoundError as error:
        raise SpoolError(
            f"spool.url is {place}, and {error.name} is not installed: pip install 'cxrd[s3]'"
        ) from error
    return S3Spool(place)
