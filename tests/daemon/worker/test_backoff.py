"""The wait of a loop: given by its step, or by the backoff after an error."""

import logging
import random
import threading

import pytest

from daemon.worker.backoff import Backoff
from daemon.worker.loop import Loop

log = logging.getLogger("test")


class RecordingStop(threading.Event):
    """Records the waits of a loop and ends it after `most` of them."""

    def __init__(self, most: int) -> None:
        super().__init__()
        self._most = most
        self.waits: list[float] = []

    def wait(self, timeout: float | None = None) -> bool:
        assert timeout is not None
        self.waits.append(timeout)
        if len(self.waits) == self._most:
            self.set()
        return self.is_set()


class NoJitter(random.Random):
    def uniform(self, a: float, b: float) -> float:
        return b


def test_the_wait_doubles_up_to_its_maximum() -> None:
    backoff = Backoff(1.0, 5.0, NoJitter())
    assert [backoff.seconds(attempt) for attempt in (1, 2, 3, 4, 1000)] == [1, 2, 4, 5, 5]


def test_jitter_takes_off_up_to_a_quarter() -> None:
    backoff = Backoff(8.0, 8.0, random.Random(1))
    waits = [backoff.seconds(1) for _ in range(100)]
    assert len(set(waits)) > 90
    assert 6.0 <= min(waits) < 6.5
    assert 7.5 < max(waits) <= 8.0


def test_the_loop_waits_as_its_step_says_and_longer_after_each_error() -> None:
    stop = RecordingStop(most=6)
    loop = Loop("step", log, stop, Backoff(1.0, 60.0, NoJitter()))
    results: list[float | None] = [0.25, None, None, 0.5, None, None]

    def step() -> float:
        wait = results.pop(0)
        if wait is None:
            raise RuntimeError("fails")
        if wait == 0.5:
            loop.succeeded()
        return wait

    loop.run(step)
    assert stop.waits == [0.25, 1, 2, 0.5, 1, 2]


def test_the_loop_does_not_survive_the_end_of_the_process() -> None:
    def step() -> float:
        raise SystemExit

    with pytest.raises(SystemExit):
        Loop("step", log, threading.Event(), Backoff(1.0, 1.0)).run(step)
