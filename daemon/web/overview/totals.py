"""The numbers of ended jobs, kept for a while: a large store takes long to count them."""

import threading
import time
from collections.abc import Callable, Mapping

from storage.errors import StorageError
from storage.records import JobState
from storage.status import JobGroup
from storage.store import Store

ENDED = (JobState.DONE, JobState.DISCARDED)
FAST_SECONDS = 0.02
"""Time of a count that is repeated for each page."""
FRESH_SECONDS = 10.0
"""Age at which a slow count is repeated in the background; a page gets the earlier one."""
KEEP_SECONDS = 120.0
"""Age at which a page waits for a new count."""


class EndedJobs:
    """Counts of jobs that are done or discarded; thread-safe."""

    def __init__(self, store: Store, monotonic: Callable[[], float] = time.monotonic) -> None:
        self._store = store
        self._now = monotonic
        self._lock = threading.Lock()
        self._counting = threading.Lock()
        self._counts: Mapping[JobGroup, int] | None = None
        self._counted_at = 0.0
        self._took = 0.0

    def counts(self) -> Mapping[JobGroup, int]:
        """Return the counts. Raises StorageError."""
        with self._lock:
            known, age = self._counts, self._now() - self._counted_at
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

    def _count(self) -> Mapping[JobGroup, int]:
        started = self._now()
        counts = self._store.status.job_counts(ENDED)
        with self._lock:
            self._counts, self._counted_at = counts, self._now()
            self._took = self._counted_at - started
        return counts
