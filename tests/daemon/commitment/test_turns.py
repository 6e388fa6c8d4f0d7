"""Requests of several peers are checked in turns, in an order that does not depend on timing."""

import threading
from collections import Counter
from collections.abc import Callable

import pytest

from daemon.commitment.turns import Turns
from tests.tools.waiting import wait_until


class Peers:
    """Peers that each do a number of batches in turns, and the order of all batches."""

    def __init__(self) -> None:
        self.turns = Turns()
        self.order: list[str] = []
        self.threads: list[threading.Thread] = []

    def ask(
        self, name: str, batches: int, during: Callable[[int], object] = lambda _: None
    ) -> None:
        def work() -> None:
            with self.turns.taken() as turn:
                for left in range(batches, 0, -1):
                    turn.wait(left)
                    self.order.append(name)
                    during(left)

        self.threads.append(threading.Thread(target=work, daemon=True))
        self.threads[-1].start()

    def await_all(self) -> None:
        for thread in self.threads:
            thread.join(10)
            assert not thread.is_alive()


def test_a_small_request_gets_three_of_four_turns_of_a_large_one() -> None:
    peers = Peers()

    def begin_the_small_one(left: int) -> None:
        if left == 900:
            peers.ask("small", 30)
            wait_until(lambda: len(peers.turns._waiting) == 1, "the small one waits")

    peers.ask("large", 1000, begin_the_small_one)
    peers.await_all()
    first = peers.order.index("small")
    last = len(peers.order) - peers.order[::-1].index("small")
    between = Counter(peers.order[first:last])
    assert first <= 102
    assert between["small"] == 30
    assert 9 <= between["large"] <= 10
    assert Counter(peers.order) == {"large": 1000, "small": 30}


def test_the_large_request_goes_on_while_small_ones_follow_each_other() -> None:
    peers = Peers()
    gate = threading.Event()
    peers.ask("large", 20, lambda left: gate.wait(5) if left == 20 else None)
    wait_until(lambda: peers.order == ["large"], "the large one has the turn")
    for number in range(6):
        peers.ask(f"small {number}", 5)
    wait_until(lambda: len(peers.turns._waiting) == 6, "all wait")
    gate.set()
    peers.await_all()
    last = max(place for place, name in enumerate(peers.order) if name != "large")
    assert peers.order[1:last].count("large") >= 2
    assert len(peers.order) == 50


def test_equal_requests_alternate() -> None:
    peers = Peers()
    gate = threading.Event()
    peers.ask("one", 6, lambda left: gate.wait(5) if left == 6 else None)
    wait_until(lambda: peers.order == ["one"], "one has the turn")
    peers.ask("two", 6)
    wait_until(lambda: len(peers.turns._waiting) == 1, "two waits")
    gate.set()
    peers.await_all()
    assert Counter(peers.order) == {"one": 6, "two": 6}


def test_a_peer_that_fails_gives_its_turn_away() -> None:
    peers = Peers()

    def fail() -> None:
        with peers.turns.taken() as turn:
            turn.wait(1)
            raise ValueError("broken")

    with pytest.raises(ValueError, match="broken"):
        fail()
    peers.ask("next", 2)
    peers.await_all()
    assert peers.order == ["next", "next"]
