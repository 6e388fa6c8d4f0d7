"""A lease is renewed while a worker works, and never given to two workers."""

import logging
import threading
from datetime import timedelta

import pytest

from daemon.worker.lease import Heartbeat, Lease
from storage.errors import LeaseLostError
from storage.records import Job, JobKind
from storage.store import Store
from tests.tools.clock import Clock
from tests.tools.waiting import wait_until

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


def test_one_thread_renews_the_leases_of_all_jobs_in_work(store: Store, job: Job) -> None:
    store.jobs.enqueue(JobKind.ANALYSE, "2")
    other = store.jobs.claim((JobKind.ANALYSE,), "me", DURATION)
    assert other is not None
    before = [store.jobs.get(one.id).lease_until for one in (job, other)]
    heartbeat = Heartbeat(store, timedelta(seconds=0.06), log)
    threads = threading.active_count()
    with heartbeat.renewing(job), heartbeat.renewing(other):
        assert threading.active_count() == threads + 1
        for one, lease_until in zip((job, other), before, strict=True):
            wait_until(lambda: store.jobs.get(one.id).lease_until != lease_until)  # noqa: B023
    wait_until(lambda: threading.active_count() == threads, "the thread ends")
    with heartbeat.renewing(job):
        renewed = store.jobs.get(job.id).lease_until
        wait_until(lambda: store.jobs.get(job.id).lease_until != renewed, "it works again")


def test_a_lease_lost_in_the_background_is_logged(
    store: Store, job: Job, caplog: pytest.LogCaptureFixture
) -> None:
    store.jobs.release("me")
    with Heartbeat(store, timedelta(seconds=0.03), log).renewing(job):
        wait_until(lambda: f"job {job.id}: lease not renewed" in caplog.text)


def test_an_unexpected_error_does_not_end_the_renewals(
    store: Store, job: Job, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls: list[Job] = []

    def fail_once(renewed: Job, _: timedelta) -> bool:
        calls.append(renewed)
        if len(calls) == 1:
            raise MemoryError
        return True

    monkeypatch.setattr(store.jobs, "heartbeat", fail_once)
    with Heartbeat(store, timedelta(seconds=0.03), log).renewing(job):
        wait_until(lambda: len(calls) > 1, "the next renewal")
