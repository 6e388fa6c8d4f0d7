"""The numbers of ended jobs and of all images, kept for a while: they take long to count."""

import threading
import time
from collections.abc import Callable
from datetime import datetime

from daemon.web.health.totals import Totals, count_totals
from storage.errors import StorageError
from storage.store import Store

FAST_SECONDS = 0.02
"""Time of a count that is repeated for each page."""
FRESH_SECONDS = 10.0
"""Age at which a slow count is repeated in the background; a page gets the earlier one."""
KEEP_SECONDS = 60.0
"""Age at which a page waits a little for the new count, and names the time of an earlier one."""
WAIT_SECONDS = 0.1


class KeptTotals:
    """Counts the totals, not more often than is good for the store; thread-safe.

    Only the first page waits for a slow count.
    """

    def __init__(
        self,
        store: Store,
        clock: Callable[[], datetime],
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self._store = store
        self._date = clock
        self._now = monotonic
        self._lock = threading.Lock()
        self._counting = threading.Lock()
        self._ended = threading.Event()
        self._totals: Totals | None = None
        self._counted_at = 0.0
        self._took = 0.0

    def totals(self) -> Totals:
        """Return the totals. Raises StorageError."""
        with self._lock:
            known, age = self._totals, self._now() - self._counted_at
            is_slow = self._took > FAST_SECONDS
        if known is None or not is_slow:
            return self._count()
        if age <= FRESH_SECONDS:
            return known
        if self._counting.acquire(blocking=False):
            self._ended.clear()
            threading.Thread(target=self._count_again, daemon=True).start()
        if age <= KEEP_SECONDS:
            return known
        self._ended.wait(WAIT_SECONDS)
        with self._lock:
            return self._totals or known

    def _count_again(self) -> None:
        try:
            self._count()
        except StorageError:
            return  # The next page says so, when it asks the store for the rest.
        finally:
            self._counting.release()
            self._ended.set()

    def _count(self) -> Totals:
        started = self._now()
        totals = count_totals(self._store, self._date())
        with self._lock:
            self._totals, self._counted_at = totals, self._now()
            self._took = self._counted_at - started
        return totals
