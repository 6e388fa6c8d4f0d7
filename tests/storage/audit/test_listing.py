"""The audit trail by filter, in pages."""

from collections.abc import Iterator
from datetime import timedelta

import pytest

from storage.audit.listing import AuditFilter, AuditList, AuditPage
from storage.audit.records import AuditKind, AuditOutcome, subject_of
from storage.store import Store
from storage.tables.database import Database, open_database
from tests.tools.clock import Clock

ROWS = 40


@pytest.fixture
def database(database_url: str, store: Store) -> Iterator[Database]:
    with open_database(database_url) as opened:
        yield opened


@pytest.fixture
def trail(store: Store, clock: Clock) -> Store:
    """A trail of ROWS rows, one a minute; every tenth is a failed login of `ann`."""
    for number in range(1, ROWS + 1):
        if number % 10 == 0:
            store.audit.record(
                AuditKind.LOGIN, outcome=AuditOutcome.FAILURE, actor="ann", host="10.0.0.9"
            )
        else:
            subject = subject_of(study=f"1.2.{number}", source="north")
            store.audit.record(AuditKind.STUDY_REPORTED, actor="worker", subject=subject)
        clock.now += timedelta(minutes=1)
    return store


def numbers(page: AuditPage) -> list[int]:
    return [row.number for row in page.rows]


def pages(audit_list: AuditList, wanted: AuditFilter, limit: int) -> Iterator[AuditPage]:
    before = None
    while True:
        page = audit_list.page(wanted, before, limit)
        yield page
        before = page.before
        if before is None:
            return


LISTS: list[tuple[AuditFilter, list[int]]] = [
    (AuditFilter(), list(range(40, 0, -1))),
    (AuditFilter(AuditKind.LOGIN), [40, 30, 20, 10]),
    (AuditFilter(outcome=AuditOutcome.FAILURE), [40, 30, 20, 10]),
    (AuditFilter(outcome=AuditOutcome.SUCCESS, subject="1.2.3 "), [3]),
    (AuditFilter(AuditKind.STUDY_REPORTED, outcome=AuditOutcome.FAILURE), []),
    (AuditFilter(actor="ANN"), [40, 30, 20, 10]),
    (AuditFilter(AuditKind.LOGIN, host="0.9"), [40, 30, 20, 10]),
    (AuditFilter(actor="%"), []),
    (AuditFilter(AuditKind.PURGED), []),
]


def test_pages_hold_every_row_of_a_filter_once_and_in_order(
    trail: Store, database: Database
) -> None:
    for looked in (3, 7, 1000):
        audit_list = AuditList(database, looked)
        for wanted, found in LISTS:
            shown = [row for page in pages(audit_list, wanted, 4) for row in numbers(page)]
            assert shown == found, (wanted, looked)


def test_a_page_says_how_far_it_looked(trail: Store, database: Database) -> None:
    few = AuditList(database, 15)
    first = few.page(AuditFilter(actor="ann"))
    assert (numbers(first), first.before, first.looked_to) == ([40, 30], 26, 26)
    second = few.page(AuditFilter(actor="ann"), first.before)
    assert (numbers(second), second.looked_to) == ([20], 11)
    last = few.page(AuditFilter(actor="ann"), second.before)
    assert (numbers(last), last.before, last.looked_to) == ([10], None, None)
    full = few.page(AuditFilter(), limit=5)
    assert (numbers(full), full.before, full.looked_to) == ([40, 39, 38, 37, 36], 36, None)


def test_times_limit_the_rows_also_after_the_clock_was_set_back(store: Store, clock: Clock) -> None:
    start = clock.now
    for minutes in (0, 10, 20, 5, 15):
        clock.now = start + timedelta(minutes=minutes)
        store.audit.record(AuditKind.LOGIN)
    span = AuditFilter(since=start + timedelta(minutes=5), until=start + timedelta(minutes=15))
    assert numbers(store.audit_list.page(span)) == [4, 2]
    assert numbers(store.audit_list.page(AuditFilter(until=start))) == []


def test_the_events_of_a_job_are_those_of_its_number(store: Store) -> None:
    for number in (1, 12):
        subject = subject_of(job=number, study="1.2")
        store.audit.record(AuditKind.JOB_PARKED, subject=subject)
        store.audit.record(AuditKind.JOB_RETRIED, subject=subject_of(job=number), actor="ann")
    store.audit.record(AuditKind.STUDY_VIEWED, subject=subject_of(job=1))
    found = [(row.number, row.kind, row.actor) for row in store.audit_list.of_job(1)]
    assert found == [(2, AuditKind.JOB_RETRIED, "ann"), (1, AuditKind.JOB_PARKED, "")]
