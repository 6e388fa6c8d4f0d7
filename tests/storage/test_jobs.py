"""The queue hands each job to one worker at a time and loses none."""

import multiprocessing
import time
from collections import Counter
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from datetime import timedelta

import pytest
from sqlalchemy import Text, cast, func, insert, select

from storage.database import Database, open_engine
from storage.errors import JobRunningError, LeaseLostError, UnknownJobError
from storage.records import Job, JobKind, JobState
from storage.schema import jobs
from storage.store import Store
from tests.storage.builders import LEASE, claim
from tests.storage.conftest import Clock

ALL = (JobKind.ANALYSE, JobKind.REPORT, JobKind.DELIVER)


def test_a_claimed_job_is_held_under_a_lease(store: Store, clock: Clock) -> None:
    store.jobs.enqueue(JobKind.ANALYSE, "1")

    job = claim(store, JobKind.ANALYSE, worker="a")

    assert (job.state, job.worker, job.attempts) == (JobState.RUNNING, "a", 1)
    assert job.lease_until == clock.now + LEASE
    assert store.jobs.get(job.id) == job
    assert store.jobs.claim(ALL, "b", LEASE) is None


def test_the_job_due_longest_comes_first_and_none_early(store: Store, clock: Clock) -> None:
    store.jobs.enqueue(JobKind.ANALYSE, "late", not_before=clock.now + timedelta(seconds=5))
    store.jobs.enqueue(JobKind.ANALYSE, "second")
    store.jobs.enqueue(JobKind.ANALYSE, "third")
    store.jobs.enqueue(JobKind.REPORT, "first", not_before=clock.now - timedelta(seconds=5))

    claimed = [store.jobs.claim(ALL, "a", LEASE) for _ in range(4)]
    assert [job.subject if job else None for job in claimed] == ["first", "second", "third", None]
    clock.advance(5)
    assert claim(store, JobKind.ANALYSE).subject == "late"


def test_only_the_kinds_and_the_lane_asked_for_are_claimed(store: Store) -> None:
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


def test_a_failed_job_comes_back_later_with_its_error(store: Store, clock: Clock) -> None:
    store.jobs.enqueue(JobKind.ANALYSE, "1")
    later = clock.now + timedelta(seconds=30)

    store.jobs.fail(claim(store, JobKind.ANALYSE), "out of memory", later)

    (job,) = store.jobs.list(state=JobState.QUEUED)
    assert (job.not_before, job.attempts, job.last_error) == (later, 1, "out of memory")
    assert store.jobs.claim(ALL, "a", LEASE) is None
    clock.advance(30)
    assert claim(store, JobKind.ANALYSE).attempts == 2


def test_a_job_that_is_given_up_is_parked(store: Store) -> None:
    store.jobs.enqueue(JobKind.ANALYSE, "1")
    store.jobs.fail(claim(store, JobKind.ANALYSE), "0xA900", None)

    (job,) = store.jobs.list(state=JobState.PARKED)
    assert job.last_error == "0xA900"
    assert store.jobs.claim(ALL, "a", LEASE) is None


def test_postponing_is_no_attempt(store: Store, clock: Clock) -> None:
    store.jobs.enqueue(JobKind.REPORT, "1.2")
    store.jobs.postpone(claim(store, JobKind.REPORT), clock.now + timedelta(seconds=5))

    assert store.jobs.claim(ALL, "a", LEASE) is None
    clock.advance(5)
    assert claim(store, JobKind.REPORT).attempts == 1


@pytest.mark.parametrize("end", [JobState.DONE, JobState.PARKED, JobState.DISCARDED, None])
def test_touching_a_job_asks_for_it_again(store: Store, clock: Clock, end: JobState | None) -> None:
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
def test_a_touch_while_the_job_runs_is_not_lost(
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


def test_a_heartbeat_keeps_the_lease_and_without_it_the_job_comes_back(
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
def test_a_worker_whose_lease_was_lost_changes_nothing(
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


def test_a_late_worker_may_finish_what_nobody_took_away(store: Store, clock: Clock) -> None:
    store.jobs.enqueue(JobKind.ANALYSE, "1")
    late = claim(store, JobKind.ANALYSE)
    clock.advance(3600)

    store.jobs.finish(late)
    assert store.jobs.get(late.id).state is JobState.DONE


def test_a_worker_that_ended_gives_back_only_its_own(store: Store) -> None:
    for subject in "123":
        store.jobs.enqueue(JobKind.ANALYSE, subject)
    mine = [claim(store, JobKind.ANALYSE, worker="a") for _ in range(2)]
    other = claim(store, JobKind.ANALYSE, worker="b")

    assert store.jobs.release("a") == 2
    assert store.jobs.release("a") == 0
    assert {store.jobs.get(job.id).state for job in mine} == {JobState.QUEUED}
    assert store.jobs.get(other.id).state is JobState.RUNNING


def test_a_person_may_retry_or_discard_what_does_not_run(store: Store, clock: Clock) -> None:
    store.jobs.enqueue(JobKind.DELIVER, "x@one", lane="one")
    running = claim(store, JobKind.DELIVER)
    for change in (store.jobs.retry, store.jobs.discard):
        with pytest.raises(JobRunningError):
            change(running.id)
        with pytest.raises(UnknownJobError):
            change(running.id + 1)
    store.jobs.fail(running, "refused", None)

    assert store.jobs.discard(running.id).state is JobState.DISCARDED
    retried = store.jobs.retry(running.id)
    assert (retried.state, retried.attempts) == (JobState.QUEUED, 0)
    assert claim(store, JobKind.DELIVER).id == running.id
    with pytest.raises(UnknownJobError):
        store.jobs.get(running.id + 1)


def test_the_queue_can_be_looked_at(store: Store, clock: Clock) -> None:
    soon = clock.now + timedelta(seconds=5)
    store.jobs.enqueue(JobKind.ANALYSE, "1")
    store.jobs.enqueue(JobKind.DELIVER, "x@one", lane="one", not_before=soon)
    store.jobs.finish(claim(store, JobKind.ANALYSE))

    assert store.jobs.counts() == {
        (JobKind.ANALYSE, JobState.DONE): 1,
        (JobKind.DELIVER, JobState.QUEUED): 1,
    }
    assert [job.kind for job in store.jobs.list()] == [JobKind.DELIVER, JobKind.ANALYSE]
    assert [job.kind for job in store.jobs.list(kind=JobKind.ANALYSE)] == [JobKind.ANALYSE]
    assert len(store.jobs.list(limit=1)) == 1
    assert store.jobs.next_due(ALL) == soon
    assert store.jobs.next_due(ALL, lane="one") == soon
    assert store.jobs.next_due(ALL, lane="two") is None
    assert store.jobs.next_due([JobKind.ANALYSE]) is None


def _claim_all(url: str, worker: str) -> list[int]:
    claimed = []
    with Store.open(url, migrate=False) as store:
        while job := store.jobs.claim([JobKind.ANALYSE], worker, LEASE):
            claimed.append(job.id)
            store.jobs.finish(job)
    return claimed


def test_two_processes_share_the_jobs_without_doing_one_twice(database_url: str) -> None:
    with Store.open(database_url, migrate=True) as store:
        for number in range(200):
            store.jobs.enqueue(JobKind.ANALYSE, str(number))
        expected = {job.id for job in store.jobs.list(limit=None)}

    with ProcessPoolExecutor(2, multiprocessing.get_context("spawn")) as pool:
        claimed = [*pool.map(_claim_all, [database_url] * 2, ["a", "b"])]

    counted = Counter(number for numbers in claimed for number in numbers)
    assert set(counted) == expected
    assert set(counted.values()) == {1}


def test_threads_of_one_store_share_the_jobs(store: Store) -> None:
    for number in range(40):
        store.jobs.enqueue(JobKind.ANALYSE, str(number))

    with ThreadPoolExecutor(8) as pool:
        claimed = list(pool.map(lambda _: store.jobs.claim(ALL, "a", LEASE), range(48)))

    numbers = [job.id for job in claimed if job]
    assert len(numbers) == len(set(numbers)) == 40


def test_claiming_stays_fast_behind_100_000_finished_jobs(database_url: str, store: Store) -> None:
    store.jobs.enqueue(JobKind.DELIVER, "first@one", lane="one")
    store.jobs.finish(claim(store, JobKind.DELIVER))
    database = Database(open_engine(database_url))
    with database.writing() as connection:
        for doubling in range(17):
            number = jobs.c.id + 2**doubling
            changed = {"id": number, "subject": cast(number, Text)}
            copies = select(*(changed.get(column.name, column) for column in jobs.c))
            connection.execute(insert(jobs).from_select(list(jobs.c), copies))
        assert connection.scalar(select(func.count()).select_from(jobs)) == 2**17
    database.engine.dispose()

    started = time.perf_counter()
    for _ in range(40):
        assert store.jobs.claim([JobKind.DELIVER], "a", LEASE, lane="one") is None
        assert store.jobs.claim(ALL, "a", LEASE) is None
    seconds_each = (time.perf_counter() - started) / 80

    assert seconds_each < 0.012, "a claim reads the finished jobs"
