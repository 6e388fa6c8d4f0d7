"""Clears the spool of what killed processes left behind: when the listener starts, then daily."""

import logging
import threading

from storage.errors import StorageError
from storage.spool import LOST_AND_FOUND, Spool
from storage.store import Store
from storage.sweep import Sweep, Swept

log = logging.getLogger("sweep")

DAY_SECONDS = 24 * 3600.0
_PAUSE_SECONDS = 0.01
"""Between batches of files: a sweep is in no hurry, and the disk and the store are others'."""


def sweep_daily(spool: Spool, store: Store, stop: threading.Event) -> None:
    """Sweep now and every day until told to stop."""
    while not stop.is_set():
        try:
            _tell(Sweep(spool, store, lambda seconds: stop.wait(seconds + _PAUSE_SECONDS)).run())
        except StorageError as error:
            log.error("the spool is not swept this time: %s", error)
        stop.wait(DAY_SECONDS)


def _tell(swept: Swept) -> None:
    log.info(
        "swept: %d unfinished, %d object(s) that no result names, %d kept elsewhere; %d left",
        swept.unfinished,
        swept.unnamed,
        swept.kept_elsewhere,
        swept.busy,
    )
    if swept.set_aside:
        log.warning(
            "%d received file(s) that the store does not know are now in %s of the spool: none was "
            "acknowledged, unless the store was restored from a backup; then send them again",
            swept.set_aside,
            LOST_AND_FOUND,
        )
    elif swept.waiting:
        log.warning("%d file(s) wait in %s of the spool", swept.waiting, LOST_AND_FOUND)
