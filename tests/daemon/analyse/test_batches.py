"""Threads share the network while a run is in progress; a suspect job is in work alone."""

import threading
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor

import pytest

from daemon.analyse.batches import Batches
from daemon.analyse.shared_lock import SharedLock
from tests.tools.waiting import wait_until


class Doubling:
    """Doubles numbers; the first run waits for `go`. A negative number is an error."""

    def __init__(self) -> None:
        self.runs: list[list[int]] = []
        self.go = threading.Event()

    def __call__(self, items: Sequence[int]) -> list[int]:
        self.runs.append(list(items))
        assert self.go.wait(30)
        if min(items) < 0:
            raise ValueError(f"{items}")
        return [2 * item for item in items]


def test_an_idle_function_runs_at_once_with_one_item() -> None:
    doubling = Doubling()
    doubling.go.set()
    batches = Batches(doubling)
    assert [batches.result(number) for number in (1, 2)] == [2, 4]
    assert doubling.runs == [[1], [2]]


@pytest.mark.parametrize("bad", [False, True])
def test_items_that_wait_go_together_and_each_caller_gets_its_own(bad: bool) -> None:
    doubling = Doubling()
    batches = Batches(doubling, most=4)
    with ThreadPoolExecutor(8) as pool:
        first = pool.submit(batches.result, 0)
        wait_until(lambda: doubling.runs == [[0]])
        numbers = [1, 2, -3 if bad else 3, 4, 5, 6]
        rest = [pool.submit(batches.result, number) for number in numbers]
        wait_until(lambda: len(batches._waiting) == len(numbers))
        doubling.go.set()
        assert first.result(30) == 0
        for number, future in zip(numbers, rest, strict=True):
            if number < 0:
                with pytest.raises(ValueError, match=r"^\[-3\]$"):
                    future.result(30)
            else:
                assert future.result(30) == 2 * number
    together = [run for run in doubling.runs[1:] if len(run) > 1]
    assert sorted(len(run) for run in together) == [2, 4]
    assert sorted(number for run in together for number in run) == sorted(numbers)


def test_one_is_alone_after_the_others_and_before_the_next() -> None:
    lock = SharedLock()
    order: list[str] = []
    go = threading.Event()

    def first() -> None:
        with lock.shared():
            assert go.wait(30)
            order.append("first")

    def suspect() -> None:
        with lock.shared(), lock.exclusive() as is_alone:
            assert is_alone
            order.append("alone")

    def last() -> None:
        with lock.shared():
            order.append("last")

    threads = [threading.Thread(target=target) for target in (first, suspect, last)]
    threads[0].start()
    wait_until(lambda: lock._in_work == 1, "the first is in work")
    threads[1].start()
    wait_until(lambda: lock._is_one_alone, "the suspect waits")
    threads[2].start()
    go.set()
    for thread in threads:
        thread.join(30)
    assert order == ["first", "alone", "last"]


def test_a_second_one_is_not_alone_and_does_not_wait() -> None:
    lock = SharedLock()
    answers: list[bool] = []

    def second() -> None:
        with lock.exclusive() as is_alone:
            answers.append(is_alone)

    with lock.shared(), lock.exclusive() as is_alone:
        assert is_alone
        thread = threading.Thread(target=second)
        thread.start()
        thread.join(30)
    assert answers == [False]
    with lock.shared(), lock.exclusive() as is_alone:
        assert is_alone


def test_one_that_hangs_delays_the_one_alone_for_a_time_only() -> None:
    lock = SharedLock(hang_seconds=0.01)
    with lock.shared(), lock.shared(), lock.exclusive() as is_alone:
        assert is_alone
