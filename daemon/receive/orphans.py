"""Clears the spool of what killed processes left behind: when the listener starts, then daily."""

import logging
import threading
from pathlib import Path

from daemon.worker.redaction import unexpected
from storage.errors import StorageError
from storage.files.spool import LOST_AND_FOUND, Spool
from storage.orphans import Sweep, Swept
from storage.store import Store

log = logging.getLogger("sweep")

DAY_SECONDS = 24 * 3600.0

AGAIN_SECONDS = 3600.0
"""Until the next try, where the spool or a part of it could not be swept."""

_PAUSE_SECONDS = 0.01
"""Between batches of files: a sweep is in no hurry, and the disk and the store are others'."""


def sweep_daily(spool: Spool, store: Store, lock: Path, stop: threading.Event) -> None:
    """Sweep now and every day until told to stop; `lock` is held by who makes a backup."""
    sweep = Sweep(spool, store, lock, lambda seconds: stop.wait(seconds + _PAUSE_SECONDS))
    while not stop.is_set():
        wait = AGAIN_SECONDS
        try:
            swept = sweep.run()
            _tell(swept)
            if not swept.batches_failed:
                wait = DAY_SECONDS
        except StorageError as error:
            log.error("the spool is not swept this time: %s", error)
        except Exception as error:  # noqa: BLE001 - one failure must not end all sweeps to come
            log.error("the spool is not swept this time: %s", unexpected(error))
        stop.wait(wait)


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
    before = swept.waiting - swept.set_aside
    if before > 0:
        log.warning("%d other file(s) wait in %s of the spool", before, LOST_AND_FOUND)
    if swept.batches_failed:
        log.error(
            "%d part(s) of the spool could not be swept: %s", swept.batches_failed, swept.failure
        )
