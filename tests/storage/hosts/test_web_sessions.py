"""The sessions of browsers: open at every host of the store, ended at all of them at once."""

import itertools
from collections.abc import Iterator
from datetime import timedelta

import pytest

from storage.hosts import web_sessions
from storage.hosts.web_sessions import WebSession
from storage.store import Store
from tests.tools.clock import Clock

INES = WebSession("ines", "operator", "secret", "entry")
LIFETIME, IDLE = timedelta(hours=12), timedelta(hours=1)


@pytest.fixture
def other(database_url: str, store: Store, clock: Clock) -> Iterator[Store]:
    """The store as another host has it open."""
    with Store.open(database_url, clock=clock, migrate=False) as opened:
        yield opened


def test_a_login_is_valid_at_another_host_and_a_logout_ends_it_there(
    store: Store, other: Store
) -> None:
    store.web_sessions.start("digest", INES, LIFETIME, IDLE)
    assert other.web_sessions.find("digest", IDLE) == INES
    assert other.web_sessions.find("another", IDLE) is None
    assert other.web_sessions.end("digest") == INES
    assert store.web_sessions.find("digest", IDLE) is None
    assert store.web_sessions.end("digest") is None


def test_a_session_ends_with_its_lifetime_or_without_a_request(store: Store, clock: Clock) -> None:
    store.web_sessions.start("used", INES, LIFETIME, IDLE)
    store.web_sessions.start("idle", INES, LIFETIME, IDLE)
    for _ in range(14):
        clock.advance(50 * 60)
        assert store.web_sessions.find("used", IDLE) == INES
    assert store.web_sessions.find("idle", IDLE) is None
    clock.advance(20 * 60)
    assert store.web_sessions.find("used", IDLE) is None
    assert store.web_sessions.end("used") is None


def test_the_use_of_a_session_is_recorded_once_a_minute(
    store: Store, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    counter = itertools.count()
    renew = store.web_sessions._renew

    def counted(digest: str, idle_at: object) -> None:
        next(counter)
        renew(digest, idle_at)  # type: ignore[arg-type]

    monkeypatch.setattr(store.web_sessions, "_renew", counted)
    store.web_sessions.start("digest", INES, LIFETIME, IDLE)
    for _ in range(125):
        clock.advance(1)
        assert store.web_sessions.find("digest", IDLE) == INES
    assert next(counter) == 2


def test_the_oldest_session_ends_beyond_the_limit(
    store: Store, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(web_sessions, "MAX_SESSIONS", 2)
    for name in ("first", "second", "third"):
        store.web_sessions.start(name, INES, LIFETIME, IDLE)
        clock.advance(1)
    found = [store.web_sessions.find(name, IDLE) for name in ("first", "second", "third")]
    assert found == [None, INES, INES]
