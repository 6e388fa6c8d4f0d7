"""What every role's process has in common: signals, logging, readiness, the parent's death.

A role is a module of this room with a `run(context)` that returns when `context.stop` is set.
It is imported only in its own process, so the listener never loads what the analyst needs.
"""

import contextlib
import importlib
import logging
import multiprocessing
import queue
import signal
import sys
import threading
import time
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum
from multiprocessing.connection import Connection
from types import FrameType

from daemon.config.settings import Config
from daemon.errors import ROOM_ERRORS
from dicom_io.errors import CertificateDateError

CANNOT_START = 3
"""Exit status of a role that could not start and said why."""


class RoleName(StrEnum):
    """The roles, in the order in which the daemon starts them."""

    LISTENER = "listener"
    ANALYST = "analyst"
    COURIER = "courier"
    WEB = "web"

    @property
    def module(self) -> str:
        """The module whose `run` is the role."""
        return "daemon.web.server" if self is RoleName.WEB else f"daemon.{self}"


@dataclass(frozen=True, slots=True)
class RoleContext:
    """What a role is given to run with."""

    config: Config
    worker: str
    """Name under which the role holds leases; the supervisor frees them when it dies."""
    stop: threading.Event
    ready: Callable[[], None]
    """To be called once, when the role can do its work."""


@dataclass(frozen=True, slots=True)
class Ready:
    """Sent to the supervisor: the role works."""


@dataclass(frozen=True, slots=True)
class CannotStart:
    """Sent to the supervisor: the role cannot work, and why, in one line.

    With `today` nothing is set up wrongly, and it may work later: the others do without it.
    """

    reason: str
    today: bool = False


def role_process(
    role: RoleName, config: Config, worker: str, channel: "Connection[Ready | CannotStart, None]"
) -> None:
    """Entry point of a role's process."""
    stop = threading.Event()
    signal.signal(signal.SIGTERM, setter(stop))
    # Ctrl-C reaches the whole process group; the supervisor alone decides when roles stop.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    configure_logging()
    threading.Thread(target=_stop_with_parent, args=(stop,), daemon=True).start()

    def tell(message: Ready | CannotStart) -> None:
        # Where the supervisor is gone, `stop` is set.
        with contextlib.suppress(BrokenPipeError):
            channel.send(message)

    context = RoleContext(config, worker, stop, lambda: tell(Ready()))
    try:
        module = importlib.import_module(role.module)
        silence_libraries()
        module.run(context)
    except ROOM_ERRORS as error:
        tell(CannotStart(str(error), today=isinstance(error, CertificateDateError)))
        sys.exit(CANNOT_START)


def setter(stop: threading.Event) -> Callable[[int, FrameType | None], None]:
    """A handler of signals that has the event set, by a thread of its own.

    The main thread may hold the event's lock at the instant of the signal, and would wait for
    itself. A SimpleQueue may be put to at any instant.
    """
    told: queue.SimpleQueue[int] = queue.SimpleQueue()

    def wait() -> None:
        told.get()
        stop.set()

    threading.Thread(target=wait, name="signals", daemon=True).start()
    return lambda number, _frame: told.put(number)


def configure_logging() -> None:
    """Log to stderr in UTC. Messages name instances by the store's number, never by patient."""
    formatter = logging.Formatter(
        "%(asctime)sZ %(levelname)s %(name)s: %(message)s", "%Y-%m-%dT%H:%M:%S"
    )
    formatter.converter = time.gmtime
    handler = logging.StreamHandler()
    handler.setFormatter(formatter)
    logging.basicConfig(level=logging.INFO, handlers=[handler], force=True)
    silence_libraries()


def silence_libraries() -> None:
    """Keep what libraries say about their input, and may quote of it, out of the log.

    To be repeated after they are imported: pydicom then sets a level of its own.
    """
    for noisy in ("pydicom", "alembic", "highdicom"):
        logging.getLogger(noisy).setLevel(logging.ERROR)
    # A warning of pydicom may quote the value that it complains about.
    warnings.filterwarnings("ignore", module="pydicom")
    # A destination that is down is said once, by the courier, with what to do about it; and of
    # bytes that are no PDU the other would write a line for each, which spells out what they say.
    for silent in ("pynetdicom.transport", "pynetdicom.dul"):
        logging.getLogger(silent).setLevel(logging.CRITICAL)


def _stop_with_parent(stop: threading.Event) -> None:
    parent = multiprocessing.parent_process()
    if parent is not None:
        parent.join()
        stop.set()


def end_of(exitcode: int | None) -> str:
    """The signal by its name, or the exit status, of what `multiprocessing` gives as exit code."""
    if exitcode is None or exitcode >= 0:
        return f"exit status {exitcode}"
    number = -exitcode
    try:
        return f"signal {signal.Signals(number).name}"
    except ValueError:
        # Of the real-time signals only the first and the last have names.
        return f"signal {number}"
