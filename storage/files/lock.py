"""A lock between processes of one machine (flock), released when its holder exits."""

import contextlib
import fcntl
import os
import time
from collections.abc import Iterator
from pathlib import Path

from storage.errors import StoreUnavailableError
from storage.files.durable import storage_errors

_POLL_SECONDS = 0.1


@contextlib.contextmanager
def try_lock(lock: Path) -> Iterator[bool]:
    """Take the lock for the block and yield True, or yield False if it has another holder."""
    with storage_errors(lock):
        descriptor = os.open(lock, os.O_CREAT | os.O_RDWR | os.O_CLOEXEC, 0o600)
    try:
        yield _flock(descriptor)
    finally:
        os.close(descriptor)


@contextlib.contextmanager
def hold_lock(lock: Path, seconds: float) -> Iterator[None]:
    """Take the lock for the block. Raises StoreUnavailableError if that takes over `seconds`."""
    deadline = time.monotonic() + seconds
    while True:
        with try_lock(lock) as held:
            if held:
                yield
                return
        if time.monotonic() > deadline:
            raise StoreUnavailableError(
                f"another backup or purge holds {lock}: try again when it has ended"
            )
        time.sleep(_POLL_SECONDS)


def is_locked(lock: Path) -> bool:
    """Return True if the lock has a holder. Raises OSError if that cannot be known.

    Any number of callers may ask at once. A file that does not exist is not locked.
    """
    try:
        descriptor = os.open(lock, os.O_RDONLY | os.O_CLOEXEC)
    except FileNotFoundError:
        return False
    try:
        fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    finally:
        os.close(descriptor)
    return False


def _flock(descriptor: int) -> bool:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True
