"""The outbox by source and destination."""

import pytest

from storage.audit.records import AuditKind
from storage.images import outbox
from storage.images.outbox import Route
from storage.records import JobKind, JobState
from storage.store import Store
from tests.builders.outbox_rows import queue_delivery
from tests.builders.store_rows import LEASE


def states(store: Store) -> dict[str, JobState]:
    return {job.subject: job.state for job in store.jobs.list(kind=JobKind.DELIVER)}


def test_queued_deliveries_are_named_by_source_and_destination(store: Store) -> None:
    assert store.outbox.queued_routes() == ()
    queue_delivery(store, "9.1", "south", "north")
    queue_delivery(store, "9.2", "north", "north", "south")
    queue_delivery(store, "9.3", "north", "north")
    queue_delivery(store, "9.4", "", "north")
    done = store.jobs.claim([JobKind.DELIVER], "courier", LEASE, lane="south")
    assert done is not None
    store.results.record_delivery(done, 0x0000)
    assert store.outbox.queued_routes() == (
        Route("", "north"),
        Route("north", "north"),
        Route("south", "north"),
    )


def test_a_route_is_parked_and_no_other(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(outbox, "PARKED_AT_ONCE", 2)
    for number in range(5):
        queue_delivery(store, f"8.{number}", "south", "north", "south")
    queue_delivery(store, "7.1", "north", "north")
    assert store.outbox.park(Route("south", "north"), "not there") == 5
    found = states(store)
    parked = {subject for subject, state in found.items() if state is JobState.PARKED}
    assert parked == {f"8.{number}@north" for number in range(5)}
    assert {job.last_error for job in store.jobs.list(state=JobState.PARKED)} == {"not there"}
    assert {state for subject, state in found.items() if subject not in parked} == {JobState.QUEUED}
    rows = [row for row in store.audit.rows() if row.kind == AuditKind.JOB_PARKED]
    assert {(row.actor, row.detail) for row in rows} == {("north", "deliver: not there")}
    assert len(rows) == 5
    assert store.outbox.park(Route("south", "north"), "not there") == 0


def test_a_running_delivery_is_not_parked(store: Store) -> None:
    queue_delivery(store, "9.1", "south", "north")
    running = store.jobs.claim([JobKind.DELIVER], "courier", LEASE, lane="north")
    assert running is not None
    assert store.outbox.park(Route("south", "north"), "not there") == 0
    store.results.record_delivery(running, 0x0000)
    assert states(store) == {"9.1@north": JobState.DONE}
