"""Counts that take long in a large store, kept for a while that depends on what they cost."""

import threading
import time
from collections.abc import Callable
from typing import Generic, TypeVar

from storage.errors import StorageError

FAST_SECONDS = 0.01
"""Time of a count that is made anew at each scrape."""
SHARE = 0.005
"""Most of the time of a processor that slow counts may take."""
MOST_AGE_SECONDS = 600.0
"""Age at which a scrape waits for a new count."""

Value = TypeVar("Value")


class Kept(Generic[Value]):
    """The last result of a count; thread-safe."""

    def __init__(
        self, count: Callable[[], Value], monotonic: Callable[[], float] = time.monotonic
    ) -> None:
        self._count = count
        self._now = monotonic
        self._lock = threading.Lock()
        self._counting = threading.Lock()
        self._found: tuple[Value, float] | None = None
        self._cost = 0.0

    def value(self) -> tuple[Value, float]:
        """Return the result and its age in seconds. Raises StorageError."""
        with self._lock:
            found, cost = self._found, self._cost
        age = self._now() - found[1] if found is not None else 0.0
        if found is None or cost <= FAST_SECONDS or age > MOST_AGE_SECONDS:
            return self._counted(), 0.0
        if age > cost / SHARE and self._counting.acquire(blocking=False):
            threading.Thread(target=self._count_again, name="counts", daemon=True).start()
        return found[0], age

    def _count_again(self) -> None:
        try:
            self._counted()
        except StorageError:
            return  # The next scrape says so, when it asks the store for the rest.
        finally:
            self._counting.release()

    def _counted(self) -> Value:
        begin, cpu = self._now(), time.thread_time()
        value = self._count()
        with self._lock:
            self._found = value, begin
            self._cost = max(time.thread_time() - cpu, self._now() - begin)
        return value
