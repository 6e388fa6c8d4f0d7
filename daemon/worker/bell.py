"""Bells between processes: a worker that waits is woken when work is queued.

On one host a bell is a named pipe in `data_dir/run`; each further process that listens has a pipe
of its own. Any process may ring it; each ring wakes every thread that waits. A database server
takes each ring to the processes of all hosts (`storage.hosts`). A ring is never needed for a job
to be done: a worker also looks at the queue from time to time. So a ring without a listener, a full
pipe or a file system without pipes only delays the job until that look.
"""

import contextlib
import fcntl
import logging
import os
import select
import stat
import threading
from collections.abc import Callable
from enum import StrEnum
from pathlib import Path
from types import TracebackType
from typing import Self

from daemon.config.settings import Config
from daemon.worker.board import board_folder
from storage.errors import StorageError
from storage.files.durable import make_folder
from storage.store import Store

log = logging.getLogger("bell")

_MODE = 0o600
_FLAGS = os.O_NONBLOCK | os.O_NOFOLLOW | os.O_CLOEXEC
_RING = b"\0"
_MANY_RINGS = 65536
_RING_AGAIN_SECONDS = 0.1
_MOST_PIPES = 64


class BellName(StrEnum):
    """The bells, by the work that is queued."""

    ANALYST = "analyst"
    REPORT = "report"
    COURIER = "courier"


class Bell:
    """A named pipe that wakes the workers of one kind on this host."""

    def __init__(self, folder: Path, name: BellName, store: Store | None = None) -> None:
        """`store` takes the rings to the other hosts."""
        self._name = name
        self._path = folder / f"{name}.bell"
        self._further = [folder / f"{name}-{number}.bell" for number in range(1, _MOST_PIPES)]
        self._store = store

    @classmethod
    def of(cls, config: Config, name: BellName, store: Store) -> Self:
        """Return the bell of a store by its name."""
        return cls(board_folder(config), name, store)

    def ring(self) -> None:
        """Wake the workers that wait, if there are any. Never waits and never raises."""
        if self._store is not None:
            self._store.bells.ring(self._name)
        for path in (self._path, *self._further):
            try:
                pipe = os.open(path, os.O_WRONLY | _FLAGS)
            except FileNotFoundError:
                return
            except OSError:
                continue  # nobody listens at this pipe
            with contextlib.suppress(OSError):
                if _is_pipe(pipe):
                    os.write(pipe, _RING)
            os.close(pipe)

    def listen_to_hosts(self, wake: Callable[[], object]) -> None:
        """Call `wake` at the rings of other hosts, and when some may have been lost."""
        if self._store is not None:
            self._store.bells.listen(self._name, wake, _say_silent)

    def open(self) -> int:
        """Return the descriptor of the first pipe without a listener, open for both directions.

        A pipe that stays open for writing in the process that reads it never ends for that process.
        Raises OSError or StorageError if there is no such pipe and none can be made.
        """
        make_folder(self._path.parent)
        for path in (self._path, *self._further):
            pipe = _open_pipe(path)
            if _is_first(pipe):
                return pipe
            os.close(pipe)
        raise FileExistsError(0, "too many processes listen")


def _open_pipe(path: Path) -> int:
    with contextlib.suppress(FileExistsError):
        os.mkfifo(path, _MODE)
    pipe = os.open(path, os.O_RDWR | _FLAGS)
    if not _is_pipe(pipe):
        os.close(pipe)
        raise FileExistsError(0, "it is not a pipe")
    return pipe


def _is_first(pipe: int) -> bool:
    """Lock a pipe for its listener; return False if another process listens there."""
    try:
        fcntl.flock(pipe, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError:
        return True  # a file system without locks: the processes share the pipe
    return True


def _is_pipe(descriptor: int) -> bool:
    return stat.S_ISFIFO(os.fstat(descriptor).st_mode)


def _say_silent() -> None:
    log.warning(
        "rings of other hosts do not arrive: work is found by looking at the queue; let"
        " database_url name the server itself, or a pooler in session mode"
    )


def ring_all(config: Config, store: Store) -> None:
    """Ring every bell of a store, after jobs of any kind were queued."""
    for name in BellName:
        Bell.of(config, name, store).ring()


class Waiter:
    """The wait of one thread for a bell."""

    def __init__(self) -> None:
        self._rung = threading.Event()

    def wake(self) -> None:
        """End the wait, or the next wait if the thread does not wait now."""
        self._rung.set()

    def wait(self, seconds: float) -> bool:
        """Wait for a ring, at most so long. Return True if the bell rang since the last wait."""
        rung = self._rung.wait(max(0.0, seconds))
        self._rung.clear()
        return rung


class BellListener:
    """Listens to a bell for the threads of this process until the block ends.

    `stop` wakes them as the bell does. Without a pipe the threads are woken by `stop` only, and one
    line of the log says so.
    """

    def __init__(self, bell: Bell, stop: threading.Event) -> None:
        self._bell = bell
        self._stop = stop
        self._waiters: list[Waiter] = []
        self._pipe: int | None = None
        self._listening: threading.Thread | None = None
        self._ended = False

    def waiter(self) -> Waiter:
        """Return the wait of one more thread."""
        waiter = Waiter()
        self._waiters.append(waiter)
        return waiter

    def __enter__(self) -> Self:
        threading.Thread(target=self._wake_at_stop, name="stop", daemon=True).start()
        self._bell.listen_to_hosts(self._wake_all)
        try:
            self._pipe = self._bell.open()
        except (OSError, StorageError) as error:
            log.warning("no bell (%s): work is found by looking at the queue", error)
            return self
        self._listening = threading.Thread(target=self._listen, name="bell", daemon=True)
        self._listening.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._ended = True
        if self._pipe is None or self._listening is None:
            return
        while self._listening.is_alive():
            # A full pipe wakes the thread, too. Another process may read the ring first.
            with contextlib.suppress(BlockingIOError):
                os.write(self._pipe, _RING)
            self._listening.join(_RING_AGAIN_SECONDS)
        os.close(self._pipe)
        self._pipe = None

    def _listen(self) -> None:
        pipe = self._pipe
        while pipe is not None and not self._ended:
            select.select([pipe], [], [])
            # Another process that listens may have read the ring first.
            with contextlib.suppress(BlockingIOError):
                os.read(pipe, _MANY_RINGS)
            self._wake_all()

    def _wake_at_stop(self) -> None:
        self._stop.wait()
        self._wake_all()

    def _wake_all(self) -> None:
        for waiter in tuple(self._waiters):
            waiter.wake()
