"""One worker at a time holds a job, and no job is lost."""

from collections.abc import Callable
from datetime import timedelta

import pytest
from sqlalchemy import Table, Update, update

from storage.errors import LeaseLostError
from storage.queue import jobs as jobs_module
from storage.records import Job, JobKind, JobState
from storage.store import Store
from storage.tables.database import open_database
from storage.tables.schema import jobs
from tests.builders.store_rows import LEASE, STUDY_KEY, claim, receive
from tests.servers.postgresql_server import emptied_database
from tests.tools.clock import Clock

ALL = (JobKind.ANALYSE, JobKind.REPORT, JobKind.DELIVER)


def test_a_claimed_job_is_held_under_a_lease(store: Store, clock: Clock) -> None:
    store.jobs.enqueue(JobKind.ANALYSE, "1")

    job = claim(store, JobKind.ANALYSE, worker="a")

    assert (job.state, job.worker, job.attempts) == (JobState.RUNNING, "a", 1)
    assert job.lease_until == clock.now + LEASE
    assert store.jobs.get(job.id) == job
    assert store.jobs.claim(ALL, "b", LEASE) is None


def test_the_job_due_longest_is_claimed_first_and_no_job_early(store: Store, clock: Clock) -> None:
    store.jobs.enqueue(JobKind.ANALYSE, "late", not_before=clock.now + timedelta(seconds=5))
    store.jobs.enqueue(JobKind.ANALYSE, "second")
    store.jobs.enqueue(JobKind.ANALYSE, "third")
    store.jobs.enqueue(JobKind.REPORT, "first", not_before=clock.now - timedelta(seconds=5))

    claimed = [store.jobs.claim(ALL, "a", LEASE) for _ in range(4)]
    assert [job.subject if job else None for job in claimed] == ["first", "second", "third", None]
    clock.advance(5)
    assert claim(store, JobKind.ANALYSE).subject == "late"


def test_only_the_requested_kinds_and_lane_are_claimed(store: Store) -> None:
    store.jobs.enqueue(JobKind.DELIVER, "x@one", lane="one")
    store.jobs.enqueue(JobKind.DELIVER, "x@two", lane="two")

    assert store.jobs.claim([JobKind.ANALYSE, JobKind.REPORT], "a", LEASE) is None
    assert store.jobs.claim([], "a", LEASE) is None
    assert store.jobs.claim([JobKind.DELIVER], "a", LEASE, lane="three") is None
    job = store.jobs.claim([JobKind.DELIVER], "a", LEASE, lane="two")
    assert job is not None
    assert (job.subject, job.lane) == ("x@two", "two")
    assert claim(store, JobKind.DELIVER).lane == "one"


def test_a_finished_job_is_done(store: Store) -> None:
    store.jobs.enqueue(JobKind.ANALYSE, "1")
    store.jobs.finish(claim(store, JobKind.ANALYSE))

    (job,) = store.jobs.list()
    assert (job.state, job.worker, job.lease_until) == (JobState.DONE, None, None)
    assert store.jobs.claim(ALL, "a", LEASE) is None


def test_a_failed_job_is_queued_again_with_its_error(store: Store, clock: Clock) -> None:
    store.jobs.enqueue(JobKind.ANALYSE, "1")
    later = clock.now + timedelta(seconds=30)

    store.jobs.fail(claim(store, JobKind.ANALYSE), "out of memory", later)

    (job,) = store.jobs.list(state=JobState.QUEUED)
    assert (job.not_before, job.attempts, job.last_error) == (later, 1, "out of memory")
    assert store.jobs.claim(ALL, "a", LEASE) is None
    clock.advance(30)
    assert claim(store, JobKind.ANALYSE).attempts == 2


def test_a_job_without_a_retry_is_parked(store: Store) -> None:
    store.jobs.enqueue(JobKind.ANALYSE, "1")
    store.jobs.fail(claim(store, JobKind.ANALYSE), "0xA900", None)

    (job,) = store.jobs.list(state=JobState.PARKED)
    assert job.last_error == "0xA900"
    assert store.jobs.claim(ALL, "a", LEASE) is None


def test_a_postponed_run_is_not_an_attempt(store: Store, clock: Clock) -> None:
    store.jobs.enqueue(JobKind.REPORT, "1.2")
    store.jobs.postpone(claim(store, JobKind.REPORT), clock.now + timedelta(seconds=5))

    assert store.jobs.claim(ALL, "a", LEASE) is None
    clock.advance(5)
    assert claim(store, JobKind.REPORT).attempts == 1


@pytest.mark.parametrize("end", [JobState.DONE, JobState.PARKED, JobState.DISCARDED, None])
def test_a_touch_queues_a_job_again(store: Store, clock: Clock, end: JobState | None) -> None:
    store.jobs.enqueue(JobKind.REPORT, "1.2")
    if end is JobState.DISCARDED:
        store.jobs.discard(store.jobs.list()[0].id)
    elif end is not None:
        job = claim(store, JobKind.REPORT)
        if end is JobState.DONE:
            store.jobs.finish(job)
        else:
            store.jobs.fail(job, "parked", None)
    later = clock.now + timedelta(seconds=30)

    store.jobs.enqueue(JobKind.REPORT, "1.2", not_before=later)

    (job,) = store.jobs.list()
    assert (job.state, job.generation, job.attempts) == (JobState.QUEUED, 2, 0)
    assert job.not_before == later


def finish(store: Store, job: Job) -> None:
    store.jobs.finish(job)


def retry_soon(store: Store, job: Job) -> None:
    store.jobs.fail(job, "failed", job.not_before + timedelta(seconds=1))


def park(store: Store, job: Job) -> None:
    store.jobs.fail(job, "failed", None)


def postpone(store: Store, job: Job) -> None:
    store.jobs.postpone(job, job.not_before + timedelta(seconds=1))


@pytest.mark.parametrize("end", [finish, retry_soon, park, postpone])
def test_a_touch_of_a_running_job_queues_it_again(
    store: Store, clock: Clock, end: Callable[[Store, Job], None]
) -> None:
    store.jobs.enqueue(JobKind.REPORT, "1.2")
    running = claim(store, JobKind.REPORT)
    later = clock.now + timedelta(seconds=30)

    store.jobs.enqueue(JobKind.REPORT, "1.2", not_before=later)
    assert store.jobs.get(running.id).state is JobState.RUNNING
    assert store.jobs.heartbeat(running, LEASE)
    end(store, running)

    job = store.jobs.get(running.id)
    assert (job.state, job.not_before, job.attempts) == (JobState.QUEUED, later, 0)
    clock.advance(30)
    store.jobs.finish(claim(store, JobKind.REPORT))
    assert store.jobs.get(running.id).state is JobState.DONE


def test_a_heartbeat_renews_the_lease_and_an_expired_lease_queues_the_job(
    store: Store, clock: Clock
) -> None:
    store.jobs.enqueue(JobKind.ANALYSE, "1")
    lost = claim(store, JobKind.ANALYSE, worker="a")
    clock.advance(50)
    assert store.jobs.heartbeat(lost, LEASE)
    clock.advance(50)
    assert store.jobs.reclaim() == ()
    clock.advance(11)

    (job,) = store.jobs.reclaim()

    assert (job.id, job.state, job.attempts) == (lost.id, JobState.QUEUED, 1)
    assert store.jobs.reclaim() == ()
    assert claim(store, JobKind.ANALYSE, worker="b").attempts == 2


@pytest.mark.parametrize("taken_again", [False, True])
@pytest.mark.parametrize("end", [finish, retry_soon, park, postpone])
def test_a_worker_without_its_lease_changes_nothing(
    store: Store, clock: Clock, end: Callable[[Store, Job], None], taken_again: bool
) -> None:
    store.jobs.enqueue(JobKind.ANALYSE, "1")
    lost = claim(store, JobKind.ANALYSE, worker="a")
    clock.advance(61)
    store.jobs.reclaim()
    if taken_again:
        claim(store, JobKind.ANALYSE, worker="a")
    before = store.jobs.get(lost.id)

    with pytest.raises(LeaseLostError):
        end(store, lost)
    assert not store.jobs.heartbeat(lost, LEASE)
    assert store.jobs.get(lost.id) == before


def test_a_late_worker_can_finish_a_job_that_was_not_reclaimed(store: Store, clock: Clock) -> None:
    store.jobs.enqueue(JobKind.ANALYSE, "1")
    late = claim(store, JobKind.ANALYSE)
    clock.advance(3600)

    store.jobs.finish(late)
    assert store.jobs.get(late.id).state is JobState.DONE


def test_release_queues_only_the_jobs_of_the_worker(store: Store) -> None:
    for subject in "123":
        store.jobs.enqueue(JobKind.ANALYSE, subject)
    own = [claim(store, JobKind.ANALYSE, worker="a") for _ in range(2)]
    other = claim(store, JobKind.ANALYSE, worker="b")

    assert store.jobs.release("a") == 2
    assert store.jobs.release("a") == 0
    assert {store.jobs.get(job.id).state for job in own} == {JobState.QUEUED}
    assert store.jobs.get(other.id).state is JobState.RUNNING


def test_jobs_are_shifted_after_the_clock_was_set_back(store: Store, clock: Clock) -> None:
    clock.advance(24 * 3600)
    receive(store, "1.1")
    store.jobs.enqueue(JobKind.REPORT, "later", not_before=clock.now + timedelta(seconds=30))
    held = claim(store, JobKind.ANALYSE)
    clock.advance(-24 * 3600)
    assert store.jobs.reclaim() == ()

    assert store.jobs.shift_to_clock() == 3

    assert store.jobs.shift_to_clock() == 0
    assert store.jobs.get(held.id).lease_until == clock.now + LEASE
    assert claim(store, JobKind.REPORT).subject == STUDY_KEY.subject
    assert store.jobs.claim([JobKind.REPORT], "worker", LEASE) is None
    clock.advance(61)
    assert claim(store, JobKind.REPORT).subject == "later"
    assert {job.id for job in store.jobs.reclaim()} >= {held.id}


def test_a_running_job_without_a_lease_is_reclaimed(store: Store, database_url: str) -> None:
    store.jobs.enqueue(JobKind.ANALYSE, "1")
    held = claim(store, JobKind.ANALYSE)
    with open_database(database_url) as database, database.writing() as connection:
        connection.execute(jobs.update().values(lease_until=None))
    assert [job.id for job in store.jobs.reclaim()] == [held.id]


def test_a_job_claimed_during_the_shift_keeps_its_lease(
    postgresql_socket: str, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    url = emptied_database(postgresql_socket)
    with (
        Store.open(url, clock=clock, migrate=True) as store,
        Store.open(url, clock=clock, migrate=False) as other,
    ):
        store.jobs.enqueue(JobKind.ANALYSE, "1", not_before=clock.now - timedelta(days=1))
        clock.advance(-3600)

        def claim_first(table: Table) -> Update:
            monkeypatch.undo()
            claim(other, JobKind.ANALYSE)
            return update(table)

        monkeypatch.setattr(jobs_module, "update", claim_first)
        assert store.jobs.shift_to_clock() == 0
        (job,) = store.jobs.list()
        assert (job.state, job.lease_until) == (JobState.RUNNING, clock.now + LEASE)


def test_a_small_clock_difference_shifts_no_job(store: Store, clock: Clock) -> None:
    receive(store, "1.1")
    clock.advance(-30)
    assert store.jobs.shift_to_clock() == 0
