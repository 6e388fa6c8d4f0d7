"""Counts of the last hours, and times to result."""

from datetime import timedelta

import pytest

from storage.activity import HOUR, HourCounts
from storage.records import Delivery, JobKind, StudyStatus
from storage.store import Store
from tests.builders.store_rows import analyse, claim, made_object, new_instance
from tests.tools.clock import Clock


def receive(store: Store, uid: str, content: str = "pixels") -> None:
    store.record_instance(new_instance(uid, content), 0)


def report(store: Store, uid: str, *destinations: str) -> None:
    """Report the study with deliveries of the report to these destinations."""
    sent = [Delivery(uid, name) for name in destinations]
    store.results.record_report(
        claim(store, JobKind.REPORT), StudyStatus.REPORTED, "", [made_object(uid)], sent
    )


def deliver(store: Store) -> None:
    store.results.record_delivery(claim(store, JobKind.DELIVER), 0x0000)


def test_the_work_of_each_hour_is_counted(store: Store, clock: Clock) -> None:
    start = clock.now
    receive(store, "1.1")
    clock.advance(3599)
    analyse(store, clock.now)
    clock.advance(1)
    receive(store, "1.2")
    refused = claim(store, JobKind.ANALYSE)
    store.results.record_refusal(refused, int(refused.subject), "LATERAL_VIEW", "")
    report(store, "5.1", "pacs", "archive")
    deliver(store)
    assert store.activity.by_hour(start, 3, ["archive", "pacs"]) == (
        HourCounts(start, 1, 1, 0, 0, {"archive": 0, "pacs": 0}),
        HourCounts(start + HOUR, 1, 0, 1, 1, {"archive": 0, "pacs": 1}),
        HourCounts(start + 2 * HOUR, 0, 0, 0, 0, {"archive": 0, "pacs": 0}),
    )
    assert store.activity.last_deliveries(["pacs", "archive", "x"]) == {"pacs": start + HOUR}
    assert store.activity.waiting_since(["pacs", "archive"]) == {"archive": start + HOUR}
    assert store.activity.usual_wait(clock.now) == (timedelta(seconds=3599),)


def test_times_to_result_begin_with_the_last_film(
    store: Store, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    start = clock.now
    receive(store, "1.1")
    clock.advance(10)
    receive(store, "1.2")
    for _ in range(2):
        analyse(store, clock.now)
    clock.advance(30)
    report(store, "5.1", "pacs", "archive")
    clock.advance(5)
    deliver(store)
    found = store.activity.times(start)
    assert found.to_report == (timedelta(seconds=30),)
    assert (found.to_delivery, found.waiting) == ((timedelta(seconds=35),), 1)
    assert store.activity.times(clock.now + HOUR).to_report == ()

    # A report made again, for example after a release, answers no new film.
    clock.advance(86_400)
    store.jobs.enqueue(JobKind.REPORT, "1.2.3@")
    report(store, "5.2", "pacs")
    assert store.activity.times(start).to_report == (timedelta(seconds=30),)
    clock.advance(60)
    receive(store, "1.3")
    analyse(store, clock.now)
    clock.advance(20)
    report(store, "5.3")
    seconds = (timedelta(seconds=20), timedelta(seconds=30))
    assert store.activity.times(start).to_report == seconds
    assert not store.activity.times(start).is_partial
