"""An act on a job counts only if the job is as the operator saw it."""

import threading
from collections.abc import Callable
from datetime import datetime

import pytest

from storage.errors import ChangedMeanwhileError
from storage.queue.seen import SeenJob
from storage.records import Job, JobKind, JobState
from storage.store import Store
from tests.builders.store_rows import claim
from tests.tools.clock import Clock


def parked_job(store: Store) -> Job:
    store.jobs.enqueue(JobKind.ANALYSE, "1")
    job = claim(store, JobKind.ANALYSE)
    store.jobs.fail(job, "no answer", None)
    return store.jobs.get(job.id)


ACTS: dict[str, Callable[[Store, Job, str, SeenJob], object]] = {
    "retried": lambda store, job, name, seen: store.jobs.retry(job.id, name, seen=seen),
    "discarded": lambda store, job, name, seen: store.jobs.discard(job.id, name, seen=seen),
}


@pytest.mark.parametrize("verb", ACTS)
def test_of_two_operators_at_once_one_acts_and_the_other_is_told(
    store: Store, clock: Clock, verb: str
) -> None:
    job = parked_job(store)
    seen = SeenJob.parse(str(SeenJob.of(job)))
    assert seen == SeenJob.of(job)
    clock.advance(60)
    barrier = threading.Barrier(2)
    refused = []

    def press(name: str) -> None:
        barrier.wait(10)
        try:
            ACTS[verb](store, job, name, seen)
        except ChangedMeanwhileError as error:
            refused.append((name, str(error)))

    threads = [threading.Thread(target=press, args=(name,)) for name in ("alice", "bob")]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(20)

    (act,) = [row for row in store.audit.rows() if row.kind == f"job_{verb}"]
    ((loser, reason),) = refused
    assert {act.actor, loser} == {"alice", "bob"}
    at = datetime.fromisoformat(act.recorded_at)
    assert reason == f"job {job.id} was {verb} by {act.actor} at {at:%H:%M} UTC"


def test_a_job_that_failed_again_after_a_retry_is_another(store: Store, clock: Clock) -> None:
    seen = SeenJob.of(parked_job(store))
    clock.advance(60)
    store.jobs.retry(1, "alice", host="10.0.0.9", seen=seen)
    store.jobs.fail(claim(store, JobKind.ANALYSE), "no answer", None)
    with pytest.raises(ChangedMeanwhileError, match="job 1 was retried by alice at"):
        store.jobs.discard(1, seen=seen)
    assert store.jobs.get(1).state is JobState.PARKED
    (act,) = [row for row in store.audit.rows() if row.kind == "job_retried"]
    assert act.host == "10.0.0.9"


def test_an_act_before_the_look_is_not_blamed(store: Store, clock: Clock) -> None:
    parked_job(store)
    store.jobs.retry(1, "alice")
    clock.advance(60)
    store.jobs.fail(claim(store, JobKind.ANALYSE), "no answer", None)
    seen = SeenJob.of(store.jobs.get(1))
    clock.advance(60)
    store.jobs.enqueue(JobKind.ANALYSE, "1")
    with pytest.raises(ChangedMeanwhileError, match="has changed since you saw it: it is queued"):
        store.jobs.retry(1, seen=seen)


def test_an_automatic_attempt_does_not_refuse_a_retry(store: Store, clock: Clock) -> None:
    store.jobs.enqueue(JobKind.ANALYSE, "1")
    store.jobs.fail(claim(store, JobKind.ANALYSE), "no answer", clock.now)
    seen = SeenJob.of(store.jobs.get(1))
    store.jobs.fail(claim(store, JobKind.ANALYSE), "no answer", clock.now)
    assert store.jobs.retry(1, seen=seen).attempts == 0


@pytest.mark.parametrize("text", ["", "1.parked", "x.parked.1", "1.lost.1", "1.parked." + "9" * 40])
def test_a_malformed_look_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r"."):
        SeenJob.parse(text)
