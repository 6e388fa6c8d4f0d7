"""Sweeps the files that killed processes left in the spool, at the listener's start, then daily."""

import datetime
import logging
import threading

from daemon.worker.backoff import Backoff
from daemon.worker.loop import Loop
from storage.files.spool import LOST_AND_FOUND, Spool
from storage.hosts.leases import LeaseName
from storage.orphans import Sweep, Swept
from storage.store import Store

log = logging.getLogger("sweep")

DAY_SECONDS = 24 * 3600.0
RETRY_SECONDS = 3600.0
"""The wait after a sweep that failed in a part of the spool, or while another host sweeps."""
AT_START, DAILY = datetime.timedelta(hours=1), datetime.timedelta(hours=23)
"""The least time since the last sweep of any host, at the start of a listener and later."""
_PAUSE_SECONDS = 0.01
"""The wait between batches of files: the disk and the store serve the other roles first."""


def sweep_orphans(spool: Spool, store: Store, stop: threading.Event) -> None:
    """Sweep now and every day until told to stop. Of the hosts of one store, one sweeps."""
    sweep = Sweep(spool, store, lambda seconds: stop.wait(seconds + _PAUSE_SECONDS))
    spacing = AT_START

    def step() -> float:
        nonlocal spacing
        with store.leases.turn(LeaseName.SWEEP, spacing) as turn:
            spacing = DAILY
            if turn is None:
                return RETRY_SECONDS
            swept = sweep.run()
            turn.is_done = not swept.failed_batches and not stop.is_set()
        log_swept(swept)
        return RETRY_SECONDS if swept.failed_batches else DAY_SECONDS

    Loop("sweep of the spool", log, stop, Backoff(RETRY_SECONDS, RETRY_SECONDS)).run(step)


def log_swept(swept: Swept) -> None:
    """Log the result of a sweep."""
    log.info(
        "swept: %d unfinished, %d object(s) without a result, %d duplicate(s) deleted; %d busy",
        swept.temporary,
        swept.objects,
        swept.duplicates,
        swept.busy,
    )
    if swept.set_aside:
        log.warning(
            "%d received file(s) without a row in the store are now in %s of the spool: none was "
            "acknowledged, unless the store was restored from a backup; then send them again",
            swept.set_aside,
            LOST_AND_FOUND,
        )
    if swept.put_back:
        log.warning(
            "%d file(s) were put back from %s of the spool: the store names them",
            swept.put_back,
            LOST_AND_FOUND,
        )
    before = swept.waiting - swept.set_aside
    if before > 0:
        log.warning("%d other file(s) wait in %s of the spool", before, LOST_AND_FOUND)
    if swept.failed_batches:
        log.error(
            "%d part(s) of the spool could not be swept: %s", swept.failed_batches, swept.failure
        )
