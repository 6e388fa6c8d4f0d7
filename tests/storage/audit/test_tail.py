"""Rows of the trail from a place on, and the places that readers save."""

from datetime import timedelta

from storage.audit.records import AuditKind, AuditOutcome
from storage.audit.tail import CountPlace
from storage.records import Delivery, JobKind, StudyStatus
from storage.store import Store
from tests.builders.store_rows import analyse, claim, made_object, receive
from tests.tools.clock import Clock


def test_rows_follow_a_number_in_their_order(store: Store) -> None:
    for number in range(1, 6):
        store.audit.record(
            AuditKind.LOGIN,
            outcome=AuditOutcome.FAILURE,
            actor=f"user {number}",
            subject="a=1",
            detail="why",
        )
    rows = store.audit_tail.rows(1, 3)
    assert [row[0] for row in rows] == [2, 3, 4]
    assert list(rows[0])[2:] == ["login", "failure", "user 2", "a=1", "why"]
    assert list(store.audit_tail.rows(5, 3)) == []


def test_a_reader_finds_the_place_that_it_saved_last(store: Store) -> None:
    assert store.audit_tail.place("one") is None
    for _ in range(2):
        store.audit.record(AuditKind.BACKED_UP)
    store.audit_tail.save("one", CountPlace(1, {"films": [3, 1.5]}))
    store.audit_tail.save("one", CountPlace(2, {"films": [4, 2.5]}))
    assert store.audit_tail.place("one") == CountPlace(2, {"films": [4, 2.5]})
    assert store.audit_tail.place("two") is None
    assert store.first_schema() is not None


def test_the_place_of_a_reader_of_the_trail_is_its_last_row(store: Store) -> None:
    assert store.audit_readers.place("syslog") == 0
    store.audit_readers.hold("syslog", "me", timedelta(seconds=60))
    store.audit_readers.advance("syslog", "me", 7)
    assert store.audit_readers.place("syslog") == 7


def test_reports_are_told_from_other_objects_with_their_time(store: Store, clock: Clock) -> None:
    receive(store, "1.2.3.1")
    analyse(store, clock())
    clock.advance(5)
    store.results.record_report(
        claim(store, JobKind.REPORT),
        StudyStatus.REPORTED,
        "",
        [made_object("2.25.1")],
        [Delivery("2.25.1", "pacs")],
    )
    assert store.activity.reports_made(["2.25.1", "2.25.2"]) == {"2.25.1": clock()}
    assert store.activity.reports_made([]) == {}
    assert store.status.retrying_counts() == {}
    job = claim(store, JobKind.DELIVER)
    store.jobs.fail(job, "no answer", clock() + timedelta(seconds=5))
    assert store.status.retrying_counts() == {(JobKind.DELIVER, "pacs"): 1}
