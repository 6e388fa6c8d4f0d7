"""Can an image be kept now? The checks behind /healthz, each with a name."""

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
    """One thing that reception needs; `problem` is None when it is there."""

    name: str
    problem: str | None


def check_health(store: Store, spool: Spool) -> tuple[Check, ...]:
    """Ask what reception asks: the store for an answer, the spool to keep a file."""
    return _check_store(store), _check_spool(spool)


class Health:
    """The checks for those who ask often: an answer is kept for KEEP_SECONDS.

    Anyone may ask without a token, and each check writes a file. Used from several threads.
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
        """What the last check found, or a new one."""
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
    """Only a file that was written shows that one can be: quotas and read-only disks count."""
    try:
        spool.write(_PROBE, b"cxrd")
        spool.delete(_PROBE)
    except StorageError as error:
        return Check("spool", str(error))
    return Check("spool", None)
