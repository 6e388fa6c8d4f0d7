"""Keeps the tally of the audit trail current: a few rows at each scrape, many in the background."""

import logging
import threading
import time
from collections.abc import Callable, Iterable

from daemon.web.health.metrics.tally import Tally
from storage.audit.tail import CountPlace
from storage.errors import StorageError
from storage.store import Store

log = logging.getLogger("web")

PAGE_ROWS = 2_000
"""Rows that a scrape counts itself: about 10 ms of work."""
SAVE_ROWS = 10_000
SAVE_SECONDS = 600.0
_READER = "metrics"


class CountedTrail:
    """The tally of a store's trail; thread-safe.

    A new process goes on from the counts that an earlier one saved. `known` are names that become
    labels in any case.
    """

    def __init__(
        self,
        store: Store,
        known: Iterable[str],
        monotonic: Callable[[], float] = time.monotonic,
        page_rows: int = PAGE_ROWS,
    ) -> None:
        self._store = store
        self._known = frozenset(known)
        self._now = monotonic
        self._page_rows = page_rows
        self._lock = threading.Lock()
        self._catching_up = threading.Lock()
        self._saving = threading.Lock()
        self._tally: Tally | None = None
        self._is_complete = False
        self._saved_number = 0
        self._saved_at = monotonic()

    def read(self, use: Callable[[Tally], None]) -> bool:
        """Count new rows and call `use` with the tally, which it may not keep.

        Returns False while a long trail is counted for the first time. Raises StorageError.
        """
        if self._catching_up.locked() and not self._is_complete:
            return False
        with self._lock:
            is_at_end = self._count_page()
            if self._is_complete and self._tally is not None:
                use(self._tally)
        if not is_at_end and self._catching_up.acquire(blocking=False):
            threading.Thread(target=self._catch_up, name="trail", daemon=True).start()
        return self._is_complete

    def _catch_up(self) -> None:
        try:
            is_at_end = False
            while not is_at_end:
                begin = time.thread_time()
                with self._lock:
                    is_at_end = self._count_page()
                # Leaves half of the time of a processor to the pages.
                time.sleep(time.thread_time() - begin)
        except StorageError as error:
            log.warning("the audit trail is not counted for /metrics: %s", error)
        finally:
            self._catching_up.release()

    def _count_page(self) -> bool:
        try:
            return self._counted_page()
        except StorageError:
            self._is_complete = False
            raise

    def _counted_page(self) -> bool:
        """Count the next page of rows; return True if it is the last."""
        tally = self._tally or self._begun()
        # After an error below, the counts are made again from those that were saved.
        self._tally = None
        rows = self._store.audit_tail.rows(tally.number, self._page_rows)
        if not rows and self._store.audit.head().number < tally.number:
            # Another store has taken its place, as after a restored backup.
            self._is_complete = False
            return False
        delivered = tally.add(rows)
        if delivered:
            made = self._store.activity.reports_made({report for report, _, _ in delivered})
            tally.add_deliveries(delivered, made)
        self._tally = tally
        is_at_end = len(rows) < self._page_rows
        self._is_complete = self._is_complete or is_at_end
        self._save(tally)
        return is_at_end

    def _begun(self) -> Tally:
        """Return the counts that were saved, or none."""
        tally = Tally(self._known)
        place = self._store.audit_tail.place(_READER)
        if place is not None and tally.restore(place.number, place.counts):
            self._saved_number = place.number
        return tally

    def _save(self, tally: Tally) -> None:
        """Save the counts in the background after many rows, or after a while."""
        new = tally.number - self._saved_number
        is_due = new >= SAVE_ROWS or self._now() - self._saved_at >= SAVE_SECONDS
        if not new or not is_due or not self._saving.acquire(blocking=False):
            return
        place = CountPlace(tally.number, tally.plain())
        self._saved_number, self._saved_at = tally.number, self._now()
        threading.Thread(target=self._write, args=(place,), name="save", daemon=True).start()

    def _write(self, place: CountPlace) -> None:
        """Write counts: a store that is locked lets a writer wait. An error is only logged."""
        try:
            self._store.audit_tail.save(_READER, place)
        except StorageError as error:
            log.warning("the counts of /metrics are not saved: %s", error)
        finally:
            self._saving.release()
