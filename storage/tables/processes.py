"""Work on the parts of a large table in several processes; the results come in order.

This process works, too. The others begin when they have imported the store, and a table of few
parts needs none of them.
"""

import contextlib
import fcntl
import itertools
import multiprocessing
import signal
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from multiprocessing import resource_tracker
from multiprocessing.connection import Connection
from multiprocessing.context import SpawnProcess
from typing import Any, Generic, TypeVar

from storage.errors import StorageError
from storage.tables.database import Database, open_database

FEWEST_PARTS = 20
"""Parts from which other processes are started: they take a third of a second to start."""
MOST_PROCESSES = 8
"""Processes in all: the one that orders and writes the results cannot keep up with more."""

# Parts that a process has beforehand, so that it need not wait for the next one.
_GIVEN_PARTS = 2
# Results, for each process, that may wait for an earlier one: they limit the memory.
_WAITING_RESULTS = 4
# Linux's limit for a pipe of a user: the result of a part fits, and its process can go on.
_PIPE_BYTES = 2**20
_EXIT_SECONDS = 2.0

_SPAWN = multiprocessing.get_context("spawn")
_READY = -1

Part = TypeVar("Part")
Result = TypeVar("Result")


@contextlib.contextmanager
def results_in_order(
    database: Database,
    work: Callable[[Database, Part], Result],
    parts: Iterable[Part],
    processes: int = 1,
) -> Iterator[Iterator[Result]]:
    """Yield the iterator of `work(database, part)` for each part, in the order of the parts.

    With `processes` above 1 some parts are worked on in other processes, each with connections of
    its own. `work`, the parts and the results must be picklable then, and the main module must be
    importable. A limited number of results is held. The other processes end with the block.

    The iterator raises a StorageError of `work`, and StorageError if another process is killed.
    """
    remaining = iter(parts)
    first = list(itertools.islice(remaining, FEWEST_PARTS))
    every = itertools.chain(first, remaining)
    helpers = min(processes, MOST_PROCESSES) - 1 if len(first) == FEWEST_PARTS else 0
    with contextlib.ExitStack() as stack:
        workers: list[_Worker[Part, Result]] = []
        # The work is done also on a machine that has no more processes.
        with contextlib.suppress(OSError), _interrupts_blocked():
            for _ in range(helpers):
                worker = _Worker(database, work)
                stack.callback(worker.close)
                workers.append(worker)
        yield _in_order(database, work, every, workers)


def _in_order(
    database: Database,
    work: Callable[[Database, Part], Result],
    parts: Iterator[Part],
    workers: "list[_Worker[Part, Result]]",
) -> Iterator[Result]:
    numbered = enumerate(parts)
    results: dict[int, Result] = {}
    most = _WAITING_RESULTS * (len(workers) + 1)
    given = 0
    for number in itertools.count():
        while number not in results:
            for worker in workers:
                results.update(worker.finished())
                while worker.has_room and given < number + most and (item := next(numbered, None)):
                    worker.give(*item)
                    given = item[0] + 1
            if number in results:
                break
            if given < number + most and (item := next(numbered, None)):
                results[item[0]] = work(database, item[1])
                given = item[0] + 1
                continue
            owner = next((worker for worker in workers if number in worker.numbers), None)
            if owner is None:
                return
            results.update([owner.wait()])
        yield results.pop(number)


class _Worker(Generic[Part, Result]):
    """Another process, the parts that it was given, and the channels to it."""

    def __init__(self, database: Database, work: Callable[[Database, Part], Result]) -> None:
        url = database.engine.url.render_as_string(hide_password=False)
        self.numbers: deque[int] = deque()
        self._is_ready = False
        self._parts: Connection[Any, Any]
        self._results: Connection[Any, Any]
        theirs, self._parts = _SPAWN.Pipe(duplex=False)
        self._results, results = _SPAWN.Pipe(duplex=False)
        with theirs, results:
            with contextlib.suppress(OSError):
                fcntl.fcntl(results.fileno(), fcntl.F_SETPIPE_SZ, _PIPE_BYTES)
            self._process: SpawnProcess = _SPAWN.Process(
                target=_work_on_parts, args=(url, work, theirs, results), daemon=True
            )
            self._process.start()

    @property
    def has_room(self) -> bool:
        """True if the process has started and can be given another part."""
        return self._is_ready and len(self.numbers) < _GIVEN_PARTS

    def give(self, number: int, part: Part) -> None:
        """Give the process a part."""
        with self._end_reported():
            self._parts.send((number, part))
        self.numbers.append(number)

    def finished(self) -> Iterator[tuple[int, Result]]:
        """Yield the results that have arrived, with the numbers of their parts."""
        with self._end_reported():
            while (self.numbers or not self._is_ready) and self._results.poll():
                number, result = self._receive()
                if number == _READY:
                    self._is_ready = True
                else:
                    yield number, result

    def wait(self) -> tuple[int, Result]:
        """Return the next result, with the number of its part."""
        with self._end_reported():
            return self._receive()

    def _receive(self) -> tuple[int, Result]:
        number, result = self._results.recv()
        if isinstance(result, StorageError):
            raise result
        if number != _READY:
            self.numbers.popleft()
        return number, result

    @contextlib.contextmanager
    def _end_reported(self) -> Iterator[None]:
        try:
            yield
        except (EOFError, OSError) as error:
            self._process.join(_EXIT_SECONDS)
            raise StorageError(
                f"a process that read the store was ended (exit code {self._process.exitcode}): "
                "is this machine out of memory? Run the command again"
            ) from error

    def close(self) -> None:
        """End the process."""
        self._parts.close()
        self._results.close()
        if self._is_ready:
            self._process.join(_EXIT_SECONDS)
        # It only reads: nothing is lost.
        self._process.terminate()
        self._process.join()


def _work_on_parts(
    url: str,
    work: Callable[[Database, Any], Any],
    parts: "Connection[Any, Any]",
    results: "Connection[Any, Any]",
) -> None:
    """Work until the other process closes the channels or ends."""
    with contextlib.suppress(EOFError, BrokenPipeError):
        try:
            with open_database(url) as database:
                results.send((_READY, None))
                while True:
                    number, part = parts.recv()
                    results.send((number, work(database, part)))
        except StorageError as error:
            results.send((_READY, error))


@contextlib.contextmanager
def _interrupts_blocked() -> Iterator[None]:
    """Start processes that never receive SIGINT: Ctrl-C reaches them, too, and their parent ends.

    A new process inherits the blocked signals.
    """
    # The tracker of `multiprocessing` unblocks SIGINT when it is started with the first process.
    resource_tracker.ensure_running()
    before = signal.pthread_sigmask(signal.SIG_BLOCK, (signal.SIGINT,))
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
