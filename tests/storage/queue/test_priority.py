"""STAT first, and an ordinary job that has waited for long before it."""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta

import pytest

from storage.errors import JobEndedError, JobRunningError
from storage.queue.jobs import MAX_WAIT
from storage.records import Job, JobKind, Priority
from storage.status import DueJobs
from storage.store import Store
from tests.builders.store_rows import LEASE, claim
from tests.tools.clock import Clock

LANE = "pacs"
SECOND = timedelta(seconds=1)


def claim_alone(store: Store, kind: JobKind, lane: str | None) -> list[Job]:
    """Claim the jobs one by one."""
    found = []
    while job := store.jobs.claim([kind], "a", LEASE, lane):
        found.append(job)
    return found


def claim_together(store: Store, kind: JobKind, lane: str | None) -> list[Job]:
    """Claim the jobs four at a time."""
    found: list[Job] = []
    while some := store.jobs.claim_some([kind], "a", LEASE, 4, lane):
        assert len(some) <= 4
        found += some
    return found


@pytest.mark.parametrize("claims", [claim_alone, claim_together])
@pytest.mark.parametrize(
    ("kind", "lane"),
    [
        (JobKind.ANALYSE, None),
        (JobKind.REPORT, None),
        (JobKind.DELIVER, LANE),
        (JobKind.COMMIT, LANE),
    ],
)
def test_stat_goes_first_but_after_ordinary_jobs_that_waited_for_long(
    store: Store,
    clock: Clock,
    kind: JobKind,
    lane: str | None,
    claims: Callable[[Store, JobKind, str | None], list[Job]],
) -> None:
    stat, ordinary, backfill = Priority.STAT, Priority.ROUTINE, Priority.BACKFILL
    queued = [
        ("waited longest", ordinary, MAX_WAIT + 2 * SECOND),
        ("waited", ordinary, MAX_WAIT),
        ("stat for long", stat, MAX_WAIT + SECOND),
        ("stat", stat, SECOND),
        ("stat now", stat, 0 * SECOND),
        ("nearly waited", ordinary, MAX_WAIT - SECOND),
        ("new", ordinary, 0 * SECOND),
        ("backfill for long", backfill, 3 * MAX_WAIT),
        ("backfill", backfill, 0 * SECOND),
    ]
    for name, priority, waited in [*reversed(queued), ("not due", stat, -SECOND)]:
        due = clock.now - waited
        store.jobs.enqueue(kind, name, not_before=due, lane=lane, priority=priority)

    assert [job.subject for job in claims(store, kind, lane)] == [name for name, *_ in queued]


def test_the_longest_wait_is_that_of_the_store(database_url: str, clock: Clock) -> None:
    short = timedelta(minutes=1)
    with Store.open(database_url, clock=clock, migrate=True, max_wait=short) as store:
        store.jobs.enqueue(JobKind.ANALYSE, "waits", not_before=clock.now - 59 * SECOND)
        store.jobs.enqueue(JobKind.ANALYSE, "stat", priority=1)
        assert claim(store, JobKind.ANALYSE).subject == "stat"
        store.jobs.enqueue(JobKind.ANALYSE, "stat", priority=1)
        clock.advance(1)
        assert claim(store, JobKind.ANALYSE).subject == "waits"


def test_the_next_job_is_that_which_is_due_first_whatever_its_priority(
    store: Store, clock: Clock
) -> None:
    store.jobs.enqueue(JobKind.ANALYSE, "1", not_before=clock.now + 5 * SECOND, priority=1)
    assert store.jobs.next_due([JobKind.ANALYSE]) == clock.now + 5 * SECOND
    store.jobs.enqueue(JobKind.ANALYSE, "2", not_before=clock.now + 3 * SECOND)
    assert store.jobs.next_due([JobKind.ANALYSE]) == clock.now + 3 * SECOND
    store.jobs.enqueue(JobKind.ANALYSE, "3", not_before=clock.now + SECOND, priority=-1)
    assert store.jobs.next_due([JobKind.ANALYSE]) == clock.now + SECOND


def test_a_job_that_waits_is_raised_and_not_lowered(store: Store) -> None:
    def priority() -> int:
        return store.jobs.list()[0].priority

    store.jobs.enqueue(JobKind.REPORT, "1.2")
    assert priority() == Priority.ROUTINE
    store.jobs.enqueue(JobKind.REPORT, "1.2", priority=Priority.STAT)
    assert priority() == Priority.STAT
    store.jobs.enqueue(JobKind.REPORT, "1.2", priority=Priority.ROUTINE)
    assert priority() == Priority.STAT
    store.jobs.finish(claim(store, JobKind.REPORT))
    store.jobs.enqueue(JobKind.REPORT, "1.2")
    assert priority() == Priority.STAT
    store.jobs.finish(claim(store, JobKind.REPORT))
    store.jobs.enqueue(JobKind.REPORT, "1.2", priority=Priority.ROUTINE)
    assert priority() == Priority.ROUTINE


def test_claims_at_once_take_each_job_once_and_no_more_than_they_ask(
    store: Store, clock: Clock
) -> None:
    for number in range(60):
        store.jobs.enqueue(
            JobKind.DELIVER,
            f"{number}@{LANE}",
            lane=LANE,
            priority=number % 2,
            not_before=clock.now - MAX_WAIT * (number % 3),
        )

    def take(_: int) -> tuple[Job, ...]:
        return store.jobs.claim_some([JobKind.DELIVER], "a", LEASE, 7, LANE)

    with ThreadPoolExecutor(4) as pool:
        claimed = list(pool.map(take, range(12)))

    assert max(map(len, claimed)) <= 7
    numbers = [job.id for some in claimed for job in some]
    assert len(numbers) == len(set(numbers)) == 60


def test_an_operator_changes_the_priority_of_a_job_that_waits(store: Store, clock: Clock) -> None:
    store.jobs.enqueue(JobKind.ANALYSE, "1")
    number = store.jobs.list()[0].id
    clock.advance(5)
    assert store.jobs.set_priority(number, Priority.STAT, "ines", host="h").priority == 1
    changed = store.jobs.get(number)
    assert (changed.priority, changed.generation) == (1, 1)
    assert changed.updated_at < clock.now
    assert store.jobs.set_priority(number, Priority.ROUTINE, "ines").priority == 0
    assert [(row.kind, row.actor, row.host, row.detail) for row in store.audit.rows()] == [
        ("job_priority_changed", "ines", "h", "analyse: stat"),
        ("job_priority_changed", "ines", "", "analyse: routine"),
    ]
    running = claim(store, JobKind.ANALYSE)
    with pytest.raises(JobRunningError):
        store.jobs.set_priority(number, Priority.STAT)
    store.jobs.finish(running)
    with pytest.raises(JobEndedError, match="nothing to change"):
        store.jobs.set_priority(number, Priority.STAT)


def test_due_jobs_are_counted_by_priority(store: Store, clock: Clock) -> None:
    start = clock.now
    for number in range(5):
        store.jobs.enqueue(JobKind.ANALYSE, str(number), priority=number % 2)
        store.jobs.enqueue(JobKind.DELIVER, f"{number}@{LANE}", lane=LANE)
    store.jobs.enqueue(JobKind.REPORT, "later", not_before=start + SECOND)
    store.jobs.finish(claim(store, JobKind.ANALYSE))
    assert store.status.due(start) == {
        (JobKind.ANALYSE, Priority.STAT): DueJobs(1, start),
        (JobKind.ANALYSE, Priority.ROUTINE): DueJobs(3, start),
        (JobKind.DELIVER, Priority.ROUTINE): DueJobs(5, start),
    }
