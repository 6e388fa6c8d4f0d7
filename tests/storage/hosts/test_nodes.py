"""The roles of all hosts: renewed, silent, removed, forgotten; on both databases."""

from dataclasses import replace
from datetime import timedelta

from storage.hosts.nodes import FORGOTTEN, SILENT, NodeRole
from storage.store import Store
from tests.tools.clock import Clock

ANALYST = NodeRole("b:analyst", "b", "analyst", "1.0", "0008", "{}", "starting")
LISTENER = NodeRole("a:listener", "a", "listener", "1.0", "0008", "{}", "up")


def test_a_role_is_listed_with_the_time_of_its_state(store: Store, clock: Clock) -> None:
    begin = clock.now
    store.nodes.renew([ANALYST, LISTENER])
    clock.advance(10)
    up = replace(ANALYST, state="up", detail="it works", version="1.1")
    store.nodes.renew([up, LISTENER])
    clock.advance(5)

    listener, analyst = store.nodes.list()

    assert (listener.node, listener.since) == (LISTENER, begin)
    assert (analyst.node, analyst.since) == (up, begin + timedelta(seconds=10))
    assert {one.age for one in (listener, analyst)} == {timedelta(seconds=5)}
    assert {one.seen_at for one in (listener, analyst)} == {begin + timedelta(seconds=10)}


def test_a_host_renews_its_own_roles_only(store: Store, clock: Clock) -> None:
    store.nodes.renew([ANALYST])
    clock.advance(SILENT.total_seconds())
    store.nodes.renew([LISTENER])
    assert [one.is_silent for one in store.nodes.list()] == [False, False]
    clock.advance(1)
    assert [one.is_silent for one in store.nodes.list()] == [False, True]


def test_a_stopped_role_is_removed_and_a_silent_one_forgotten(store: Store, clock: Clock) -> None:
    store.nodes.renew([ANALYST, LISTENER])
    store.nodes.remove([LISTENER.name])
    assert [one.node for one in store.nodes.list()] == [ANALYST]

    clock.advance(FORGOTTEN.total_seconds() + 1)
    assert store.nodes.list() == ()
    store.nodes.renew([LISTENER])
    store.nodes.forget()
    clock.advance(-2)
    assert [one.node for one in store.nodes.list()] == [LISTENER]


def test_a_clock_that_was_set_back_makes_no_role_silent(store: Store, clock: Clock) -> None:
    store.nodes.renew([LISTENER])
    clock.advance(-7200)
    (listener,) = store.nodes.list()
    assert listener.age == timedelta(0)


def test_a_host_without_roles_writes_nothing(store: Store) -> None:
    store.nodes.renew([])
    assert store.nodes.list() == ()
