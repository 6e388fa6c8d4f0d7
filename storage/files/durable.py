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
    file is removed and `target` is as it was. A failed fsync is never tried again on the same file:
    the next attempt writes another one from the start. The temporary file is locked while it is
    written, see `remove_if_abandoned`.

    Raises OutOfSpaceError or SpoolError.
    """
    temporary = temporary_folder / f".{secrets.token_hex(16)}.part"
    with os_errors_named(target):
        try:
            with os.fdopen(_open_locked(temporary), "wb") as file:
                yield file
                file.flush()
                os.fsync(file.fileno())
                os.replace(temporary, target)  # noqa: PTH105 - named as the system call it is
        except BaseException:
            with contextlib.suppress(OSError):
                temporary.unlink(missing_ok=True)
            raise
        # The file is whole from here on and stays even when this fails: another thread may just
        # have put its like there and had that acknowledged.
        sync_folder(target.parent)


def remove_if_abandoned(temporary: Path) -> bool:
    """Remove a temporary file whose writer is gone; False where that lives, or it is no file."""
    with folder_locked(temporary.parent, fcntl.LOCK_EX):
        try:
            # Open for writing, as network file systems ask for it.
            with temporary.open("r+b") as file:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                temporary.unlink()
        except (BlockingIOError, FileNotFoundError, IsADirectoryError):
            return False
    return True


def _open_locked(temporary: Path) -> int:
    """A new file and its lock in one step: nobody who looks for abandoned files comes between."""
    with folder_locked(temporary.parent, fcntl.LOCK_SH):
        descriptor = os.open(temporary, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX)
        except BaseException:
            os.close(descriptor)
            raise
    return descriptor


@contextlib.contextmanager
def folder_locked(folder: Path, operation: int) -> Iterator[None]:
    """Hold `fcntl.LOCK_SH` or `LOCK_EX` on a folder; the system lets go when the process ends.

    With `LOCK_NB` BlockingIOError is raised where others hold it, instead of waiting for them.
    """
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        fcntl.flock(descriptor, operation)
        yield
    finally:
        os.close(descriptor)


def make_folder(folder: Path, root: Path | None = None) -> None:
    """Create a folder (0700) and its parents so that they, too, survive a power cut.

    Where `root` is given, only those below it, and never `root` itself. Names that are there
    already are synced as well: who made them may have been killed before that. What this user may
    not write to is not of such making.
    """
    with os_errors_named(folder):
        for ancestor in reversed([folder, *folder.parents]):
            if root is not None and root not in ancestor.parents:
                continue
            if not ancestor.exists():
                ancestor.mkdir(mode=0o700, exist_ok=True)
            if os.access(ancestor.parent, os.W_OK):
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
        raise os_error_named(error, path) from error


def os_error_named(error: OSError, path: Path) -> StorageError:
    """This package's error for what the operating system reports about `path`."""
    if error.errno in _NO_ROOM:
        return OutOfSpaceError(f"no space left for {path}: free some, then it is tried again")
    return SpoolError(f"{path}: {error.strerror or error}: check its disk and permissions")
