"""A lease is renewed while a worker works, and never given to two workers."""

import logging
import threading
from datetime import timedelta

import pytest

from daemon.worker.lease import Lease
from storage.errors import LeaseLostError
from storage.records import Job, JobKind
from storage.store import Store
from tests.tools.clock import Clock

log = logging.getLogger("test")

DURATION = timedelta(seconds=60)


@pytest.fixture
def job(store: Store) -> Job:
    store.jobs.enqueue(JobKind.ANALYSE, "1")
    claimed = store.jobs.claim((JobKind.ANALYSE,), "me", DURATION)
    assert claimed is not None
    return claimed


def test_progress_renews_the_lease_after_a_third_of_it(store: Store, job: Job) -> None:
    clock = Clock()
    lease = Lease(store, job, 10 * DURATION, log, clock.seconds)
    before = store.jobs.get(job.id).lease_until
    clock.advance(199)
    lease.on_progress()
    assert store.jobs.get(job.id).lease_until == before
    clock.advance(1)
    lease.on_progress()
    renewed = store.jobs.get(job.id).lease_until
    assert before is not None
    assert renewed is not None
    assert renewed > before
    lease.on_progress()
    assert store.jobs.get(job.id).lease_until == renewed


def test_a_lost_lease_cannot_be_renewed(
    store: Store, job: Job, caplog: pytest.LogCaptureFixture
) -> None:
    store.jobs.release("me")
    clock = Clock()
    lease = Lease(store, job, DURATION, log, clock.seconds)
    with pytest.raises(LeaseLostError, match=f"job {job.id} was given to another worker"):
        lease.renew()
    clock.advance(60)
    lease.on_progress()
    assert f"job {job.id}: lease not renewed" in caplog.text


def test_the_lease_is_renewed_in_the_background(store: Store, job: Job) -> None:
    before = store.jobs.get(job.id).lease_until
    threads = threading.active_count()
    with Lease(store, job, timedelta(seconds=90), log).renewed():
        assert threading.active_count() == threads + 1
    assert threading.active_count() == threads
    assert store.jobs.get(job.id).lease_until == before
    with Lease(store, job, timedelta(seconds=0.03), log).renewed():
        deadline = threading.Event()
        while store.jobs.get(job.id).lease_until == before:
            assert not deadline.wait(0.01)
    assert store.jobs.get(job.id).lease_until != before
