"""The store as the supervisor uses it.

It is checked and upgraded before a role may work. Later the jobs of dead workers are queued again,
and the audit trail gets the starts, stops and failures of the roles.
"""

import contextlib
import functools
import logging
import math
import socket
from collections.abc import Callable, Collection, Iterator, Sequence

from daemon.audit.configuration import record_configuration
from daemon.audit.users import current_user
from daemon.config.routing import sources_by_title
from daemon.config.settings import Config
from daemon.hosts.agreement import section_digests
from daemon.hosts.at_start import clock_fault, settings_apart
from daemon.hosts.presence import Presence
from daemon.hosts.survey import survey
from daemon.supervise.left_work import films_in_work, left_in_queue
from daemon.worker.bell import ring_all
from daemon.worker.board import RoleStatus
from daemon.worker.role import RoleName
from storage.audit.records import AuditKind, AuditOutcome
from storage.errors import StorageError
from storage.files.places import open_spool
from storage.queue.jobs import CLOCK_TOLERANCE
from storage.store import Store
from storage.upkeep.integrity import check_store

log = logging.getLogger("supervisor")
LISTING_SECONDS = 10.0
RECLAIM_SECONDS = 5.0
"""The time between searches for expired leases, of any worker on any machine."""


class _ListingLog:
    """Logs how far the upgrade of an earlier store is, every LISTING_SECONDS."""

    def __init__(self, monotonic: Callable[[], float]) -> None:
        self._now = monotonic
        self._began = self._next = monotonic()

    def reached(self, done: int, total: int) -> None:
        """Log the number of studies that are done if it is time for it."""
        now = self._now()
        if now < self._next:
            return
        self._next = now + LISTING_SECONDS
        if not done:
            log.info("the store is upgraded: %d study(ies) are listed anew", total)
            return
        left = (now - self._began) / done * (total - done)
        log.info(
            "the store is upgraded: %d of %d study(ies) are listed, about %.0f s are left",
            done,
            total,
            left,
        )


class SupervisedStore:
    """The open store, between the start and the stop of the daemon."""

    def __init__(
        self,
        store: Store,
        monotonic: Callable[[], float],
        ring: Callable[[], None],
        presence: Presence,
    ) -> None:
        """`ring` wakes the workers of this host after jobs were queued."""
        self._store = store
        self._presence = presence
        self._ring = ring
        self._monotonic = monotonic
        # With infinity the first check shifts jobs: the clock may have been set back before.
        self._clock = math.inf
        self._reclaim_at = 0.0

    @classmethod
    @contextlib.contextmanager
    def opened(
        cls,
        config: Config,
        roles: Sequence[RoleName],
        monotonic: Callable[[], float],
    ) -> Iterator["SupervisedStore"]:
        """Check the store, create or upgrade it, and record the start; close it after the block.

        Raises StorageError: the store is damaged, cannot be opened or upgraded, or the spool is not
        that of the store.
        """
        spool = open_spool(config.spool_place)
        if not check_store(config.resolved_database_url, spool):
            log.warning("the store is too large to be checked at each start: use `cxrd verify`")
        listed = _ListingLog(monotonic).reached
        with Store.open(config.resolved_database_url, migrate=True, progress=listed) as store:
            if (newer := store.newer_schema()) is not None:
                log.warning(
                    "the store is of a newer version (revision %s), beside which this one works:"
                    " upgrade this host soon",
                    newer,
                )
            store.binding.bind(spool)
            _warn_of_hosts(config, store)
            _adopt_sources(config, store)
            presence = Presence(config, store.nodes, monotonic)
            ring = functools.partial(ring_all, config, store)
            supervised = cls(store, monotonic, ring, presence)
            supervised._record_start(config, roles)
            yield supervised

    def record(
        self, kind: AuditKind, outcome: AuditOutcome = AuditOutcome.SUCCESS, detail: str = ""
    ) -> None:
        """Write a row of the audit trail; log it if the store does not take it."""
        host = socket.gethostname()
        try:
            self._store.audit.record(
                kind, outcome=outcome, actor=current_user(), host=host, detail=detail
            )
        except StorageError as error:
            log.error("%s is not in the audit trail: %s", kind, error)

    def present(self, supervisor: str) -> None:
        """Begin to show the roles to all hosts, under this name of their supervisor."""
        self._presence.begin(supervisor)

    def announce(self, roles: Sequence[RoleStatus]) -> None:
        """Show the states of the roles to all hosts, if they changed or it is time."""
        self._presence.renew(roles)

    def withdraw(self) -> None:
        """Show to all hosts that the roles of this host have stopped."""
        self._presence.end()

    def release(self, role: RoleName, worker: str) -> None:
        """Free the leases of a worker whose process has ended."""
        try:
            freed = self._store.jobs.release(worker)
            self._store.audit_readers.release(worker)
        except StorageError as error:
            log.error("the jobs of the %s wait until its leases expire: %s", role, error)
            return
        if freed:
            self._ring()
            log.info("%s held %d job(s); they are queued again", role, freed)

    def films_in_work(self, workers: Collection[str]) -> int:
        """Return the number of films that these workers analyse; 0 if the store is unavailable."""
        try:
            return films_in_work(self._store, workers)
        except StorageError:
            return 0

    def left(self) -> str:
        """Return the work that waits for the next start, in words."""
        try:
            return left_in_queue(self._store)
        except StorageError as error:
            return f"the queue could not be read: {error}"

    def requeue_in_time(self) -> None:
        """Queue the jobs of dead workers, once per RECLAIM_SECONDS."""
        if self._monotonic() < self._reclaim_at:
            return
        self._reclaim_at = self._monotonic() + RECLAIM_SECONDS
        try:
            self._requeue_jobs()
            self._finish_changes()
        except StorageError as error:
            log.error("%s", error)

    def _finish_changes(self) -> None:
        """Finish the messages about patients that a listener left when it was killed."""
        finished = self._store.patients.resume()
        if finished:
            self._ring()
            log.info("%d message(s) about patients were cut off; they are followed now", finished)

    def _requeue_jobs(self) -> None:
        """Queue the jobs of dead workers, and shift jobs if the store's clock was set back."""
        reclaimed = self._store.jobs.reclaim()
        if reclaimed:
            self._ring()
            log.info("%d job(s) of dead workers are queued again", len(reclaimed))
        clock = self._store.now().timestamp() - self._monotonic()
        if clock < self._clock - CLOCK_TOLERANCE.total_seconds():
            moved = self._store.jobs.shift_to_clock()
            if moved:
                self._ring()
                log.warning("the clock was set back; %d job(s) are due earlier", moved)
        self._clock = clock

    def _record_start(self, config: Config, roles: Sequence[RoleName]) -> None:
        changed = record_configuration(self._store.audit, config)
        if changed:
            log.info("the configuration has changed since the last start: %s", ", ".join(changed))
        self.record(AuditKind.APPLICATION_STARTED, detail=", ".join(roles))
        log.info("the audit trail ends at %s", self._store.audit.head())


def _warn_of_hosts(config: Config, store: Store) -> None:
    """Log the differences from other hosts with which this host can still work."""
    if fault := clock_fault(store):
        log.warning("%s", fault)
    for apart in settings_apart(survey(config, section_digests(config), store)):
        log.warning("%s", apart)


def _adopt_sources(config: Config, store: Store) -> None:
    """Give the studies of an earlier version a source, and hold those of two patients."""
    adopted = store.adopt_sources(sources_by_title(config.peers))
    if adopted:
        log.info("%d study(ies) of an earlier version have a source now", adopted)
    mixed = store.hold_mixed_studies()
    if mixed:
        log.warning("%d study(ies) of an earlier version hold two patients", mixed)
