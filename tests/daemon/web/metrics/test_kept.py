"""Counts that take long are repeated in the background, in proportion to what they cost."""

import threading

from daemon.web.health.metrics.kept import MOST_AGE_SECONDS, SHARE, Kept
from tests.tools.clock import Clock


class Counting:
    """A count that takes some seconds of a clock, and tells its results apart."""

    def __init__(self, clock: Clock, seconds: float) -> None:
        self._clock = clock
        self._seconds = seconds
        self.runs = 0
        self.ended = threading.Event()

    def __call__(self) -> int:
        self.runs += 1
        self._clock.advance(self._seconds)
        if self.runs > 1:
            self.ended.set()
        return self.runs


def test_a_fast_count_is_made_at_each_scrape() -> None:
    clock = Clock()
    kept = Kept(Counting(clock, 0), clock.seconds)
    assert [kept.value() for _ in range(3)] == [(1, 0.0), (2, 0.0), (3, 0.0)]


def test_a_slow_count_is_repeated_in_the_background() -> None:
    clock = Clock()
    counting = Counting(clock, 1)
    kept = Kept(counting, clock.seconds)
    assert kept.value() == (1, 0.0)
    clock.advance(1 / SHARE - 2)
    assert kept.value() == (1, 1 / SHARE - 1)
    clock.advance(2)
    assert kept.value()[0] == 1
    assert counting.ended.wait(10)
    assert counting.runs == 2


def test_a_scrape_waits_for_a_count_that_is_too_old() -> None:
    clock = Clock()
    kept = Kept(Counting(clock, 1), clock.seconds)
    kept.value()
    clock.advance(MOST_AGE_SECONDS)
    assert kept.value() == (2, 0.0)
