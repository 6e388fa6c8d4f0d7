"""Purges old studies, as `retention.days` says, and checks the files at the start of the courier.

A thread of the courier. Several processes may purge at once: each study is one transaction, and a
backup holds a lease that keeps all of them from removing a file meanwhile.
"""

import datetime
import logging
from collections.abc import Iterator

from daemon.config.settings import Config
from daemon.errors import UsageError
from daemon.worker.backoff import Backoff
from daemon.worker.logs.redaction import error_text
from daemon.worker.loop import Loop
from daemon.worker.role import RoleContext
from storage.files.spool import Spool
from storage.hosts.leases import LeaseName
from storage.store import Store
from storage.upkeep.old_studies import OldStudy
from storage.upkeep.retention import WAIT_SECONDS, Purged

log = logging.getLogger("housekeeping")

PURGE_EVERY_SECONDS = 3600.0
CHECK_SPACING = datetime.timedelta(hours=1)
"""A host that starts within this time of a check by another host does not repeat it."""

MAX_FAULTS_LOGGED = 20


class PeriodicPurge:
    """Checks the files once at the start; purges then and every hour."""

    def __init__(self, context: RoleContext, spool: Spool, store: Store) -> None:
        self._config = context.config
        self._worker = context.worker
        self._stop = context.stop
        self._spool = spool
        self._store = store

    def run(self) -> None:
        """Check every file once. Then purge until told to stop, if `retention.days` is set."""
        try:
            self._check_in_turn()
        except Exception as error:  # noqa: BLE001 - a failed check must not prevent the purges
            log.error("the files are not checked: %s", error_text(error))
        if self._config.retention.days is not None:
            backoff = Backoff(PURGE_EVERY_SECONDS, PURGE_EVERY_SECONDS)
            Loop("purge", log, self._stop, backoff).run(self._purge)

    def _check_in_turn(self) -> None:
        """Check the files if no other host of this store does or did so just now."""
        with self._store.leases.turn(LeaseName.CHECK, CHECK_SPACING) as turn:
            if turn is not None:
                self._check_files()
                turn.is_done = not self._stop.is_set()

    def _check_files(self) -> None:
        """Log the files that are missing or have another size; `cxrd verify` reads them, too."""
        found = 0
        for fault in self._store.integrity.faults(self._spool, read=False):
            found += 1
            if found <= MAX_FAULTS_LOGGED:
                log.error("%s", fault)
            if self._stop.is_set():
                return
        if found > MAX_FAULTS_LOGGED:
            log.error("%d files are missing or altered: cxrd verify names all", found)

    def _purge(self) -> float:
        studies = []
        for study in purge(self._config, self._store, self._spool, self._worker):
            studies.append(study)
            log.info(
                "study of instance %d is purged: %d image(s), %d object(s)",
                study.number,
                study.images,
                study.objects,
            )
            if self._stop.is_set():
                break
        if studies:
            megabytes = sum(study.size for study in studies) / 2**20
            log.info("%d study(ies) are purged, %.0f MB are free again", len(studies), megabytes)
        return PURGE_EVERY_SECONDS


def purge(
    config: Config,
    store: Store,
    spool: Spool,
    actor: str,
    wait_seconds: float = WAIT_SECONDS,
) -> Iterator[Purged]:
    """Purge study after study until none is old enough. `actor` goes to the audit trail.

    Raises UsageError if `retention.days` is not set, StoreUnavailableError if a backup is running,
    or another StorageError.
    """
    return store.retention.purge(
        spool, _purge_before(config, store), _committing_peers(config), actor, wait_seconds
    )


def old_studies(config: Config, store: Store) -> tuple[OldStudy, ...]:
    """Return the studies old enough to be purged, with the reason if one is kept.

    Raises UsageError if `retention.days` is not set.
    """
    return store.retention.old_studies(_purge_before(config, store), _committing_peers(config))


def _purge_before(config: Config, store: Store) -> datetime.datetime:
    if config.retention.days is None:
        raise UsageError("retention.days is not set, so everything is kept: set it to purge")
    return store.now() - datetime.timedelta(days=config.retention.days)


def _committing_peers(config: Config) -> list[str]:
    return [peer.name for peer in config.receivers if peer.commitment]
