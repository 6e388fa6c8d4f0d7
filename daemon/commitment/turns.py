"""Turns between peers that ask for commitment at the same time, so that none waits for another.

Work for one peer is done in batches, each in a turn. Three of four turns go to the peer with the
least left to do, the fourth to the one that has waited longest: a small request is delayed by at
most a third and one batch, and a large one goes on.
"""

import threading
from collections.abc import Iterator
from contextlib import contextmanager

_OLDEST_EVERY = 4


class Turns:
    """Grants one turn at a time to the threads that ask for one; thread-safe."""

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._waiting: dict[Turn, int] = {}
        self._holder: Turn | None = None
        self._granted = 0

    @contextmanager
    def taken(self) -> Iterator["Turn"]:
        """Yield the place of one thread. Its last turn ends with the block."""
        turn = Turn(self)
        try:
            yield turn
        finally:
            with self._changed:
                self._waiting.pop(turn, None)
                self._end(turn)

    def wait(self, turn: "Turn", left: int) -> None:
        """End this turn, then wait for the next; `left` measures what is left to do."""
        with self._changed:
            # Queued before the turn ends: the thread may be given the next turn, too.
            self._waiting[turn] = left
            self._end(turn)
            self._changed.wait_for(lambda: self._holder is turn)

    def _end(self, turn: "Turn") -> None:
        if self._holder is turn:
            self._holder = None
        if self._holder is None and self._waiting:
            self._granted += 1
            is_oldest = self._granted % _OLDEST_EVERY == 0
            # Both take the one that waited longer where they have the choice.
            chosen = next(iter(self._waiting)) if is_oldest else self._least()
            del self._waiting[chosen]
            self._holder = chosen
            self._changed.notify_all()

    def _least(self) -> "Turn":
        return min(self._waiting, key=self._waiting.__getitem__)


class Turn:
    """The place of one thread among those that take turns."""

    def __init__(self, turns: Turns) -> None:
        self._turns = turns

    def wait(self, left: int) -> None:
        """Wait for the next turn; `left` measures what the peer has left to do."""
        self._turns.wait(self, left)
