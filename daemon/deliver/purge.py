"""What is done beside the work: files are looked at, and purged when old, as configured.

A thread of the courier. Several processes may do so at once: each study is one transaction, and
whoever makes a backup keeps all of them from removing a file meanwhile.
"""

import datetime
import logging
from collections.abc import Iterator

from daemon.config.settings import Config
from daemon.errors import UsageError
from daemon.worker.redaction import unexpected
from daemon.worker.role import RoleContext
from storage.errors import StorageError
from storage.files.lock import turn_within
from storage.files.spool import Spool
from storage.store import Store
from storage.upkeep.retention import OldStudy, Purged

log = logging.getLogger("housekeeping")

PURGE_EVERY_SECONDS = 3600.0

TURN_SECONDS = 5.0
"""What another purge may need for one study; who holds on longer is making a backup."""

MOST_FAULTS_NAMED = 20


class Housekeeper:
    """Looks at the files when the daemon starts; purges then and every hour."""

    def __init__(self, context: RoleContext, spool: Spool, store: Store) -> None:
        self._context = context
        self._spool = spool
        self._store = store

    def run(self) -> None:
        """Look at every file once, then purge until told to stop, where that is asked for."""
        try:
            self._look_at_files()
        except StorageError as error:
            log.error("the files were not looked at: %s", error)
        except Exception as error:  # noqa: BLE001 - it must not keep the purge from its work
            log.error("the files were not looked at: %s", unexpected(error))
        while self._context.config.retention.days is not None and not self._context.stop.is_set():
            try:
                self._purge()
            except StorageError as error:
                log.error("the purge goes on later: %s", error)
            except Exception as error:  # noqa: BLE001 - it must not end all purges to come
                log.error("the purge goes on later: %s", unexpected(error))
            self._context.stop.wait(PURGE_EVERY_SECONDS)

    def _look_at_files(self) -> None:
        """Name the files that are missing or not as long as they were; `cxrd verify` does more."""
        found = 0
        for fault in self._store.integrity.faults(self._spool, read=False):
            found += 1
            if found <= MOST_FAULTS_NAMED:
                log.error("%s", fault)
            if self._context.stop.is_set():
                return
        if found > MOST_FAULTS_NAMED:
            log.error("%d files are missing or altered: cxrd verify names all", found)

    def _purge(self) -> None:
        purged = []
        for one in purge(self._context.config, self._store, self._spool, self._context.worker):
            purged.append(one)
            log.info(
                "study of instance %d is purged: %d image(s), %d object(s)",
                one.number,
                one.images,
                one.objects,
            )
            if self._context.stop.is_set():
                break
        if purged:
            megabytes = sum(one.size for one in purged) / 2**20
            log.info("%d study(ies) are purged, %.0f MB are free again", len(purged), megabytes)


def purge(config: Config, store: Store, spool: Spool, actor: str) -> Iterator[Purged]:
    """Purge study after study until nothing is left to purge; `actor` is who wants it.

    Raises UsageError where `retention.days` is not set, StoreUnavailableError where a backup is
    under way, or another StorageError.
    """
    purging = store.retention.purge(spool, _before(config), _committers(config), actor)
    while True:
        with turn_within(config.maintenance_lock, TURN_SECONDS):
            purged = next(purging, None)
        if purged is None:
            return
        yield purged


def old_studies(config: Config, store: Store) -> tuple[OldStudy, ...]:
    """What is old enough to be purged, and what of it stays nevertheless. Raises UsageError."""
    return store.retention.old_studies(_before(config), _committers(config))


def _before(config: Config) -> datetime.datetime:
    if config.retention.days is None:
        raise UsageError("retention.days is not set, so everything is kept: set it to purge")
    return datetime.datetime.now(datetime.UTC) - datetime.timedelta(days=config.retention.days)


def _committers(config: Config) -> list[str]:
    return [peer.name for peer in config.destinations if peer.commitment]
