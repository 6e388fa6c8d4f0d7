"""Health checks for /healthz: an image could be stored now."""

import math
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass

from storage.errors import StorageError
from storage.files.spool import Spool
from storage.records import JobKind
from storage.store import Store

KEEP_SECONDS = 1.0
_PROBE = "health"


@dataclass(frozen=True, slots=True)
class Check:
    """The result of one check; `problem` is None if it passed."""

    name: str
    problem: str | None


def check_health(store: Store, spool: Spool) -> tuple[Check, ...]:
    """Check what reception needs: the store answers, and the spool stores a file."""
    return _check_store(store), _check_spool(spool)


class Health:
    """Runs the checks at most once in KEEP_SECONDS; thread-safe.

    Each check writes a file, and /healthz needs no token.
    """

    def __init__(
        self, store: Store, spool: Spool, monotonic: Callable[[], float] = time.monotonic
    ) -> None:
        self._store = store
        self._spool = spool
        self._now = monotonic
        self._lock = threading.Lock()
        self._checks: tuple[Check, ...] = ()
        self._until = -math.inf

    def checks(self) -> tuple[Check, ...]:
        """Return the results, which may be up to KEEP_SECONDS old."""
        with self._lock:
            if self._now() >= self._until:
                self._checks = check_health(self._store, self._spool)
                self._until = self._now() + KEEP_SECONDS
            return self._checks


def _check_store(store: Store) -> Check:
    try:
        store.jobs.next_due((JobKind.ANALYSE,))
    except StorageError as error:
        return Check("store", str(error))
    return Check("store", None)


def _check_spool(spool: Spool) -> Check:
    """Write a file: only that detects quotas and read-only disks."""
    try:
        spool.write(_PROBE, b"cxrd")
        spool.delete(_PROBE)
    except StorageError as error:
        return Check("spool", str(error))
    return Check("spool", None)
