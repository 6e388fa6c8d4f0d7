"""The queue as an operator reads it."""

from datetime import timedelta

import pytest

from storage.errors import JobEndedError
from storage.queue import listing
from storage.queue.listing import JobFilter, JobPage, JobSort, ParkedGroup
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
        (listed.job.state, listed.job.subject) for listed in store.job_list.page(limit=limit).jobs
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
    assert store.job_list.page(limit=1).total == 7
    queued = store.job_list.page(JobFilter(JobState.QUEUED), 2)
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
        for listed in store.job_list.page(limit=100).jobs
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


def queue_failures(store: Store, clock: Clock, count: int = 6) -> None:
    """Park `count` COMMIT jobs with two reasons, in two lanes, one a minute."""
    for number in range(count):
        store.jobs.enqueue(JobKind.COMMIT, f"1.{number}@x", lane="east" if number % 3 else "west")
        job = claim(store, JobKind.COMMIT)
        error = f"no answer for 1.2.{number}" if number % 2 else "status 0xA900: 100% full"
        store.jobs.fail(job, error, None)
        clock.advance(60)


def subjects(page: JobPage) -> list[str]:
    return [listed.job.subject.partition("@")[0] for listed in page.jobs]


def test_jobs_are_filtered_sorted_and_paged(store: Store, clock: Clock) -> None:
    queue_failures(store, clock)
    store.jobs.enqueue(JobKind.ANALYSE, "7")
    page = store.job_list.page

    assert subjects(page(JobFilter(lane="west"))) == ["1.3", "1.0"]
    assert subjects(page(JobFilter(kind=JobKind.ANALYSE))) == ["7"]
    assert subjects(page(JobFilter(JobState.DONE))) == []
    assert subjects(page(JobFilter(error="NO ANSWER"))) == ["1.5", "1.3", "1.1"]
    assert subjects(page(JobFilter(error="no answer for …"))) == ["1.5", "1.3", "1.1"]
    assert subjects(page(JobFilter(error="100%"))) == ["1.4", "1.2", "1.0"]
    assert subjects(page(JobFilter(error="1__%"))) == []
    assert page(JobFilter(error="no answer")).total == 3
    parked = JobFilter(JobState.PARKED)
    assert [subjects(page(parked, 4, start)) for start in (0, 4, 8)] == [
        ["1.5", "1.4", "1.3", "1.2"],
        ["1.1", "1.0"],
        [],
    ]
    assert subjects(page(JobFilter(error="100%"), 2, 1)) == ["1.2", "1.0"]
    for sort in (JobSort.NUMBER, JobSort.DUE, JobSort.CHANGED, JobSort.ATTEMPTS):
        down, up = (page(parked, 6, 0, sort, descending=down) for down in (True, False))
        assert (down.sort, down.total) == (sort, 6)
        assert subjects(down) == subjects(up)[::-1] == [f"1.{n}" for n in range(5, -1, -1)]
    assert store.job_list.numbers(JobFilter(error="no answer"), 2) == (6, 4)
    assert store.job_list.lanes() == ("east", "west")


def test_a_long_list_keeps_the_order_of_the_index(
    store: Store, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(listing, "SORTED_ROWS", 3)
    monkeypatch.setattr(listing, "SEARCHED_ROWS", 3)
    queue_failures(store, clock)
    page = store.job_list.page(sort=JobSort.ATTEMPTS, descending=False)
    assert (page.sort, subjects(page)[:2], page.is_partial) == (
        JobSort.URGENCY,
        ["1.5", "1.4"],
        False,
    )
    searched = store.job_list.page(JobFilter(error="no answer"))
    assert (subjects(searched), searched.total, searched.is_partial) == (["1.5", "1.3"], 2, True)


def test_parked_jobs_are_grouped_by_their_error(store: Store, clock: Clock) -> None:
    start = clock.now
    queue_failures(store, clock, 5)
    minutes = [start + number * timedelta(minutes=1) for number in range(5)]
    assert store.job_list.parked() == (
        ParkedGroup(JobKind.COMMIT, "east", "status 0xA900: 100% full", 2, minutes[2], minutes[4]),
        ParkedGroup(JobKind.COMMIT, "east", "no answer for 1.2.1", 1, minutes[1], minutes[1]),
        ParkedGroup(JobKind.COMMIT, "west", "no answer for 1.2.3", 1, minutes[3], minutes[3]),
        ParkedGroup(JobKind.COMMIT, "west", "status 0xA900: 100% full", 1, minutes[0], minutes[0]),
    )
