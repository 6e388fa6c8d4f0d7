"""Starts, watches, restarts and stops the roles. Each role is a process of its own.

If a role cannot start with the daemon, the daemon ends with an error. The exception is a role whose
certificate is not valid at this date: it is started again later, and the other roles work. A role
that dies later is restarted with backoff. Its leases are freed at once.
"""

import logging
import math
import multiprocessing
import signal
import socket
import threading
import time
import uuid
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
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
from daemon.worker.role import CannotStart, Ready, RoleName, exit_reason, role_process, stop_handler
from storage.audit.records import AuditKind, AuditOutcome
from storage.audit.trail import Audit
from storage.errors import StorageError
from storage.files.spool import make_spool
from storage.queue.jobs import CLOCK_TOLERANCE
from storage.store import Store
from storage.upkeep.integrity import check_store

log = logging.getLogger("supervisor")
START_SECONDS = 120.0
"""A role that has not reported within this time cannot start."""
DRAIN_SECONDS = 8.0
"""The time in which roles finish their jobs before they are killed."""
HEALTHY_SECONDS = 60.0
"""The backoff of a role that lived this long starts again from its initial wait."""
RESTART = Backoff(initial=1.0, maximum=30.0)
POLL_SECONDS = 0.2
RECLAIM_SECONDS = 5.0
"""The time between searches for expired leases, of any worker on any machine."""

SPAWN = multiprocessing.get_context("spawn")


@dataclass(slots=True)
class _Child:
    """One role and its current process, if any."""

    role: RoleName
    process: SpawnProcess | None = None
    channel: "Connection[None, Ready | CannotStart] | None" = None
    worker: str = ""
    started: float = 0.0
    failures: int = 0
    restart_at: float = 0.0
    reason: str = ""
    """The error of the last start, or empty."""
    recorded: str = ""
    """The last reason in the audit trail. The same reason is not repeated there."""


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
            RoleFailedError: a role cannot start; the other roles have been stopped.
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
            try:
                for child in self._children:
                    self._start(child)
                self._await_ready(stop)
                if not stop.is_set():
                    on_ready([child.role for child in self._children if not child.reason])
                while not stop.wait(POLL_SECONDS):
                    self._watch_all(store)
            finally:
                self._stop_all()
                for child in self._children:
                    self._release(child, store)
                self._record(store.audit, AuditKind.APPLICATION_STOPPED)

    def _adopt_sources(self, store: Store) -> None:
        """Give the films of an earlier version the source of the peer that sent them."""
        adopted = store.adopt_sources(sources_by_title(self._config.peers))
        if adopted:
            log.info("%d study(ies) of an earlier version have a source now", adopted)

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
        child.reason = ""
        try:
            child.channel, sender = SPAWN.Pipe(duplex=False)
            with sender:
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
        log.info("%s started, process %d", child.role, process.pid)

    def _await_ready(self, stop: threading.Event) -> None:
        deadline = self._monotonic() + START_SECONDS
        waiting = list(self._children)
        while waiting and not stop.is_set():
            waiting = [child for child in waiting if not _reported(child)]
            if self._monotonic() > deadline:
                raise RoleFailedError(
                    f"the {waiting[0].role} did not start within {START_SECONDS:.0f} s"
                )
            stop.wait(0.02)

    def _watch_all(self, store: Store) -> None:
        """Keep the roles running. An error of the store is logged; the next call tries again."""
        try:
            for child in self._children:
                self._watch(child, store)
            if self._monotonic() >= self._reclaim_at:
                self._reclaim_at = self._monotonic() + RECLAIM_SECONDS
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
        if child.process.is_alive():
            return
        reason = _end_reason(child)
        if self._monotonic() - child.started >= HEALTHY_SECONDS:
            child.failures = 0
        _close(child)
        self._wait_to_restart(child, store, reason)
        self._release(child, store)

    def _start_again(self, child: _Child, store: Store) -> None:
        try:
            self._start(child)
        except RoleFailedError as error:
            child.reason = str(error)
            self._wait_to_restart(child, store, child.reason)

    def _wait_to_restart(self, child: _Child, store: Store, reason: str) -> None:
        child.failures += 1
        wait = self._restart.seconds(child.failures)
        log.error("%s stopped: %s; restarting in %.1f s", child.role, reason, wait)
        child.restart_at = self._monotonic() + wait
        if child.reason == "" or child.reason != child.recorded:
            detail = f"{child.role} stopped: {reason}"
            self._record(store.audit, AuditKind.ROLE_FAILED, AuditOutcome.FAILURE, detail)
        child.recorded = child.reason

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


@contextmanager
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


def _reported(child: _Child) -> bool:
    """Return True if the role works or waits. Raises RoleFailedError if it cannot start."""
    if child.channel is None or child.process is None:
        return False
    if child.channel.poll():
        message = _receive(child)
        if isinstance(message, Ready):
            return True
        if isinstance(message, CannotStart) and message.temporary:
            child.reason = message.reason
            return True
        raise RoleFailedError(message.reason if message else f"the {child.role} died at its start")
    if not child.process.is_alive():
        raise RoleFailedError(
            f"the {child.role} died at its start ({exit_reason(child.process.exitcode)})"
        )
    return False


def _receive(child: _Child) -> Ready | CannotStart | None:
    try:
        return child.channel.recv() if child.channel is not None else None
    except EOFError:
        return None


def _end_reason(child: _Child) -> str:
    while child.channel is not None and child.channel.poll():
        message = _receive(child)
        if message is None:
            break
        if isinstance(message, CannotStart):
            child.reason = message.reason
    if child.reason:
        return child.reason
    return exit_reason(child.process.exitcode if child.process is not None else None)


def _close(child: _Child) -> None:
    if child.process is not None:
        child.process.close()
    if child.channel is not None:
        child.channel.close()
    child.process = child.channel = None
