"""Starts, watches, restarts and stops the roles. Each role is a process of its own.

The first role imports its libraries while the store is checked and upgraded; no role works before.
The others follow in turn, as many at a time as there are processors.

A role that says at the daemon's start why it cannot work ends the daemon with that error. The
exception is a role whose certificate is not valid at this date: it is started again later, and the
other roles work. A role that dies without a reason, also while it starts, is restarted with
backoff. Its leases are freed at once.
"""

import contextlib
import logging
import math
import os
import queue
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import UTC, datetime
from types import FrameType
from typing import TYPE_CHECKING

from daemon.config.settings import Config
from daemon.errors import RoleFailedError
from daemon.supervise.child import Child, seconds_since_start
from daemon.supervise.service_manager import ServiceManager
from daemon.worker.backoff import Backoff
from daemon.worker.board import Board, RoleStatus, board_folder, one_each
from daemon.worker.role import CannotStart, RoleName, stop_handler
from daemon.worker.shares import counted
from storage.audit.records import AuditKind, AuditOutcome
from storage.errors import StorageError

if TYPE_CHECKING:
    from daemon.supervise.supervised_store import SupervisedStore

log = logging.getLogger("supervisor")
START_SECONDS = 120.0
"""A role that has not reported within this time is killed and started again."""
TURN_SECONDS = 2.0
"""The time for which a role that starts keeps the next one from being started."""
DRAIN_SECONDS = 8.0
"""The time in which roles finish their jobs before they are killed.

A listener has its `leave_seconds` and `drain_seconds` more.
"""
HEALTHY_SECONDS = 60.0
"""The backoff of a role that lived this long starts again from its initial wait."""
RESTART = Backoff(initial=1.0, maximum=30.0)
POLL_SECONDS = 0.2

OnReady = Callable[[Mapping[RoleName, float]], None]
"""It gets the roles that work, each with the seconds from the start of this process until then."""


class Supervisor:
    """The parent process of the daemon."""

    def __init__(
        self,
        config: Config,
        roles: Sequence[RoleName],
        *,
        manager: ServiceManager | None = None,
        restart: Backoff = RESTART,
        say: Callable[[str], None] = log.info,
        monotonic: Callable[[], float] = time.monotonic,
        wall: Callable[[], float] = time.time,
    ) -> None:
        self._config = config
        self._role_config = counted(config)
        self._children = [Child(role) for role in roles]
        if RoleName.ANALYST in roles:
            further = self._role_config.analyst.processes - 1
            self._children += [Child(RoleName.ANALYST) for _ in range(further)]
        self._manager = manager or ServiceManager()
        self._restart = restart
        self._say = say
        self._at_once = threading.Event()
        self._listener = config.listener
        self._leave_seconds = self._listener.leave_seconds + self._listener.drain_seconds
        if RoleName.LISTENER not in roles:
            self._leave_seconds = 0.0
        self._monotonic = monotonic
        self._wall = wall
        self._began = monotonic() - seconds_since_start()

    def run(
        self,
        stop: threading.Event,
        on_ready: OnReady,
        at_once: threading.Event | None = None,
    ) -> None:
        """Run until `stop` is set. Call `on_ready` with the roles that work.

        After `stop` the roles finish their jobs, for DRAIN_SECONDS or until `at_once` is set.

        Raises:
            RoleFailedError: a role says why it cannot start; the other roles have been stopped.
            StorageError: the store is damaged, or cannot be opened or upgraded.
        """
        self._at_once = at_once or threading.Event()
        try:
            self._manager.started()
            self._start(self._children[0])
            # Imported here, while the first role imports its own libraries.
            from daemon.supervise.supervised_store import SupervisedStore

            roles = list(dict.fromkeys(child.role for child in self._children))
            opened = SupervisedStore.opened(self._config, roles, self._monotonic)
            folder = board_folder(self._config)
            with opened as store, Board(folder, self._monotonic) as board:
                store.present(board.supervisor)
                self._supervise(store, board, stop, on_ready)
        finally:
            self._stop_all()

    def _supervise(
        self, store: "SupervisedStore", board: Board, stop: threading.Event, on_ready: OnReady
    ) -> None:
        try:
            self._proceed(self._children[0])
            ready = self._await_ready(store, board, stop)
            if not stop.is_set():
                self._manager.ready()
                on_ready(ready)
            while not stop.wait(POLL_SECONDS):
                self._watch_all(store)
                store.requeue_in_time()
                self._publish(store, board)
            self._say_stopping(store)
        finally:
            self._manager.stopping(DRAIN_SECONDS + self._leave_seconds)
            self._stop_all(lambda: self._publish_stop(store, board))
            for child in self._children:
                if child.worker:
                    store.release(child.role, child.worker)
            store.withdraw()
            store.record(AuditKind.APPLICATION_STOPPED)
        self._say(f"cxrd has stopped: {store.left()}")

    def _say_stopping(self, store: "SupervisedStore") -> None:
        if self._leave_seconds:
            self._say(
                f"cxrd is stopping: the listener accepts for {self._listener.leave_seconds:.0f} s"
                f" more, then ends its associations within {self._listener.drain_seconds:.0f} s"
            )
        films = store.films_in_work([child.worker for child in self._children])
        if films:
            self._say(
                f"cxrd is stopping: waiting up to {DRAIN_SECONDS:.0f} s for {films} film(s) in"
                " work; Ctrl-C again ends at once, and the next start analyses them"
            )
        else:
            self._say("cxrd is stopping: no film is in work")

    def _statuses(self) -> Sequence[RoleStatus]:
        return one_each([child.status(self._config) for child in self._children])

    def _publish(self, store: "SupervisedStore", board: Board) -> None:
        roles = self._statuses()
        board.publish(roles)
        store.announce(roles)
        self._manager.beat(roles)

    def _publish_stop(self, store: "SupervisedStore", board: Board) -> None:
        roles = self._statuses()
        board.publish(roles)
        store.announce(roles)
        self._manager.show_life()

    def _start(self, child: Child) -> None:
        """Start the process. Raises RoleFailedError if the system has no more processes."""
        child.start(self._role_config)
        child.started, child.since = self._monotonic(), self._date()

    def _proceed(self, child: Child) -> None:
        """Let the process of a role work."""
        if child.process is not None:
            log.info("%s started, process %d", child.role, child.process.pid)
        child.proceed()

    def _date(self) -> datetime:
        return datetime.fromtimestamp(self._wall(), UTC)

    def _await_ready(
        self, store: "SupervisedStore", board: Board, stop: threading.Event
    ) -> dict[RoleName, float]:
        """Start the roles, and wait until each works, waits for a certificate or died repeatedly.

        Return the seconds until each role that works was ready. Raises RoleFailedError if a role
        says why it cannot start.
        """
        times: dict[int, float] = {}
        while not stop.is_set() and not all(child.is_settled for child in self._children):
            self._start_next()
            self._watch_all(store)
            for number, child in enumerate(self._children):
                refusal = child.refusal
                if refusal is not None and not (refusal.temporary or refusal.final):
                    raise RoleFailedError(refusal.reason)
                if child.is_up:
                    times.setdefault(number, self._monotonic() - self._began)
            self._publish(store, board)
            stop.wait(0.02)
        ready: dict[RoleName, float] = {}
        for number, child in enumerate(self._children):
            if child.is_up:
                ready[child.role] = max(times[number], ready.get(child.role, 0.0))
        return ready

    def _start_next(self) -> None:
        """Start the next role if a processor is free to import its libraries."""
        since = self._monotonic() - TURN_SECONDS
        starting = [
            child
            for child in self._children
            if child.is_started and not child.is_settled and child.started > since
        ]
        waiting = [child for child in self._children if not child.is_started]
        if waiting and len(starting) < max(2, os.cpu_count() or 1):
            self._start(waiting[0])
            self._proceed(waiting[0])

    def _watch_all(self, store: "SupervisedStore") -> None:
        """Keep the roles running. An error of the store is logged; the next call tries again."""
        try:
            for child in self._children:
                if child.is_started:
                    self._watch(child, store)
        except StorageError as error:
            log.error("%s", error)

    def _watch(self, child: Child, store: "SupervisedStore") -> None:
        if child.process is None:
            if self._monotonic() >= child.restart_at:
                self._start_again(child, store)
            return
        is_alive = child.process.is_alive()
        # After the look at the process: a message that it sent before its end is read here.
        if child.read_messages():
            child.since = self._date()
            self._log_ready(child)
        if is_alive and not self._is_overdue(child):
            return
        if is_alive:
            child.kill()
            reason = f"it did not start within {START_SECONDS:.0f} s"
        else:
            reason = child.reason_of_end()
        if self._monotonic() - child.started >= HEALTHY_SECONDS and child.is_up:
            child.failures = 0
        child.close()
        self._wait_to_restart(child, store, reason)
        store.release(child.role, child.worker)

    def _log_ready(self, child: Child) -> None:
        now = self._monotonic()
        since = child.started if child.restarts else self._began
        log.info("%s is ready, %.0f ms after the start", child.role, 1000 * (now - since))

    def _is_overdue(self, child: Child) -> bool:
        waited = self._monotonic() - child.started
        return not child.is_up and child.refusal is None and waited > START_SECONDS

    def _start_again(self, child: Child, store: "SupervisedStore") -> None:
        child.restarts += 1
        try:
            self._start(child)
        except RoleFailedError as error:
            child.refusal = CannotStart(str(error), temporary=True)
            self._wait_to_restart(child, store, str(error))
        else:
            self._proceed(child)

    def _wait_to_restart(self, child: Child, store: "SupervisedStore", reason: str) -> None:
        child.failures += 1
        child.ended, child.since = reason, self._date()
        if child.refusal is not None and child.refusal.final:
            log.error("%s stopped for good: %s", child.role, reason)
            child.restart_at = math.inf
        else:
            wait = self._restart.seconds(child.failures)
            log.error(
                "%(child)s stopped: %(reason)s; restarting in %(seconds).1f s",
                {"child": child.role, "reason": reason, "seconds": wait},
            )
            child.restart_at = self._monotonic() + wait
        refusal = child.refusal.reason if child.refusal is not None else ""
        if refusal == "" or refusal != child.recorded:
            detail = f"{child.role} stopped: {reason}"
            store.record(AuditKind.ROLE_FAILED, AuditOutcome.FAILURE, detail)
        child.recorded = refusal

    def _stop_all(self, on_wait: Callable[[], None] = lambda: None) -> None:
        """Stop all roles. The web role is the last where a listener says that it leaves."""
        running = [child for child in self._children if child.process is not None]
        is_last = [bool(self._leave_seconds) and child.role is RoleName.WEB for child in running]
        for turn in (False, True):
            turns = zip(running, is_last, strict=True)
            self._stop([child for child, last in turns if last is turn], on_wait)

    def _stop(self, children: Sequence[Child], on_wait: Callable[[], None]) -> None:
        for child in children:
            child.ask_to_stop()
        began = self._monotonic()
        while running := [child for child in children if child.process is not None]:
            on_wait()
            for child in running:
                has_time = self._monotonic() < began + self._seconds_to_stop(child)
                if child.is_alive and has_time and not self._at_once.is_set():
                    continue
                if child.is_alive and not has_time:
                    log.warning("%s did not stop in time and is killed", child.role)
                child.kill()
                child.close()
            if running[0].process is not None:
                running[0].wait(POLL_SECONDS)

    def _seconds_to_stop(self, child: Child) -> float:
        is_listener = child.role is RoleName.LISTENER
        return DRAIN_SECONDS + (self._leave_seconds if is_listener else 0.0)


@contextlib.contextmanager
def stop_on_signals(at_once: threading.Event | None = None) -> Iterator[threading.Event]:
    """Yield an event that SIGTERM and SIGINT set until the context ends; a second sets `at_once`.

    SIGHUP does the same in a terminal, which sends it when it is closed. Without a terminal SIGHUP
    changes nothing, and the log says so. A SIGHUP that is ignored (nohup) stays ignored.
    """
    stop = threading.Event()
    handler = stop_handler(stop, at_once)
    handlers = {signal.SIGTERM: handler, signal.SIGINT: handler}
    if signal.getsignal(signal.SIGHUP) is not signal.SIG_IGN:
        has_terminal = sys.stdin is not None and sys.stdin.isatty()
        handlers[signal.SIGHUP] = handler if has_terminal else _hangup_handler()
    previous = {number: signal.signal(number, one) for number, one in handlers.items()}
    try:
        yield stop
    finally:
        for number, old in previous.items():
            signal.signal(number, old)


def _hangup_handler() -> Callable[[int, FrameType | None], None]:
    """Return a handler that makes another thread log that SIGHUP changes nothing."""
    signals: queue.SimpleQueue[int] = queue.SimpleQueue()

    def wait() -> None:
        while signals.get():
            log.warning(
                "SIGHUP changes nothing: the configuration and the certificates are read at the"
                " start. Restart cxrd to use new ones"
            )

    threading.Thread(target=wait, name="hangups", daemon=True).start()
    return lambda number, _frame: signals.put(number)
