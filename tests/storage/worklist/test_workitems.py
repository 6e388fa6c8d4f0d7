"""Workitems in the store, on each database."""

import dataclasses
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from datetime import datetime, timedelta

import pytest
from sqlalchemy import Connection

from storage.errors import ChangedMeanwhileError, LeaseLostError
from storage.records import Delivery, Job, JobKind, JobState, Priority, StudyKey, StudyStatus
from storage.store import Store
from storage.worklist.records import (
    NewWorkitem,
    WorkitemInput,
    WorkitemOutput,
    WorkitemState,
)
from storage.worklist.rows import change_workitem
from tests.builders.store_rows import LEASE, SOURCE, STUDY, claim, made_object, new_instance
from tests.tools.clock import Clock

KEY = StudyKey(SOURCE, STUDY)
NEW = NewWorkitem(
    "ris", "2.25.1", "2.25.2", KEY, (WorkitemInput(STUDY, "", "", "1.2.3.1", "PACS"),)
)
OUTPUT = WorkitemOutput(STUDY, "1.2.3.8", "1.2.840.10008.5.1.4.1.1.88.34", "2.25.9", ("pacs",))


def perform_job(store: Store) -> Job:
    job = store.jobs.claim([JobKind.PERFORM], "courier", LEASE, "ris")
    assert job is not None
    return job


def report(store: Store) -> None:
    """Receive the film of the study, and report it to `pacs` and `ris-hl7`."""
    film = store.record_instance(new_instance(source=SOURCE), 0).instance_id
    store.results.record_refusal(claim(store, JobKind.ANALYSE), film, "NOT_CHEST", "")
    made = dataclasses.replace(made_object("2.25.9"), source=SOURCE)
    deliveries = [Delivery("2.25.9", name) for name in ("pacs", "ris-hl7")]
    job = claim(store, JobKind.REPORT)
    store.results.record_report(job, StudyStatus.REPORTED, "", [made], deliveries)


def deliver(store: Store, name: str) -> None:
    job = store.jobs.claim([JobKind.DELIVER], "courier", LEASE, name)
    assert job is not None
    store.results.record_delivery(job, 0x0000)


def test_a_workitem_is_recorded_once_with_its_job(store: Store) -> None:
    assert store.workitems.add(NEW)
    assert not store.workitems.add(dataclasses.replace(NEW, transaction_uid="2.25.3"))
    job = perform_job(store)
    item = store.workitems.of(job)
    assert (item.state, item.transaction_uid, item.inputs) == (
        WorkitemState.FOUND,
        "2.25.2",
        NEW.inputs,
    )
    assert store.workitems.known("ris", ["2.25.1", "2.25.7"]) == {"2.25.1"}
    assert store.workitems.open_count("ris") == 1
    (listed,) = store.job_list.page().jobs
    assert (listed.study_instance_uid, listed.source) == (STUDY, SOURCE)


def test_progress_counts_the_destinations_that_keep_objects(store: Store) -> None:
    store.workitems.add(NEW)
    item = store.workitems.of(perform_job(store))
    assert store.workitems.progress(item, ["pacs"]).missing == NEW.inputs
    report(store)
    progress = store.workitems.progress(item, ["pacs"])
    assert (progress.missing, progress.is_working, progress.is_delivered) == ((), True, False)
    deliver(store, "pacs")
    progress = store.workitems.progress(item, ["pacs"])
    assert progress.is_delivered
    assert [(one.kept_uid, one.destinations) for one in progress.delivered] == [
        ("2.25.9", ("pacs",))
    ]


def test_outputs_are_recorded_only_as_the_study_is_now(store: Store, clock: Clock) -> None:
    store.workitems.add(NEW)
    job = perform_job(store)
    report(store)
    with pytest.raises(ChangedMeanwhileError):
        store.workitems.begin_completion(job, ["pacs"], [OUTPUT])
    deliver(store, "pacs")
    other = dataclasses.replace(OUTPUT, sop_instance_uid="2.25.10")
    with pytest.raises(ChangedMeanwhileError):
        store.workitems.begin_completion(job, ["pacs"], [other])
    store.workitems.begin_completion(job, ["pacs"], [OUTPUT])
    assert store.workitems.of(job).outputs == (OUTPUT,)
    clock.advance(1)
    store.workitems.end(job, WorkitemState.COMPLETED)
    (item,) = store.workitems.of_study(KEY)
    assert (item.state, item.ended_at) == (WorkitemState.COMPLETED, clock.now)
    assert store.workitems.counts() == {("ris", WorkitemState.COMPLETED): 1}
    events = [event.kind for event in store.search.study(KEY).timeline]  # type: ignore[union-attr]
    assert [kind for kind in events if "workitem" in kind] == ["workitem_found", "workitem_ended"]


def test_a_worker_without_its_lease_changes_no_workitem(store: Store) -> None:
    store.workitems.add(NEW)
    job = perform_job(store)
    store.jobs.release("courier")
    changes: list[Callable[[], None]] = [
        lambda: store.workitems.begin(job, WorkitemState.CLAIMING),
        lambda: store.workitems.record_claim(job),
        lambda: store.workitems.begin_cancel(job, "110513", ""),
        lambda: store.workitems.end(job, WorkitemState.CANCELED),
    ]
    for change in changes:
        with pytest.raises(LeaseLostError):
            change()
    assert store.workitems.of(job).state is WorkitemState.FOUND


def test_a_cancel_wakes_a_job_that_waits_and_repeats_one_that_runs(
    store: Store, clock: Clock
) -> None:
    store.workitems.add(NEW)
    job = perform_job(store)
    store.jobs.postpone(job, clock.now + timedelta(hours=1))
    assert store.workitems.request_cancel("ris", "2.25.1")
    job = perform_job(store)
    assert store.workitems.wake("ris", "2.25.1")
    store.jobs.postpone(job, clock.now + timedelta(hours=1))
    assert perform_job(store).state is JobState.RUNNING
    assert not store.workitems.wake("ris", "2.25.7")


def test_a_cancel_and_the_performer_do_not_wait_for_each_other(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    store.workitems.add(NEW)
    job = perform_job(store)
    both = threading.Barrier(2)

    def meet(connection: Connection, number: int, now: datetime, **values: object) -> None:
        """Have the cancel change its row, and the performer lock its job, before each goes on."""
        is_cancel = "cancel_requested_at" in values
        if is_cancel:
            change_workitem(connection, number, now, **values)
        with suppress(threading.BrokenBarrierError):
            both.wait(0.3)
        if not is_cancel:
            change_workitem(connection, number, now, **values)

    monkeypatch.setattr("storage.worklist.workitems.change_workitem", meet)
    with ThreadPoolExecutor(2) as pool:
        performed = pool.submit(store.workitems.begin, job, WorkitemState.CLAIMING)
        canceled = pool.submit(store.workitems.request_cancel, "ris", "2.25.1")
        performed.result(20)
        assert canceled.result(20)
    item = store.workitems.of(job)
    assert item.state is WorkitemState.CLAIMING
    assert item.cancel_requested_at is not None


def test_high_priority_raises_the_jobs_of_the_study(store: Store) -> None:
    store.workitems.add(dataclasses.replace(NEW, priority=Priority.STAT))
    job = perform_job(store)
    assert job.priority == Priority.STAT
    store.record_instance(new_instance(source=SOURCE), 0)
    store.workitems.progress(store.workitems.of(job), ["pacs"])
    found = {one.kind: one.priority for one in store.jobs.list()}
    assert found[JobKind.ANALYSE] == found[JobKind.REPORT] == Priority.STAT


def test_two_hosts_take_one_turn(store: Store, clock: Clock) -> None:
    spacing = timedelta(seconds=30)
    assert store.workitems.take_turn("ris", spacing)
    assert not store.workitems.take_turn("ris", spacing)
    store.workitems.want_turn("ris")
    assert store.workitems.take_turn("ris", spacing)
    clock.advance(30)
    assert store.workitems.take_turn("ris", spacing)
