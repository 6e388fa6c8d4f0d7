"""Rings between the hosts of a store."""

import threading
from collections.abc import Iterator

import psycopg
import pytest

from storage.hosts import bells
from storage.store import Store

SECONDS = 20


class Ear:
    """Counts the rings that arrive, and the report that none does."""

    def __init__(self) -> None:
        self.rung = threading.Semaphore(0)
        self.silent = threading.Event()

    def waits(self, seconds: float = SECONDS) -> bool:
        return self.rung.acquire(timeout=seconds)


@pytest.fixture
def url(postgresql_socket: str) -> str:
    from tests.servers.postgresql_server import new_tables

    return new_tables(postgresql_socket)


@pytest.fixture
def here(url: str) -> Iterator[Store]:
    with Store.open(url, migrate=False) as store:
        yield store


@pytest.fixture
def there(url: str) -> Iterator[Store]:
    with Store.open(url, migrate=False) as store:
        yield store


def listen(store: Store, name: str) -> Ear:
    """Listen, and wait for the first wake, which comes when the connection is made."""
    ear = Ear()
    store.bells.listen(name, ear.rung.release, ear.silent.set)
    assert ear.waits()
    return ear


def test_a_ring_wakes_those_of_another_host_that_listen_to_its_name(
    here: Store, there: Store
) -> None:
    ear, other = listen(there, "analyst"), Ear()
    there.bells.listen("courier", other.rung.release, other.silent.set)
    here.bells.ring("analyst")
    assert ear.waits()
    assert not other.waits(0)


def test_rings_that_come_together_are_sent_together(
    here: Store, there: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(bells, "GATHER_SECONDS", 0.3)
    ear = listen(there, "analyst")
    for _ in range(50):
        here.bells.ring("analyst")
    assert ear.waits()
    # The first of them may have been sent alone.
    assert sum(ear.waits(0.4) for _ in range(3)) < 3


def test_what_was_rung_last_is_sent_before_the_store_is_closed(url: str, there: Store) -> None:
    ear = listen(there, "analyst")
    with Store.open(url, migrate=False) as short:
        short.bells.ring("analyst")
    assert ear.waits()


def test_both_ends_connect_again_and_the_listener_looks_once(
    here: Store, there: Store, postgresql_socket: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(bells, "RECONNECT_SECONDS", 0.05)
    ear = listen(there, "analyst")
    here.bells.ring("analyst")
    assert ear.waits()
    with psycopg.connect(host=postgresql_socket, user="cxrd", dbname="kept") as connection:
        connection.execute(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
            " WHERE datname = 'kept' AND pid <> pg_backend_pid()"
        )
    assert ear.waits(), "it looks once after it has connected again"
    while ear.waits(0.2):
        pass
    here.bells.ring("analyst")
    assert ear.waits()
    here.jobs.list()


def test_a_ring_that_does_not_arrive_is_reported(
    there: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(bells, "TEST_SECONDS", 0.2)
    monkeypatch.setattr(there.bells, "_send", lambda: None)
    assert listen(there, "analyst").silent.wait(SECONDS)


def test_a_ring_that_arrives_is_not_reported(there: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bells, "TEST_SECONDS", 0.5)
    assert not listen(there, "analyst").silent.wait(0.8)
