"""The pace of a backfill at one peer: hours of the day, waiting films, studies in an hour."""

import datetime
import time
from collections.abc import Callable

from daemon.config.partners.query import PullConfig
from storage.store import Store

_HOUR_SECONDS = 3600.0


def _local_time() -> datetime.datetime:
    return datetime.datetime.now().astimezone()


class Pace:
    """Says when the next study of a backfill may be fetched."""

    def __init__(
        self,
        config: PullConfig,
        store: Store,
        clock: Callable[[], float] = time.monotonic,
        local_time: Callable[[], datetime.datetime] = _local_time,
    ) -> None:
        self._config = config
        self._store = store
        self._clock = clock
        self._local_time = local_time
        self._next_at = clock()

    def may_fetch(self) -> bool:
        """Return True if a study may be fetched now: it is time, and few films wait.

        A study waits while a film that is no backfill waits for its analysis. Raises StorageError.
        """
        if self._clock() < self._next_at or not self._config.is_open(self._local_time()):
            return False
        return self._store.retrievals.has_room(self._config.max_waiting)

    def fetched(self) -> None:
        """Count a study that is being fetched."""
        if self._config.max_per_hour is not None:
            now = self._clock()
            self._next_at = max(now, self._next_at) + _HOUR_SECONDS / self._config.max_per_hour
