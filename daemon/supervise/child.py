"""A role and its current process, as the supervisor sees them."""

import contextlib
import multiprocessing
import os
import socket
import time
import uuid
from dataclasses import dataclass
from datetime import UTC, datetime
from multiprocessing.connection import Connection
from multiprocessing.context import SpawnProcess
from pathlib import Path
from typing import TYPE_CHECKING

from daemon.errors import RoleFailedError
from daemon.worker.board import RoleState, RoleStatus
from daemon.worker.listening import addresses_of
from daemon.worker.role import (
    CannotStart,
    Proceed,
    Ready,
    RoleName,
    exit_reason,
    interrupts_blocked,
    role_process,
)

if TYPE_CHECKING:
    from daemon.config.settings import Config

START_ATTEMPTS = 3
"""Deaths of a role at the daemon's start after which the others work without it."""

SPAWN = multiprocessing.get_context("spawn")
_EPOCH = datetime.fromtimestamp(0, UTC)


@dataclass(slots=True)
class Child:
    """A role, its process if there is one, and the history of its processes."""

    role: RoleName
    process: SpawnProcess | None = None
    channel: "Connection[Proceed, Ready | CannotStart] | None" = None
    worker: str = ""
    is_started: bool = False
    """True from the first process on; the supervisor then keeps the role running."""
    is_stopping: bool = False
    """True from the order to stop on."""
    may_work: bool = False
    """True if the process has been told to proceed."""
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
        """The state that is published."""
        if self.is_stopping:
            return RoleState.STOPPING
        if self.process is None and self.is_started:
            return RoleState.DOWN
        return RoleState.UP if self.is_up else RoleState.STARTING

    def status(self, config: "Config") -> RoleStatus:
        """Return the entry of this role for the board."""
        return RoleStatus(
            role=self.role,
            state=self.state,
            since=self.since,
            restarts=self.restarts,
            reason=self.ended,
            addresses=tuple(map(str, addresses_of(config, self.role))),
        )

    def start(self, config: "Config") -> None:
        """Start a process that imports the role. It works after `proceed`.

        Raises RoleFailedError if the system has no more processes.
        """
        self.worker = f"{socket.gethostname()}:{self.role}:{uuid.uuid4().hex[:12]}"
        self.is_started, self.may_work, self.refusal = True, False, None
        try:
            self.channel, theirs = SPAWN.Pipe()
            with theirs, interrupts_blocked():
                process = SPAWN.Process(
                    target=role_process,
                    args=(self.role, config, self.worker, theirs),
                    name=f"cxrd-{self.role}",
                )
                process.start()
        except OSError as error:
            self.close()
            raise RoleFailedError(
                f"no process for the {self.role} ({error.strerror or error}): is this machine out"
                " of memory, or at its limit of processes or open files?"
            ) from error
        self.process = process

    def proceed(self) -> None:
        """Let the process work: the store is ready."""
        self.may_work = True
        # A process that has died is noticed by its exit status.
        if self.channel is not None:
            with contextlib.suppress(OSError):
                self.channel.send(Proceed())

    def read_messages(self) -> bool:
        """Read the messages of the process. Return True if it has become ready with them."""
        was_up = self.is_up
        while self.channel is not None and self.channel.poll():
            try:
                message = self.channel.recv()
            except (EOFError, OSError):
                break
            if isinstance(message, Ready):
                self.is_up, self.ended = True, ""
            else:
                self.refusal = message
        return self.is_up and not was_up

    def reason_of_end(self) -> str:
        """Return the reason of a process that has ended: its own, or its exit status."""
        if self.refusal is not None:
            return self.refusal.reason
        return exit_reason(None if self.process is None else self.process.exitcode)

    def ask_to_stop(self) -> None:
        """Send SIGTERM; kill a process that does not work yet, because it holds nothing."""
        self.is_stopping = True
        if self.process is not None and self.process.is_alive():
            if self.may_work:
                self.process.terminate()
            else:
                self.process.kill()

    @property
    def is_alive(self) -> bool:
        """True while the process runs."""
        return self.process is not None and self.process.is_alive()

    def wait(self, seconds: float) -> None:
        """Wait for the end of the process, at most so long."""
        if self.process is not None:
            self.process.join(seconds)

    def kill(self) -> None:
        """Kill the process and wait for its end."""
        if self.process is not None:
            self.process.kill()
            self.process.join()

    def close(self) -> None:
        """Forget the process, which has ended."""
        if self.process is not None:
            self.process.close()
        if self.channel is not None:
            self.channel.close()
        self.process = self.channel = None
        self.is_up = False


def seconds_since_start() -> float:
    """Return the age of this process, from /proc (proc(5): starttime is field 22 of stat)."""
    fields = Path("/proc/self/stat").read_text(encoding="utf-8").rpartition(")")[2].split()
    started = int(fields[19]) / os.sysconf("SC_CLK_TCK")
    return time.clock_gettime(time.CLOCK_BOOTTIME) - started
