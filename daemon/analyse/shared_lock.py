"""A lock that many threads hold together, and that one of them can then hold alone."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager

HANG_SECONDS = 120.0
"""A job that is to be alone waits no longer for the others: one of them may hang."""


class SharedLock:
    """Lets any number of jobs run at once, or one of them that may end the process alone."""

    def __init__(self, hang_seconds: float = HANG_SECONDS) -> None:
        self._hang_seconds = hang_seconds
        self._changed = threading.Condition()
        self._in_work = 0
        self._is_one_alone = False

    @contextmanager
    def shared(self) -> Iterator[None]:
        """Hold the lock with the others, after the end of one that holds or awaits it alone."""
        with self._changed:
            self._changed.wait_for(lambda: not self._is_one_alone)
            self._in_work += 1
        try:
            yield
        finally:
            with self._changed:
                self._in_work -= 1
                self._changed.notify_all()

    @contextmanager
    def exclusive(self) -> Iterator[bool]:
        """Inside `shared`, wait for the others to end; yield False if another holds it alone."""
        with self._changed:
            is_first = not self._is_one_alone
            if is_first:
                self._is_one_alone = True
                self._changed.wait_for(lambda: self._in_work == 1, self._hang_seconds)
        try:
            yield is_first
        finally:
            if is_first:
                with self._changed:
                    self._is_one_alone = False
                    self._changed.notify_all()
