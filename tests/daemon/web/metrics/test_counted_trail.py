"""The tally is current at each scrape, survives a restart, and is made anew for another store."""

import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from sqlalchemy import text

from daemon.web.health.metrics.counted_trail import SAVE_SECONDS, CountedTrail
from daemon.web.health.metrics.tally import Tally
from storage.audit.tail import CountPlace
from storage.errors import StorageError
from storage.store import Store
from storage.tables.database import open_database
from tests.builders.store_rows import receive
from tests.tools.clock import Clock

PAGE = 4


def received(trail: CountedTrail) -> int | None:
    """Return the number of films received; None while the trail is counted."""
    found: list[int] = []

    def use(tally: Tally) -> None:
        found.append(tally.counts["films_received", "MODALITY", "new"])

    trail.read(use)
    return found[0] if found else None


def wait_until(is_done: Callable[[], bool]) -> None:
    until = time.monotonic() + 20
    while not is_done():
        assert time.monotonic() < until
        time.sleep(0.01)


def uids(first: int, count: int) -> list[str]:
    return [f"1.2.3.{number}" for number in range(first, first + count)]


def test_a_scrape_sees_every_event_before_it(store: Store) -> None:
    trail = CountedTrail(store, ())
    assert received(trail) == 0
    receive(store, *uids(1, 3))
    assert received(trail) == 3


def test_a_long_trail_is_counted_in_the_background(store: Store) -> None:
    receive(store, *uids(1, 3 * PAGE + 1))
    trail = CountedTrail(store, (), page_rows=PAGE)
    assert received(trail) is None
    wait_until(lambda: received(trail) == 3 * PAGE + 1)


def test_a_restart_goes_on_from_the_counts_that_were_saved(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    clock = Clock()
    receive(store, *uids(1, 3))
    trail = CountedTrail(store, (), clock.seconds)
    clock.advance(SAVE_SECONDS)
    assert received(trail) == 3
    wait_until(lambda: store.audit_tail.place("metrics") is not None)
    receive(store, *uids(4, 2))
    asked = []
    rows = store.audit_tail.rows

    def noted(after: int, limit: int) -> object:
        asked.append(after)
        return rows(after, limit)

    monkeypatch.setattr(store.audit_tail, "rows", noted)
    assert received(CountedTrail(store, ())) == 5
    assert asked == [3]


def test_a_scrape_does_not_wait_until_a_locked_store_takes_the_counts(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    answered, waits = threading.Event(), list[bool]()
    monkeypatch.setattr(store.audit_tail, "save", lambda *_: waits.append(answered.wait(10)))
    clock = Clock()
    receive(store, *uids(1, 3))
    trail = CountedTrail(store, (), clock.seconds)
    clock.advance(SAVE_SECONDS)
    assert received(trail) == 3
    answered.set()
    wait_until(lambda: bool(waits))
    assert waits == [True]


def test_counts_of_another_trail_are_not_used(tmp_path: Path, store: Store) -> None:
    """A restored backup may have another row under the number."""
    receive(store, *uids(1, 3))
    store.audit_tail.save("metrics", CountPlace(2, {"format": 1, "counts": []}))
    assert store.audit_tail.place("metrics") == CountPlace(2, {"format": 1, "counts": []})
    url = f"sqlite:///{tmp_path / 'cxrd.sqlite'}"
    with open_database(url) as database, database.writing() as connection:
        connection.execute(text("UPDATE node_facts SET value = replace(value, '2', '1')"))
    assert store.audit_tail.place("metrics") is None
    assert received(CountedTrail(store, ())) == 3


def test_a_shorter_trail_is_counted_anew(tmp_path: Path, store: Store) -> None:
    receive(store, *uids(1, 5))
    trail = CountedTrail(store, ())
    assert received(trail) == 5
    with Store.open(f"sqlite:///{tmp_path / 'restored.sqlite'}", migrate=True) as restored:
        receive(restored, *uids(1, 2))
        trail._store = restored
        wait_until(lambda: received(trail) == 2)


def test_an_error_loses_no_event(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    receive(store, *uids(1, 2))
    trail = CountedTrail(store, ())
    with monkeypatch.context() as patch:

        def fail(after: int, limit: int) -> object:
            raise StorageError("the store is busy")

        patch.setattr(store.audit_tail, "rows", fail)
        with pytest.raises(StorageError):
            received(trail)
    assert received(trail) == 2
