"""The loop of a role: a step, a wait, the next step; and the threads that each run a loop."""

import datetime
import logging
import sys
import threading
import time
from collections.abc import Callable, Mapping

from daemon.worker.backoff import Backoff
from daemon.worker.logs.redaction import error_text
from storage.errors import StoreUnavailableError
from storage.store import Store

SWITCH_SECONDS = 0.0005
"""Python's default of 5 ms is the wait of a thread after each read and write beside a busy one."""

_SHORTEST_WAIT = 0.002
STORE_WAIT = Backoff(2.0, 2.0)
"""The wait for a store that does not answer: it does not grow, so that the work soon goes on."""
LOOK_SECONDS = 1.0
"""Time between two looks for a reason to end a wait early."""


class Loop:
    """Repeats a step until `stop` is set; logs an error of the step and goes on.

    In a thread no error may end the loop: the role would look healthy while its work is not done.
    A role whose process is the loop `survives` fewer: the supervisor restarts the process.
    """

    def __init__(
        self,
        name: str,
        log: logging.Logger,
        stop: threading.Event,
        backoff: Backoff,
        survives: type[Exception] = Exception,
    ) -> None:
        self._name = name
        self._log = log
        self._stop = stop
        self._backoff = backoff
        self._survives = survives
        self._failures = 0

    def run(self, step: Callable[[], float], wake: Callable[[], object] | None = None) -> None:
        """Repeat `step`, which returns the seconds to wait after it.

        A wait ends, and the backoff starts again, within about a second after `wake` returns
        another value than at the start of the wait.
        """
        while not self._stop.is_set():
            self._wait(self.attempt(step), wake)

    def _wait(self, seconds: float, wake: Callable[[], object] | None) -> None:
        if wake is None or seconds <= LOOK_SECONDS:
            self._stop.wait(seconds)
            return
        until = time.monotonic() + seconds
        at_start, is_known = None, False
        while (left := until - time.monotonic()) > 0 and not self._stop.is_set():
            try:
                now = wake()
            except self._survives as error:
                self._log.debug("%s: no look at the queue: %s", self._name, error_text(error))
            else:
                if is_known and now != at_start:
                    self.succeeded()
                    return
                at_start, is_known = now, True
            self._stop.wait(min(LOOK_SECONDS, left))

    def attempt(self, step: Callable[[], float]) -> float:
        """Run `step` once. Return the seconds to wait, after an error those of the backoff.

        A store that does not answer is no failure of the work, and does not count as one.
        """
        try:
            return step()
        except self._survives as error:
            is_store = isinstance(error, StoreUnavailableError)
            wait = STORE_WAIT.seconds(1) if is_store else self.next_wait()
            self._log.error(
                "%s: %s; the next try is in %.1f s", self._name, error_text(error), wait
            )
            return wait

    def next_wait(self) -> float:
        """Count a failure. Return the seconds to wait before the next try."""
        self._failures += 1
        return self._backoff.seconds(self._failures)

    def succeeded(self) -> None:
        """Start the backoff again from its initial wait."""
        self._failures = 0


class Crew:
    """Threads that work until `stop` is set.

    A thread that raises an error sets `stop`: the others end after what they are doing.
    """

    def __init__(self, stop: threading.Event) -> None:
        self._stop = stop
        self._errors: list[BaseException] = []

    def run(self, work: Mapping[str, Callable[[], None]]) -> None:
        """Run each function in a thread with its name, until all have ended.

        Raises the first error of a thread, or that of a thread that cannot be started.
        """
        threads = [
            threading.Thread(target=self._guarded, args=(target,), name=name)
            for name, target in work.items()
        ]
        started = []
        try:
            for thread in threads:
                thread.start()
                started.append(thread)
        except RuntimeError:
            self._stop.set()
            raise
        finally:
            for thread in started:
                thread.join()
        if self._errors:
            raise self._errors[0]

    def _guarded(self, target: Callable[[], None]) -> None:
        try:
            target()
        except BaseException as error:  # noqa: BLE001 - raised by `run` in the thread of the role
            self._errors.append(error)
            self._stop.set()


def switch_threads_often() -> None:
    """Let a thread that reads and writes much go on beside one that computes.

    Decoding one peer's long message must not delay the messages of the others.
    """
    sys.setswitchinterval(SWITCH_SECONDS)


def seconds_until(store: Store, due: datetime.datetime | None, longest: float) -> float:
    """Return the seconds until a job is due, at most `longest`, also if there is no job.

    They count by the clock of the store, which decides when a job may be claimed.

    A job that is overdue was not free for this worker: it looks again after a moment.
    """
    if due is None:
        return longest
    left = (due - store.now()).total_seconds()
    return min(longest, max(_SHORTEST_WAIT, left))


def from_now(store: Store, seconds: float) -> datetime.datetime:
    """Return the time of the store that is `seconds` from now."""
    return store.now() + datetime.timedelta(seconds=seconds)
