"""The queue shared by several workers, and its use by operators."""

import multiprocessing
from collections import Counter
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from datetime import timedelta

import pytest

from storage.errors import JobRunningError, UnknownJobError
from storage.records import JobKind, JobState
from storage.status import JobGroup
from storage.store import Store
from tests.builders.store_rows import LEASE, claim
from tests.tools.clock import Clock

ALL = (JobKind.ANALYSE, JobKind.REPORT, JobKind.DELIVER)


def test_a_job_that_is_not_running_can_be_retried_or_discarded(store: Store, clock: Clock) -> None:
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


def test_jobs_are_listed_and_counted(store: Store, clock: Clock) -> None:
    soon = clock.now + timedelta(seconds=5)
    store.jobs.enqueue(JobKind.ANALYSE, "1")
    store.jobs.enqueue(JobKind.DELIVER, "x@one", lane="one", not_before=soon)
    store.jobs.finish(claim(store, JobKind.ANALYSE))

    assert store.status.job_counts() == {
        JobGroup(JobKind.ANALYSE, JobState.DONE, None): 1,
        JobGroup(JobKind.DELIVER, JobState.QUEUED, "one"): 1,
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


def test_two_processes_never_claim_the_same_job(database_url: str) -> None:
    with Store.open(database_url, migrate=True) as store:
        for number in range(200):
            store.jobs.enqueue(JobKind.ANALYSE, str(number))
        expected = {job.id for job in store.jobs.list(limit=None)}

    with ProcessPoolExecutor(2, multiprocessing.get_context("spawn")) as pool:
        claimed = [*pool.map(_claim_all, [database_url] * 2, ["a", "b"])]

    counted = Counter(number for numbers in claimed for number in numbers)
    assert set(counted) == expected
    assert set(counted.values()) == {1}


def test_threads_of_one_store_never_claim_the_same_job(store: Store) -> None:
    for number in range(40):
        store.jobs.enqueue(JobKind.ANALYSE, str(number))

    with ThreadPoolExecutor(8) as pool:
        claimed = list(pool.map(lambda _: store.jobs.claim(ALL, "a", LEASE), range(48)))

    numbers = [job.id for job in claimed if job]
    assert len(numbers) == len(set(numbers)) == 40
