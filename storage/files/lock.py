"""One at a time, over all processes of a machine: a lock that its holder's death frees."""

import contextlib
import fcntl
import os
import time
from collections.abc import Iterator
from pathlib import Path

from storage.errors import StoreUnavailableError
from storage.files.durable import os_errors_named

_POLL_SECONDS = 0.1


@contextlib.contextmanager
def turn(lock: Path) -> Iterator[bool]:
    """Whether it is this caller's turn, which lasts as long as the block."""
    with os_errors_named(lock):
        descriptor = os.open(lock, os.O_CREAT | os.O_RDWR | os.O_CLOEXEC, 0o600)
    try:
        yield _is_taken(descriptor)
    finally:
        os.close(descriptor)


@contextlib.contextmanager
def turn_within(lock: Path, seconds: float) -> Iterator[None]:
    """Wait for the turn; raises StoreUnavailableError where another still has it then."""
    deadline = time.monotonic() + seconds
    while True:
        with turn(lock) as mine:
            if mine:
                yield
                return
        if time.monotonic() > deadline:
            raise StoreUnavailableError(
                f"another backup or purge holds {lock}: try again when it has ended"
            )
        time.sleep(_POLL_SECONDS)


def _is_taken(descriptor: int) -> bool:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True
