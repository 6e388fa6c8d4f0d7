"""Single items of many threads, computed together while the device is busy."""

import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Generic, TypeVar

MOST_TOGETHER = 8

_Item = TypeVar("_Item")
_Result = TypeVar("_Result")


@dataclass(slots=True, eq=False)
class _Turn(Generic[_Item, _Result]):
    item: _Item
    is_over: bool = False
    result: _Result | None = None
    error: Exception | None = None


class Batches(Generic[_Item, _Result]):
    """Passes the items of concurrent callers to one function, several at a time.

    One run is in progress at a time. An item that comes meanwhile waits for its end, and goes into
    the next run with the others that wait, at most `most` together. An idle function runs at once,
    with one item. `run` returns a result for each item, in their order.
    """

    def __init__(
        self, run: Callable[[Sequence[_Item]], Sequence[_Result]], most: int = MOST_TOGETHER
    ) -> None:
        self._run = run
        self._most = most
        self._running = threading.Lock()
        self._waiting: list[_Turn[_Item, _Result]] = []

    def result(self, item: _Item) -> _Result:
        """Return the result for one item. Raises the error of `run` for this item alone."""
        turn: _Turn[_Item, _Result] = _Turn(item)
        self._waiting.append(turn)
        while not turn.is_over:
            with self._running:
                if not turn.is_over:
                    self._run_together()
        if turn.error is not None:
            raise turn.error
        return turn.result  # type: ignore[return-value]  # the type may include None

    def _run_together(self) -> None:
        """Run the items that wait longest. Only the thread that holds the lock takes items."""
        turns = self._waiting[: self._most]
        del self._waiting[: len(turns)]
        try:
            results = self._run([turn.item for turn in turns])
        except Exception as error:  # noqa: BLE001 - raised for the item that caused it
            self._run_each(turns, error)
        else:
            for turn, result in zip(turns, results, strict=True):
                turn.result, turn.is_over = result, True

    def _run_each(self, turns: Sequence[_Turn[_Item, _Result]], error: Exception) -> None:
        """Run items again one by one after a common run failed: the error is that of one item."""
        for turn in turns:
            try:
                if len(turns) == 1:
                    raise error
                (turn.result,) = self._run([turn.item])
            except Exception as own_error:  # noqa: BLE001 - raised in the thread of its item
                turn.error = own_error
            turn.is_over = True
