"""Starts, watches, restarts and stops the roles. Each role is a process of its own.

A role that says at the daemon's start why it cannot work ends the daemon with that error. The
exception is a role whose certificate is not valid at this date: it is started again later, and the
other roles work. A role that dies without a reason, also while it starts, is restarted with
backoff. Its leases are freed at once.
"""

import contextlib
import logging
import math
import multiprocessing
import signal
import socket
import threading
import time
import uuid
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from multiprocessing.connection import Connection
from multiprocessing.context import SpawnProcess

from daemon.audit.configuration import record_configuration
from daemon.audit.users import current_user
from daemon.config.permissions import readable_by_others
from daemon.config.routing import sources_by_title
from daemon.config.settings import Config
from daemon.config.tls import ending_soon
from daemon.errors import RoleFailedError
from daemon.worker.backoff import Backoff
from daemon.worker.board import Board, RoleState, RoleStatus, board_folder
from daemon.worker.listening import addresses_of
from daemon.worker.role import (
    CannotStart,
    Ready,
    RoleName,
    exit_reason,
    interrupts_blocked,
    role_process,
    stop_handler,
)
from storage.audit.records import AuditKind, AuditOutcome
from storage.audit.trail import Audit
from storage.errors import StorageError
from storage.files.spool import make_spool
from storage.queue.jobs import CLOCK_TOLERANCE
from storage.store import Store
from storage.upkeep.integrity import check_store

log = logging.getLogger("supervisor")
START_SECONDS = 120.0
"""A role that has not reported within this time is killed and started again."""
START_ATTEMPTS = 3
"""Deaths of a role at the daemon's start after which the others work without it."""
DRAIN_SECONDS = 8.0
"""The time in which roles finish their jobs before they are killed."""
HEALTHY_SECONDS = 60.0
"""The backoff of a role that lived this long starts again from its initial wait."""
RESTART = Backoff(initial=1.0, maximum=30.0)
POLL_SECONDS = 0.2
RECLAIM_SECONDS = 5.0
"""The time between searches for expired leases, of any worker on any machine."""

_EPOCH = datetime.fromtimestamp(0, UTC)

SPAWN = multiprocessing.get_context("spawn")


@dataclass(slots=True)
class _Child:
    """One role and its current process, if any."""

    role: RoleName
    process: SpawnProcess | None = None
    channel: "Connection[None, Ready | CannotStart] | None" = None
    worker: str = ""
    started: float = 0.0
    is_up: bool = False
    since: datetime = _EPOCH
    """The time of the last change between starting, up and down."""
    failures: int = 0
    restarts: int = 0
    restart_at: float = 0.0
    refusal: CannotStart | None = None
    """The reason that the last process gave, or None."""
    recorded: str = ""
    """The last refusal in the audit trail. The same reason is not repeated there."""
    ended: str = ""
    """The end of the last process; empty once a later process works."""

    @property
    def is_settled(self) -> bool:
        """True if the start of the daemon does not wait for this role any longer."""
        waits = self.refusal is not None and (self.refusal.temporary or self.refusal.final)
        return self.is_up or waits or self.failures >= START_ATTEMPTS

    @property
    def state(self) -> RoleState:
        if self.process is None:
            return RoleState.DOWN
        return RoleState.UP if self.is_up else RoleState.STARTING


class Supervisor:
    """The parent process of the daemon."""

    def __init__(
        self,
        config: Config,
        roles: Sequence[RoleName],
        *,
        restart: Backoff = RESTART,
        monotonic: Callable[[], float] = time.monotonic,
        wall: Callable[[], float] = time.time,
    ) -> None:
        self._config = config
        self._children = [_Child(role) for role in roles]
        self._restart = restart
        self._monotonic = monotonic
        self._wall = wall
        # With infinity the first check shifts jobs: the clock may have been set back before.
        self._clock = math.inf
        self._reclaim_at = 0.0

    def run(self, stop: threading.Event, on_ready: Callable[[Sequence[RoleName]], None]) -> None:
        """Run until `stop` is set. Call `on_ready` with the roles that work.

        Raises:
            RoleFailedError: a role says why it cannot start; the other roles have been stopped.
            StorageError: the store is damaged, or cannot be opened or upgraded.
            ConfigError, CertificateError: another user may change this node's files, or a
                certificate cannot be used.
        """
        for line in (*readable_by_others(self._config), *ending_soon(self._config)):
            log.warning("%s", line)
        if not check_store(self._config.resolved_database_url, self._config.spool_dir):
            log.warning("the store is too large to be checked at each start: use `cxrd verify`")
        with Store.open(self._config.resolved_database_url, migrate=True) as store:
            store.integrity.require_spool(self._config.spool_dir)
            make_spool(self._config.spool_dir)
            self._adopt_sources(store)
            self._record_start(store.audit)
            with Board(board_folder(self._config), self._monotonic) as board:
                self._supervise(store, board, stop, on_ready)

    def _supervise(
        self,
        store: Store,
        board: Board,
        stop: threading.Event,
        on_ready: Callable[[Sequence[RoleName]], None],
    ) -> None:
        try:
            for child in self._children:
                self._start(child)
            self._await_ready(store, board, stop)
            if not stop.is_set():
                on_ready([child.role for child in self._children if child.is_up])
            while not stop.wait(POLL_SECONDS):
                self._watch_all(store)
                self._requeue_jobs_in_time(store)
                board.publish(self._statuses())
        finally:
            self._stop_all()
            for child in self._children:
                self._release(child, store)
            self._record(store.audit, AuditKind.APPLICATION_STOPPED)

    def _statuses(self) -> list[RoleStatus]:
        return [
            RoleStatus(
                role=child.role,
                state=child.state,
                since=child.since,
                restarts=child.restarts,
                reason=child.ended,
                addresses=tuple(map(str, addresses_of(self._config, child.role))),
            )
            for child in self._children
        ]

    def _adopt_sources(self, store: Store) -> None:
        """Give the studies of an earlier version a source, and hold those of two patients."""
        adopted = store.adopt_sources(sources_by_title(self._config.peers))
        if adopted:
            log.info("%d study(ies) of an earlier version have a source now", adopted)
        mixed = store.hold_mixed_studies()
        if mixed:
            log.warning("%d study(ies) of an earlier version hold two patients", mixed)

    def _record_start(self, audit: Audit) -> None:
        changed = record_configuration(audit, self._config)
        if changed:
            log.info("the configuration has changed since the last start: %s", ", ".join(changed))
        roles = ", ".join(child.role for child in self._children)
        self._record(audit, AuditKind.APPLICATION_STARTED, detail=roles)
        log.info("the audit trail ends at %s", audit.head())

    def _record(
        self,
        audit: Audit,
        kind: AuditKind,
        outcome: AuditOutcome = AuditOutcome.SUCCESS,
        detail: str = "",
    ) -> None:
        host = socket.gethostname()
        try:
            audit.record(kind, outcome=outcome, actor=current_user(), host=host, detail=detail)
        except StorageError as error:
            log.error("%s is not in the audit trail: %s", kind, error)

    def _start(self, child: _Child) -> None:
        """Start the process. Raises RoleFailedError if the system has no more processes."""
        child.worker = f"{socket.gethostname()}:{child.role}:{uuid.uuid4().hex[:12]}"
        child.refusal = None
        try:
            child.channel, sender = SPAWN.Pipe(duplex=False)
            with sender, interrupts_blocked():
                process = SPAWN.Process(
                    target=role_process,
                    args=(child.role, self._config, child.worker, sender),
                    name=f"cxrd-{child.role}",
                )
                process.start()
        except OSError as error:
            _close(child)
            raise RoleFailedError(
                f"no process for the {child.role} ({error.strerror or error}): is this machine out"
                " of memory, or at its limit of processes or open files?"
            ) from error
        child.process = process
        child.started = self._monotonic()
        child.since = self._date()
        log.info("%s started, process %d", child.role, process.pid)

    def _date(self) -> datetime:
        return datetime.fromtimestamp(self._wall(), UTC)

    def _await_ready(self, store: Store, board: Board, stop: threading.Event) -> None:
        """Wait until each role works, waits for a valid certificate, or has died repeatedly.

        Raises RoleFailedError if a role says why it cannot start.
        """
        while not stop.is_set() and not all(child.is_settled for child in self._children):
            self._watch_all(store)
            for child in self._children:
                refusal = child.refusal
                if refusal is not None and not (refusal.temporary or refusal.final):
                    raise RoleFailedError(refusal.reason)
            board.publish(self._statuses())
            stop.wait(0.02)

    def _watch_all(self, store: Store) -> None:
        """Keep the roles running. An error of the store is logged; the next call tries again."""
        try:
            for child in self._children:
                self._watch(child, store)
        except StorageError as error:
            log.error("%s", error)

    def _requeue_jobs_in_time(self, store: Store) -> None:
        if self._monotonic() < self._reclaim_at:
            return
        self._reclaim_at = self._monotonic() + RECLAIM_SECONDS
        try:
            self._requeue_jobs(store)
        except StorageError as error:
            log.error("%s", error)

    def _requeue_jobs(self, store: Store) -> None:
        """Queue the jobs of dead workers, and shift jobs if the clock was set back."""
        reclaimed = store.jobs.reclaim()
        if reclaimed:
            log.info("%d job(s) of dead workers are queued again", len(reclaimed))
        clock = self._wall() - self._monotonic()
        if clock < self._clock - CLOCK_TOLERANCE.total_seconds():
            moved = store.jobs.shift_to_clock()
            if moved:
                log.warning("the clock was set back; %d job(s) are due earlier", moved)
        self._clock = clock

    def _watch(self, child: _Child, store: Store) -> None:
        if child.process is None:
            if self._monotonic() >= child.restart_at:
                self._start_again(child, store)
            return
        is_alive = child.process.is_alive()
        # After the look at the process: a message that it sent before its end is read here.
        self._read_messages(child)
        if is_alive and not self._is_overdue(child):
            return
        reason = f"it did not start within {START_SECONDS:.0f} s"
        if is_alive:
            child.process.kill()
            child.process.join()
        elif child.refusal is not None:
            reason = child.refusal.reason
        else:
            reason = exit_reason(child.process.exitcode)
        if self._monotonic() - child.started >= HEALTHY_SECONDS and child.is_up:
            child.failures = 0
        _close(child)
        self._wait_to_restart(child, store, reason)
        self._release(child, store)

    def _is_overdue(self, child: _Child) -> bool:
        waited = self._monotonic() - child.started
        return not child.is_up and child.refusal is None and waited > START_SECONDS

    def _read_messages(self, child: _Child) -> None:
        while child.channel is not None and child.channel.poll():
            try:
                message = child.channel.recv()
            except EOFError:
                return
            if isinstance(message, Ready):
                child.is_up, child.ended, child.since = True, "", self._date()
            else:
                child.refusal = message

    def _start_again(self, child: _Child, store: Store) -> None:
        child.restarts += 1
        try:
            self._start(child)
        except RoleFailedError as error:
            child.refusal = CannotStart(str(error), temporary=True)
            self._wait_to_restart(child, store, str(error))

    def _wait_to_restart(self, child: _Child, store: Store, reason: str) -> None:
        child.failures += 1
        child.ended, child.since = reason, self._date()
        if child.refusal is not None and child.refusal.final:
            log.error("%s stopped for good: %s", child.role, reason)
            child.restart_at = math.inf
        else:
            wait = self._restart.seconds(child.failures)
            log.error("%s stopped: %s; restarting in %.1f s", child.role, reason, wait)
            child.restart_at = self._monotonic() + wait
        refusal = child.refusal.reason if child.refusal is not None else ""
        if refusal == "" or refusal != child.recorded:
            detail = f"{child.role} stopped: {reason}"
            self._record(store.audit, AuditKind.ROLE_FAILED, AuditOutcome.FAILURE, detail)
        child.recorded = refusal

    def _release(self, child: _Child, store: Store) -> None:
        """Free the leases of a process that has ended."""
        try:
            freed = store.jobs.release(child.worker)
            store.audit_readers.release(child.worker)
        except StorageError as error:
            log.error("the jobs of the %s wait until its leases expire: %s", child.role, error)
            return
        if freed:
            log.info("%s held %d job(s); they are queued again", child.role, freed)

    def _stop_all(self) -> None:
        running = [child for child in self._children if child.process is not None]
        for child in running:
            if child.process is not None and child.process.is_alive():
                child.process.terminate()
        deadline = self._monotonic() + DRAIN_SECONDS
        for child in running:
            if child.process is None:
                continue
            child.process.join(max(0.0, deadline - self._monotonic()))
            if child.process.is_alive():
                log.warning("%s did not stop in time and is killed", child.role)
                child.process.kill()
                child.process.join()
            _close(child)


@contextlib.contextmanager
def stop_on_signals() -> Iterator[threading.Event]:
    """Yield an event that SIGTERM and SIGINT set until the context ends."""
    stop = threading.Event()
    handler = stop_handler(stop)
    previous = {
        number: signal.signal(number, handler) for number in (signal.SIGTERM, signal.SIGINT)
    }
    try:
        yield stop
    finally:
        for number, old in previous.items():
            signal.signal(number, old)


def _close(child: _Child) -> None:
    if child.process is not None:
        child.process.close()
    if child.channel is not None:
        child.channel.close()
    child.process = child.channel = None
    child.is_up = False
