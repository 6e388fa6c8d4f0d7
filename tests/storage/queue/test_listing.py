"""The queue as an operator reads it."""

import pytest

from storage.errors import JobEndedError
from storage.records import (
    Delivery,
    InstanceName,
    JobKind,
    JobState,
    ListedJob,
    ObjectKind,
    StudyStatus,
)
from storage.store import Store
from tests.builders.store_rows import LEASE, analyse, analysis, claim, made_object, new_instance
from tests.tools.clock import Clock


def states(store: Store, limit: int = 100) -> list[tuple[JobState, str]]:
    return [
        (listed.job.state, listed.job.subject) for listed in store.job_list.page(None, limit).jobs
    ]


def finish(store: Store, kind: JobKind) -> None:
    store.jobs.finish(claim(store, kind))


def test_the_order_is_that_of_urgency_then_the_newest_first(store: Store, clock: Clock) -> None:
    for subject in ("done@x", "parked@x", "failed@x", "running@x"):
        store.jobs.enqueue(JobKind.COMMIT, subject, lane="x")
        job = claim(store, JobKind.COMMIT)
        match subject:
            case "done@x":
                store.jobs.finish(job)
            case "parked@x":
                store.jobs.fail(job, "refused", None)
            case "failed@x":
                store.jobs.fail(job, "busy", clock.now + LEASE)
    for subject in ("gone@x", "first@x", "second@x"):
        store.jobs.enqueue(JobKind.COMMIT, subject, lane="x")
    gone = next(job for job in store.jobs.list() if job.subject == "gone@x")
    store.jobs.discard(gone.id)

    assert states(store) == [
        (JobState.PARKED, "parked@x"),
        (JobState.QUEUED, "failed@x"),
        (JobState.RUNNING, "running@x"),
        (JobState.QUEUED, "second@x"),
        (JobState.QUEUED, "first@x"),
        (JobState.DONE, "done@x"),
        (JobState.DISCARDED, "gone@x"),
    ]
    assert states(store, 1) == [(JobState.PARKED, "parked@x")]
    assert store.job_list.page(None, 1).total == 7
    queued = store.job_list.page(JobState.QUEUED, 2)
    assert ([listed.job.subject for listed in queued.jobs], queued.total) == (
        ["failed@x", "second@x"],
        3,
    )


def test_each_kind_of_job_has_its_study_and_accession_number(store: Store, clock: Clock) -> None:
    received = store.record_instance(new_instance(accession_number="A7", source="north"), 0)
    other = new_instance(accession_number="B8", source="south", spool_path="received/b")
    store.record_instance(other, 0)
    job = store.jobs.claim([JobKind.ANALYSE], "w", LEASE)
    assert job is not None
    picture = made_object("2.25.1", ObjectKind.HEATMAP, received.instance_id)
    store.results.record_analysis(job, received.instance_id, analysis(clock.now, objects=[picture]))
    store.jobs.enqueue(JobKind.COMMIT, "1.2.3@pacs", lane="pacs")
    store.inquiries.record("pacs", "2.25.9", [InstanceName("1.2", "1.2.3.1")], "w", LEASE)

    found = {
        (listed.job.kind, listed.job.subject): (listed.study_instance_uid, listed.accession_number)
        for listed in store.job_list.page(None, 100).jobs
    }
    assert found == {
        (JobKind.ANALYSE, "1"): ("1.2.3", "A7"),
        (JobKind.ANALYSE, "2"): ("1.2.3", "B8"),
        (JobKind.REPORT, "1.2.3@north"): ("1.2.3", "A7"),
        (JobKind.REPORT, "1.2.3@south"): ("1.2.3", "B8"),
        (JobKind.COMMIT, "1.2.3@pacs"): ("1.2.3", "A7, B8"),
        (JobKind.ANSWER, "1"): ("", ""),
    }


def test_a_delivery_has_the_study_of_its_object(store: Store, clock: Clock) -> None:
    store.record_instance(new_instance(accession_number="A7"), 0)
    analyse(store, clock.now)
    report = claim(store, JobKind.REPORT)
    store.results.record_report(
        report, StudyStatus.REPORTED, "", [made_object("2.25.1")], [Delivery("2.25.1", "pacs")]
    )
    (job,) = store.jobs.list(kind=JobKind.DELIVER)
    assert store.job_list.listed(job) == ListedJob(job, "1.2.3", "A7")
    store.results.record_delivery(claim(store, JobKind.DELIVER), 0xB000, coerced_uid="2.25.5")
    done = store.jobs.get(job.id)
    assert store.job_list.listed(done) == ListedJob(done, "1.2.3", "A7", "2.25.5")


@pytest.mark.parametrize("state", [JobState.DONE, JobState.DISCARDED])
def test_an_ended_job_is_not_discarded(store: Store, state: JobState) -> None:
    store.jobs.enqueue(JobKind.COMMIT, "1@x", lane="x")
    (job,) = store.jobs.list()
    if state is JobState.DONE:
        finish(store, JobKind.COMMIT)
    else:
        store.jobs.discard(job.id)
    with pytest.raises(JobEndedError, match=f"commit job {job.id} is {state}: nothing to discard"):
        store.jobs.discard(job.id)
    assert store.jobs.get(job.id).state is state
