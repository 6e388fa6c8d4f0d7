"""Group commit: requests that arrive during a commit share the next transaction.

A sync of the disk costs as much for many rows as for one. No request waits for others to come: the
first is written at once, and what arrives meanwhile is written together when it is on disk.
"""

import threading
from collections.abc import Callable, Sequence
from typing import Generic, TypeVar, cast

MAX_GROUP = 64
"""Requests of one transaction: the last of them waits for all."""

Request = TypeVar("Request")
Result = TypeVar("Result")


class _Waiting(Generic[Request, Result]):
    """A request of a thread, which sleeps until it has its result or leads the next group."""

    def __init__(self, request: Request) -> None:
        self.request = request
        self.result: Result | BaseException | None = None
        self.is_done = False
        self._wake = threading.Semaphore(0)

    def sleep(self) -> None:
        self._wake.acquire()

    def wake(self) -> None:
        self._wake.release()


class GroupCommit(Generic[Request, Result]):
    """Writes the requests of any number of threads, in the order of their arrival.

    `write` writes a group in one transaction. It returns the result or the error of each request
    after the commit, or raises the error of them all.
    """

    def __init__(
        self,
        write: Callable[[Sequence[Request]], Sequence[Result | Exception]],
        max_group: int = MAX_GROUP,
    ) -> None:
        self._write = write
        self._max_group = max_group
        self._lock = threading.Lock()
        self._waiting: list[_Waiting[Request, Result]] = []
        self._is_writing = False

    def run(self, request: Request) -> Result:
        """Return the result of the request when it is on disk. Raises its error."""
        own: _Waiting[Request, Result] = _Waiting(request)
        with self._lock:
            self._waiting.append(own)
            leads, self._is_writing = not self._is_writing, True
        if not leads:
            own.sleep()
        if not own.is_done:
            self._lead()
        if isinstance(own.result, BaseException):
            raise own.result
        return cast(Result, own.result)

    def _lead(self) -> None:
        """Write the first requests that wait, then let the next one lead."""
        with self._lock:
            group = self._waiting[: self._max_group]
            del self._waiting[: self._max_group]
        results: Sequence[Result | BaseException]
        try:
            results = self._write([waiting.request for waiting in group])
        except BaseException as error:  # noqa: BLE001 - every thread of the group raises it
            results = [error] * len(group)
        for waiting, result in zip(group, results, strict=True):
            waiting.result, waiting.is_done = result, True
        with self._lock:
            following = self._waiting[0] if self._waiting else None
            self._is_writing = following is not None
        for waiting in (*group[1:], *([following] if following else [])):
            waiting.wake()
