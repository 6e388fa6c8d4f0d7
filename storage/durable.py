"""Files that are there completely after a power cut, or not at all."""

import contextlib
import errno
import fcntl
import os
import secrets
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

from storage.errors import OutOfSpaceError, SpoolError, StorageError

_NO_ROOM = frozenset({errno.ENOSPC, errno.EDQUOT})


@contextlib.contextmanager
def durable_file(target: Path, temporary_folder: Path) -> Iterator[BinaryIO]:
    """A file to write that takes `target`'s place when the block ends well.

    Temporary file (0600) → flush → fsync → rename → fsync of the folder. `temporary_folder` must
    be on the same file system. When the block or any step up to the rename fails, the temporary
    file is removed and `target` is as it was. The temporary file is locked while it is written,
    see `is_abandoned`.

    Raises OutOfSpaceError or SpoolError.
    """
    temporary = temporary_folder / f".{secrets.token_hex(16)}.part"
    with os_errors_named(target):
        try:
            descriptor = os.open(temporary, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600)
            with os.fdopen(descriptor, "wb") as file:
                fcntl.flock(descriptor, fcntl.LOCK_EX)
                yield file
                file.flush()
                os.fsync(descriptor)
                os.replace(temporary, target)  # noqa: PTH105 - named as the system call it is
        except BaseException:
            with contextlib.suppress(OSError):
                temporary.unlink(missing_ok=True)
            raise
        # The file is whole from here on and stays even when this fails: another thread may just
        # have put its like there and had that acknowledged.
        sync_folder(target.parent)


def is_abandoned(temporary: Path) -> bool:
    """Whether the process that was writing this temporary file is gone."""
    try:
        with temporary.open("rb") as file:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except (BlockingIOError, FileNotFoundError):
        return False
    return True


def make_folder(folder: Path) -> None:
    """Create a folder (0700) and its parents so that they, too, survive a power cut."""
    with os_errors_named(folder):
        for ancestor in reversed([folder, *folder.parents]):
            if not ancestor.exists():
                ancestor.mkdir(mode=0o700, exist_ok=True)
                sync_folder(ancestor.parent)


def sync_folder(folder: Path) -> None:
    """Make the names in a folder durable: a rename is only safe once its folder is synced."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


@contextlib.contextmanager
def os_errors_named(path: Path) -> Iterator[None]:
    """Turn what the operating system reports about `path` into this package's errors."""
    try:
        yield
    except OSError as error:
        raise _named(error, path) from error


def _named(error: OSError, path: Path) -> StorageError:
    if error.errno in _NO_ROOM:
        return OutOfSpaceError(f"no space left for {path}: free some, then it is tried again")
    return SpoolError(f"{path}: {error.strerror or error}: check its disk and permissions")
