"""Durable files: after a power cut a file is complete or absent."""

import contextlib
import errno
import fcntl
import hashlib
import os
import secrets
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import BinaryIO

from storage.errors import OutOfSpaceError, SpoolError, StorageError

_DISK_FULL = frozenset({errno.ENOSPC, errno.EDQUOT})
_REMEDIES = {
    errno.EACCES: "run cxrd as the owner of this path, or give this user the rights",
    errno.EPERM: "run cxrd as the owner of this path, or give this user the rights",
    errno.EROFS: "mount this file system for writing",
    errno.ENOTDIR: "a file is where a folder must be",
    errno.EISDIR: "name a file in it",
    errno.ENOENT: "make its folder, or mount its disk",
}


@contextlib.contextmanager
def durable_file(target: Path, temporary_folder: Path) -> Iterator[BinaryIO]:
    """Yield a file to write, which replaces `target` after the block.

    Temporary file (0600) → flush → fsync → rename → fsync of the folder. `temporary_folder` must
    be on the same file system. If the block or a step before the rename fails, the temporary file
    is removed and `target` is unchanged. A failed fsync is not retried on the same file: the next
    attempt writes a new file. The temporary file is locked while it is written, see
    `remove_if_abandoned`.

    Raises OutOfSpaceError or SpoolError.
    """
    temporary = _temporary_name(temporary_folder)
    with storage_errors(target):
        try:
            with folder_locked(temporary_folder, fcntl.LOCK_SH):
                descriptor = _open_locked(temporary)
            with os.fdopen(descriptor, "wb") as file:
                yield file
                file.flush()
                os.fsync(file.fileno())
                os.replace(temporary, target)  # noqa: PTH105 - the name of the system call
        except BaseException:
            with contextlib.suppress(OSError):
                temporary.unlink(missing_ok=True)
            raise
        # The file is complete and stays even if this step fails: another thread may have written
        # the same file and acknowledged it.
        sync_folder(target.parent)


def write_together(
    files: Sequence[tuple[Path, bytes | memoryview]], temporary_folder: Path
) -> None:
    """Write several files, each complete or absent after a power cut, as `durable_file` does.

    All temporary files are written, then all are synced, then all are renamed. At last each folder
    is synced once. If a step before the first rename fails, no target is changed. If a later step
    fails, a target is unchanged or complete. Raises OutOfSpaceError or SpoolError.
    """
    temporaries = [_temporary_name(temporary_folder) for _ in files]
    with contextlib.ExitStack() as stack:
        stack.callback(_remove_all, temporaries)
        opened = []
        with storage_errors(temporary_folder), folder_locked(temporary_folder, fcntl.LOCK_SH):
            for temporary in temporaries:
                opened.append(stack.enter_context(os.fdopen(_open_locked(temporary), "wb")))
        for file, (target, data) in zip(opened, files, strict=True):
            with storage_errors(target):
                file.write(data)
                file.flush()
        for file, (target, _) in zip(opened, files, strict=True):
            with storage_errors(target):
                os.fsync(file.fileno())
        for temporary, (target, _) in zip(temporaries, files, strict=True):
            with storage_errors(target):
                os.replace(temporary, target)  # noqa: PTH105 - the name of the system call
        temporaries.clear()
    for folder in dict.fromkeys(target.parent for target, _ in files):
        with storage_errors(folder):
            sync_folder(folder)


def _remove_all(temporaries: Sequence[Path]) -> None:
    for temporary in temporaries:
        with contextlib.suppress(OSError):
            temporary.unlink(missing_ok=True)


def _temporary_name(folder: Path) -> Path:
    return folder / f".{secrets.token_hex(16)}.part"


def remove_if_abandoned(temporary: Path) -> bool:
    """Remove a temporary file whose writer has exited; return True if it was removed."""
    with folder_locked(temporary.parent, fcntl.LOCK_EX):
        try:
            # On a network file system an exclusive lock needs a file that is open for writing.
            with temporary.open("r+b") as file:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                temporary.unlink()
        except (BlockingIOError, FileNotFoundError, IsADirectoryError):
            return False
    return True


def _open_locked(temporary: Path) -> int:
    """Create and lock a file. The caller has locked its folder, so that no sweep comes between."""
    descriptor = os.open(temporary, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
    except BaseException:
        os.close(descriptor)
        raise
    return descriptor


@contextlib.contextmanager
def folder_locked(folder: Path, operation: int) -> Iterator[None]:
    """Hold `fcntl.LOCK_SH` or `LOCK_EX` on a folder; the lock ends with the process.

    With `LOCK_NB` it raises BlockingIOError instead of waiting for other holders.
    """
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        fcntl.flock(descriptor, operation)
        yield
    finally:
        os.close(descriptor)


def make_folder(folder: Path, root: Path | None = None) -> None:
    """Create a folder (0700) and its parents, durably.

    With `root` only folders below `root` are created. Existing folders are synced, too: the process
    that created them may have been killed before its sync. Folders in a parent that this user
    cannot write to were not created by us and are not synced.
    """
    with storage_errors(folder):
        for ancestor in reversed([folder, *folder.parents]):
            if root is not None and root not in ancestor.parents:
                continue
            if not ancestor.exists():
                ancestor.mkdir(mode=0o700, exist_ok=True)
            if os.access(ancestor.parent, os.W_OK):
                sync_folder(ancestor.parent)


def file_sha256(path: Path) -> str:
    """Return the SHA-256 of a file, as lower-case hexadecimal digits. Raises OSError."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def sync_folder(folder: Path) -> None:
    """Make the names in a folder durable. A rename is durable after the sync of its folder."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


@contextlib.contextmanager
def storage_errors(path: Path) -> Iterator[None]:
    """Raise an OSError inside the block as a StorageError that names `path`."""
    try:
        yield
    except OSError as error:
        raise storage_error(error, path) from error


def storage_error(error: OSError, path: Path) -> StorageError:
    """Return the StorageError for an OSError; its text names `path`."""
    if error.errno in _DISK_FULL:
        return OutOfSpaceError(f"no space left for {path}: free some and try again")
    remedy = _REMEDIES.get(error.errno or 0, "check its disk and permissions")
    return SpoolError(f"{path}: {error.strerror or error}: {remedy}")
