"""The process of a role: signals, logging, readiness, the death of the supervisor.

A role is a module with a `run(context)` that returns when `context.stop` is set. Only its own
process imports it, so that the listener does not load the libraries of the analyst.
"""

import contextlib
import importlib
import logging
import multiprocessing
import os
import queue
import signal
import sys
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from enum import StrEnum
from multiprocessing import resource_tracker
from multiprocessing.connection import Connection
from types import FrameType
from typing import TYPE_CHECKING, Any

from daemon.errors import ROOM_ERRORS, ModelFailedError
from daemon.worker.core_dumps import forbid_core_dumps
from daemon.worker.logs.setup import configure_logging, log_uncaught, silence_libraries
from dicom_io.errors import CertificateDateError

if TYPE_CHECKING:
    from daemon.config.settings import Config

CANNOT_START = 3
"""Exit status of a role that reported why it cannot start."""
PIXEL_LIBRARIES = ("PIL", "gdcm", "jpeg_ls", "libjpeg", "numpy", "openjpeg", "pylibjpeg")
"""Libraries that pydicom imports to decode pixels, if they are installed."""
ANALYST_NICENESS = 10
"""Added to the niceness of the analyst, so that a full queue does not slow the reception."""
_LOOK_SECONDS = 0.05
"""The time between two looks of a waiting role at its order to stop."""


class RoleName(StrEnum):
    """The roles, in the order in which the supervisor starts them."""

    LISTENER = "listener"
    ANALYST = "analyst"
    COURIER = "courier"
    WEB = "web"

    @property
    def module(self) -> str:
        """The module with the `run` of the role."""
        return "daemon.web.server" if self is RoleName.WEB else f"daemon.{self}"


@dataclass(frozen=True, slots=True)
class RoleContext:
    """The arguments of a role."""

    config: "Config"
    worker: str
    """The name under which the role holds leases. The supervisor frees them when the role dies."""
    stop: threading.Event
    ready: Callable[[], None]
    """The role calls this once, when it works."""


@dataclass(frozen=True, slots=True)
class Proceed:
    """Message to a role: the store is checked and of this version, so the role may work."""


@dataclass(frozen=True, slots=True)
class Ready:
    """Message to the supervisor: the role works."""


@dataclass(frozen=True, slots=True)
class CannotStart:
    """Message to the supervisor: the role cannot work. The reason is one line.

    If the reason is `temporary`, the role may work later, and the supervisor keeps the other roles.
    If it is `final`, the role had worked and must not work on: the supervisor keeps the other roles
    and does not start this role again.
    """

    reason: str
    temporary: bool = False
    final: bool = False


def role_process(
    role: RoleName,
    config: "Config",
    worker: str,
    channel: "Connection[Ready | CannotStart, Proceed]",
) -> None:
    """Run a role in a process of its own, in which the supervisor has blocked SIGINT and SIGHUP.

    The process imports its libraries at once, and works when the supervisor lets it proceed.
    """
    forbid_core_dumps()
    stop = threading.Event()
    signal.signal(signal.SIGTERM, stop_handler(stop))
    configure_logging(config.log, role)
    log = logging.getLogger("daemon")
    log_uncaught(log)
    threading.Thread(target=_stop_with_parent, args=(stop,), daemon=True).start()

    def send(message: Ready | CannotStart) -> None:
        # A supervisor that has died cannot receive it; `stop` is set then.
        with contextlib.suppress(BrokenPipeError):
            channel.send(message)

    context = RoleContext(config, worker, stop, lambda: send(Ready()))
    try:
        module = import_role(role)
        if _may_proceed(channel, stop):
            if role is RoleName.ANALYST:
                # Its threads and readers inherit it: the peers of other roles wait for an answer.
                os.nice(ANALYST_NICENESS)
            module.run(context)
    except ROOM_ERRORS as error:
        temporary = isinstance(error, CertificateDateError)
        send(CannotStart(str(error), temporary, final=isinstance(error, ModelFailedError)))
        sys.exit(CANNOT_START)
    except Exception:
        # `multiprocessing` would print the text of the error, which may quote a header.
        log.critical("the %s ended by an error", role, exc_info=True)
        sys.exit(1)


def import_role(role: RoleName) -> Any:
    """Import the module of a role into its process, and silence the libraries that it imports.

    The listener decodes no pixels: without the libraries for them it is sooner ready, and takes
    30 MB less.
    """
    if role is RoleName.LISTENER:
        for name in PIXEL_LIBRARIES:
            # Python imports no module whose entry is None, as if it were not installed.
            sys.modules.setdefault(name, None)  # type: ignore[arg-type]
    module = importlib.import_module(role.module)
    silence_libraries()
    return module


def _may_proceed(
    channel: "Connection[Ready | CannotStart, Proceed]", stop: threading.Event
) -> bool:
    """Wait for Proceed. Return False if the role is to stop, or its supervisor has ended."""
    try:
        while not channel.poll(_LOOK_SECONDS):
            if stop.is_set():
                return False
        channel.recv()
    except (EOFError, OSError):
        return False
    return True


@contextlib.contextmanager
def interrupts_blocked() -> Iterator[None]:
    """Start processes that never receive SIGINT or SIGHUP, so that Ctrl-C ends none.

    Ctrl-C and a closed terminal reach the whole process group; the parent alone decides when its
    children stop. A new process inherits the blocked signals. A signal that arrives meanwhile is
    delivered afterwards.
    """
    # The tracker of `multiprocessing` unblocks SIGINT when it is started with the first process.
    resource_tracker.ensure_running()
    before = signal.pthread_sigmask(signal.SIG_BLOCK, (signal.SIGINT, signal.SIGHUP))
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def stop_handler(
    stop: threading.Event, at_once: threading.Event | None = None
) -> Callable[[int, FrameType | None], None]:
    """Return a signal handler that makes another thread set `stop`, and `at_once` the second time.

    A handler that set the event itself could deadlock: the main thread may hold the event's lock
    when the signal arrives. A SimpleQueue is safe to call from a handler.
    """
    signals: queue.SimpleQueue[int] = queue.SimpleQueue()

    def wait() -> None:
        signals.get()
        stop.set()
        if at_once is not None:
            signals.get()
            at_once.set()

    threading.Thread(target=wait, name="signals", daemon=True).start()
    return lambda number, _frame: signals.put(number)


def _stop_with_parent(stop: threading.Event) -> None:
    parent = multiprocessing.parent_process()
    if parent is not None:
        parent.join()
        stop.set()


def has_supervisor() -> bool:
    """Return True unless this is the process of a role, and its supervisor has died."""
    parent = multiprocessing.parent_process()
    return parent is None or parent.is_alive()


def exit_reason(exitcode: int | None) -> str:
    """Return the name of the signal or the exit status for an exit code of `multiprocessing`."""
    if exitcode is None or exitcode >= 0:
        return f"exit status {exitcode}"
    number = -exitcode
    try:
        return f"signal {signal.Signals(number).name}"
    except ValueError:
        # Only the first and the last of the real-time signals have names.
        return f"signal {number}"
