"""Counts all films in the background, and keeps the count current.

The memory holds about 60 bytes a film: the newest `MOST_FILMS` films at most, and the films of the
baseline of drift.
"""

import logging
import threading
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace
from datetime import date, datetime, timedelta
from types import MappingProxyType
from typing import TYPE_CHECKING

from daemon.statistics.drift_report import BaselineRule, DriftReport
from daemon.statistics.figure_records import Progress
from daemon.statistics.vocabulary import Vocabulary
from storage.errors import StorageError
from storage.statistics.film_days import DayMark
from storage.store import Store

if TYPE_CHECKING:
    from daemon.statistics.columns import DayColumns
    from daemon.statistics.drift_watch import DriftWatch

logger = logging.getLogger(__name__)

MOST_FILMS = 2_000_000
REFRESH_SECONDS = 20.0
"""Time between looks at the last days."""
FULL_SECONDS = 600.0
"""Time between looks at all days: a film of an earlier day may be rejected or analysed again."""
_LAST_DAYS = 3
_RETRY_SECONDS = 60.0


@dataclass(frozen=True, slots=True, eq=False)
class Count:
    """All films at one moment. `as_of` is None until the first count is complete."""

    days: "Mapping[date, DayColumns]"
    vocabulary: Vocabulary
    as_of: datetime | None = None
    progress: Progress = field(default_factory=lambda: Progress(0, 0))
    dropped_before: date | None = None
    """The first day that is counted, if older ones were left out for want of memory."""
    drift: DriftReport | None = None

    @property
    def films(self) -> int:
        """Number of films."""
        return sum(len(columns) for columns in self.days.values())


class FilmCounter:
    """Counts the films of a store; any thread may read `count`."""

    def __init__(
        self, store: Store, clock: Callable[[], datetime], rule: BaselineRule | None = None
    ) -> None:
        self._store = store
        self._now = clock
        self._marks: dict[date, DayMark] = {}
        self._days: dict[date, DayColumns] = {}
        self._first: date | None = None
        self._rule = rule or BaselineRule()
        self._drift: DriftWatch | None = None
        self._vocabulary = Vocabulary.empty()
        self._count = Count(MappingProxyType({}), self._vocabulary)
        self._lock = threading.Lock()

    @property
    def count(self) -> Count:
        """The films as last counted."""
        return self._count

    def run(self, stop: threading.Event) -> None:
        """Count until `stop` is set. A store that is unavailable is asked again later."""
        full_at = 0.0
        while not stop.is_set():
            is_full = time.monotonic() >= full_at
            wait = REFRESH_SECONDS
            try:
                self.refresh(full=is_full, stop=stop)
            except StorageError as error:
                logger.warning("the statistics are not counted: %s", error)
                wait = _RETRY_SECONDS
            except Exception:
                # The thread goes on: its end would leave old figures on the page for ever.
                logger.exception("the statistics are not counted")
                wait = _RETRY_SECONDS
            else:
                if is_full:
                    full_at = time.monotonic() + FULL_SECONDS
            stop.wait(wait)

    def refresh(self, *, full: bool = True, stop: threading.Event | None = None) -> None:
        """Count the days that changed: of all days, or of the last ones. Raises StorageError.

        Returns early if `stop` is set.
        """
        with self._lock:
            now = self._now()
            since = None if full else now.date() - timedelta(days=_LAST_DAYS)
            marks = self._store.film_days.marks(since)
            known = [day for day in self._marks if since is None or day >= since]
            gone = [day for day in known if day not in marks]
            for day in gone:
                del self._marks[day]
                self._days.pop(day, None)
            changed = [day for day, mark in marks.items() if self._marks.get(day) != mark]
            if not changed and not gone and self._count.as_of is not None:
                self._count = replace(self._count, as_of=now)
            elif self._read(changed, marks, stop or threading.Event()):
                self._publish(now)

    def _read(
        self, changed: Iterable[date], marks: Mapping[date, DayMark], stop: threading.Event
    ) -> bool:
        """Read the days, newest first, and those whose films they replace; True at the end."""
        # Loads numpy, without which the web role is sooner ready.
        from daemon.statistics.columns import columns_of

        waiting = sorted(changed)
        done: set[date] = set()
        is_first = self._count.as_of is None
        total = len(waiting)
        while waiting:
            if stop.is_set():
                return False
            day = waiting.pop()
            begin = time.thread_time()
            read = self._store.film_days.day(day)
            self._days[day] = columns_of(read, self._vocabulary)
            done.add(day)
            if day in marks:
                self._marks[day] = marks[day]
            # Of two days that replace films of each other, each is read once.
            waiting = sorted({*waiting, *(read.earlier & self._days.keys() - done)})
            if is_first:
                progress = Progress(len(done), max(total, len(done) + len(waiting)))
                self._count = Count(MappingProxyType({}), self._vocabulary, progress=progress)
                # Leaves half of the time of a processor to the pages.
                stop.wait(time.thread_time() - begin)
        return True

    def _publish(self, now: datetime) -> None:
        """Publish the newest films; of the others only the baseline of drift stays in memory."""
        films = 0
        for day in sorted(self._days, reverse=True):
            films += len(self._days[day])
            if self._first is not None and day < self._first:
                break
            if films > MOST_FILMS and films > len(self._days[day]):
                self._first = min(other for other in self._days if other > day)
                break
        ordered = dict(sorted(self._days.items()))
        if self._drift is None:
            from daemon.statistics.drift_watch import DriftWatch

            self._drift = DriftWatch(self._rule)
        drift = self._drift.report(ordered, self._vocabulary.models.all())
        if self._first is not None:
            baseline = drift.baseline if drift is not None else None
            for day in ordered:
                is_used = baseline is not None and baseline.first <= day <= baseline.last
                if day < self._first and not is_used:
                    del self._days[day]
        days = MappingProxyType(
            {
                day: columns
                for day, columns in ordered.items()
                if self._first is None or day >= self._first
            }
        )
        total = len(days)
        progress = Progress(total, total)
        self._count = Count(days, self._vocabulary, now, progress, self._first, drift)
