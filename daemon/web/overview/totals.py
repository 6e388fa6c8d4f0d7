"""The numbers of ended jobs and of all images, kept for a while: they take long to count."""

import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from storage.errors import StorageError
from storage.records import InstanceState, JobState
from storage.status import JobGroup
from storage.store import Store

ENDED = (JobState.DONE, JobState.DISCARDED)
FAST_SECONDS = 0.02
"""Time of a count that is repeated for each page."""
FRESH_SECONDS = 10.0
"""Age at which a slow count is repeated in the background; a page gets the earlier one."""
KEEP_SECONDS = 120.0
"""Age at which a page waits for a new count."""


@dataclass(frozen=True, slots=True)
class Totals:
    """The jobs that are done or discarded, and the revisions of images by state."""

    ended: Mapping[JobGroup, int]
    images: Mapping[InstanceState, int]


class KeptTotals:
    """Counts the totals, not more often than is good for the store; thread-safe."""

    def __init__(self, store: Store, monotonic: Callable[[], float] = time.monotonic) -> None:
        self._store = store
        self._now = monotonic
        self._lock = threading.Lock()
        self._counting = threading.Lock()
        self._totals: Totals | None = None
        self._counted_at = 0.0
        self._took = 0.0

    def totals(self) -> Totals:
        """Return the totals. Raises StorageError."""
        with self._lock:
            known, age = self._totals, self._now() - self._counted_at
            is_slow = self._took > FAST_SECONDS
        if known is None or not is_slow or age > KEEP_SECONDS:
            return self._count()
        if age > FRESH_SECONDS and self._counting.acquire(blocking=False):
            threading.Thread(target=self._count_again, daemon=True).start()
        return known

    def _count_again(self) -> None:
        try:
            self._count()
        except StorageError:
            return  # The next page says so, when it asks the store for the rest.
        finally:
            self._counting.release()

    def _count(self) -> Totals:
        started, status = self._now(), self._store.status
        totals = Totals(status.job_counts(ENDED), status.instance_counts())
        with self._lock:
            self._totals, self._counted_at = totals, self._now()
            self._took = self._counted_at - started
        return totals
