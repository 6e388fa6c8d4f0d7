"""Can an image be kept now? The checks behind /healthz, each with a name."""

from dataclasses import dataclass

from storage.errors import StorageError
from storage.records import JobKind
from storage.spool import Spool
from storage.store import Store

_PROBE = "health"


@dataclass(frozen=True, slots=True)
class Check:
    """One thing that reception needs; `problem` is None when it is there."""

    name: str
    problem: str | None


def check_health(store: Store, spool: Spool) -> tuple[Check, ...]:
    """Ask what reception asks: the store for an answer, the spool to keep a file."""
    return _check_store(store), _check_spool(spool)


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
