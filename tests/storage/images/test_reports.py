"""A report, its objects and their deliveries are recorded in one transaction."""

import dataclasses
from datetime import timedelta
from types import ModuleType

import pytest

from storage.errors import LeaseLostError, StorageError, StudyChangedError, UnknownRecordError
from storage.images import result_rows, results
from storage.records import Delivery, Job, JobKind, JobState, StudyStatus
from storage.store import Store
from tests.builders.store_rows import (
    STUDY,
    STUDY_KEY,
    analyse,
    analysis,
    claim,
    made_object,
    new_instance,
    receive,
)
from tests.tools.clock import Clock


def report(store: Store, *destinations: str, uid: str = "9.9") -> Job:
    job = claim(store, JobKind.REPORT)
    store.results.record_report(
        job,
        StudyStatus.REPORTED,
        "",
        [made_object(uid)],
        [Delivery(uid, name) for name in destinations],
    )
    return job


def test_a_report_and_its_deliveries_are_one_transaction(store: Store, clock: Clock) -> None:
    receive(store, "1.1")
    analyse(store, clock.now)

    job = report(store, "PACS", "ARCHIVE")

    assert store.jobs.get(job.id).state is JobState.DONE
    study = store.results.study(STUDY)
    assert study.reports == (made_object("9.9"),)
    assert study.status is StudyStatus.REPORTED
    queued = store.jobs.list(kind=JobKind.DELIVER)
    assert {(job.subject, job.lane) for job in queued} == {
        ("9.9@PACS", "PACS"),
        ("9.9@ARCHIVE", "ARCHIVE"),
    }


@pytest.mark.parametrize(
    ("module", "fails_at"),
    [(result_rows, "record_objects"), (result_rows, "enqueue_once"), (results, "settle")],
)
def test_a_failed_report_leaves_no_change(
    store: Store,
    clock: Clock,
    monkeypatch: pytest.MonkeyPatch,
    module: ModuleType,
    fails_at: str,
) -> None:
    receive(store, "1.1")
    analyse(store, clock.now)
    job = claim(store, JobKind.REPORT)
    step = getattr(module, fails_at)
    calls = []

    def fail_after(*arguments: object, **options: object) -> object:
        calls.append(arguments)
        done = step(*arguments, **options)
        if fails_at != "enqueue_once" or len(calls) == 2:
            raise StorageError("power cut")
        return done

    monkeypatch.setattr(module, fails_at, fail_after)
    deliveries = [Delivery("9.9", "PACS"), Delivery("9.9", "ARCHIVE")]
    with pytest.raises(StorageError, match="power cut"):
        store.results.record_report(job, StudyStatus.REPORTED, "", [made_object("9.9")], deliveries)
    monkeypatch.undo()

    assert store.jobs.get(job.id) == job
    assert store.results.object("9.9") is None
    assert store.results.study(STUDY).status is None
    assert store.jobs.list(kind=JobKind.DELIVER) == ()


def test_an_existing_delivery_is_unchanged(store: Store, clock: Clock) -> None:
    receive(store, "1.1")
    analyse(store, clock.now)
    report(store, "PACS")
    store.results.record_delivery(claim(store, JobKind.DELIVER), 0x0000)
    before = store.jobs.list(kind=JobKind.DELIVER)
    store.jobs.enqueue(JobKind.REPORT, STUDY_KEY.subject)

    report(store, "PACS")

    assert store.jobs.list(kind=JobKind.DELIVER) == before
    assert len(store.results.study(STUDY).reports) == 1


def test_an_object_made_again_has_its_new_file(store: Store, clock: Clock) -> None:
    receive(store, "1.1")
    analyse(store, clock.now)
    report(store)
    store.jobs.enqueue(JobKind.REPORT, STUDY_KEY.subject)
    job = claim(store, JobKind.REPORT)
    anew = dataclasses.replace(made_object("9.9"), sha256="ef")

    store.results.record_report(job, StudyStatus.REPORTED, "", [anew])

    assert store.results.object("9.9") == anew


def test_a_delivery_knows_its_object_and_destination(store: Store, clock: Clock) -> None:
    receive(store, "1.1")
    analyse(store, clock.now)
    report(store, "PACS")
    job = claim(store, JobKind.DELIVER)

    pending = store.results.delivery(job)
    store.results.record_delivery(job, 0xB000, sop_class_uid="1.2.840.10008.5.1.4.1.1.88.22")

    assert (pending.object, pending.destination) == (made_object("9.9"), "PACS")
    assert store.jobs.get(job.id).state is JobState.DONE


def test_a_job_without_a_delivery_has_nothing_to_deliver(store: Store) -> None:
    receive(store, "1.1")

    with pytest.raises(UnknownRecordError):
        store.results.delivery(claim(store, JobKind.ANALYSE))


def test_unchanged_keeps_the_status(store: Store, clock: Clock) -> None:
    receive(store, "1.1")
    analyse(store, clock.now)
    report(store)
    store.jobs.enqueue(JobKind.REPORT, STUDY_KEY.subject)
    job = claim(store, JobKind.REPORT)

    store.results.record_report(job, StudyStatus.UNCHANGED, "nothing new")

    study = store.results.study(STUDY)
    assert (study.status, study.detail) == (StudyStatus.REPORTED, "")


def test_unchanged_restores_the_status_reported(store: Store, clock: Clock) -> None:
    receive(store, "1.1")
    analyse(store, clock.now)
    report(store)
    for status in (StudyStatus.NO_ELIGIBLE_IMAGE, StudyStatus.UNCHANGED):
        store.jobs.enqueue(JobKind.REPORT, STUDY_KEY.subject)
        store.results.record_report(claim(store, JobKind.REPORT), status, "whatever")

    study = store.results.study(STUDY)
    assert (study.status, study.detail) == (StudyStatus.REPORTED, "")


def test_an_analysis_after_the_report_queues_the_report_again(store: Store, clock: Clock) -> None:
    receive(store, "1.1")
    parked = claim(store, JobKind.ANALYSE)
    store.jobs.fail(parked, "cannot", None)
    job = report(store)
    store.jobs.retry(parked.id)

    analyse(store, clock.now)

    assert claim(store, JobKind.REPORT).id == job.id


@pytest.mark.parametrize("ends", ["record", "postpone", "park"])
def test_an_analysis_during_the_report_queues_the_report_again(
    store: Store, clock: Clock, ends: str
) -> None:
    _, second = receive(store, "1.1", "1.2")
    analyse(store, clock.now)
    failed = claim(store, JobKind.ANALYSE)
    store.results.record_refusal(failed, second, "DECODER_FAILED", "it crashed")
    store.record_instance(new_instance("1.2"), 0, retried=("DECODER_FAILED",))
    again = claim(store, JobKind.ANALYSE, "one analyst")
    job = claim(store, JobKind.REPORT, "another analyst")
    read = store.results.study(STUDY)

    store.results.record_analysis(again, second, analysis(clock.now))
    if ends == "record":
        with pytest.raises(StudyChangedError):
            store.results.record_report(
                job, StudyStatus.REPORTED, "", [made_object("9.9")], [Delivery("9.9", "PACS")]
            )
        assert store.results.object("9.9") is None
    elif ends == "postpone":
        store.jobs.postpone(job, clock.now + timedelta(hours=1))
    else:
        store.jobs.fail(job, "cannot", None)

    assert [item.reason for item in read.instances] == [None, "DECODER_FAILED"]
    next_one = claim(store, JobKind.REPORT)
    assert next_one.id == job.id
    assert [item.reason for item in store.results.study(STUDY).instances] == [None, None]
    store.jobs.finish(next_one)
    assert store.jobs.next_due([JobKind.REPORT]) is None


def test_an_analysis_during_the_report_keeps_a_new_quiet_time(store: Store, clock: Clock) -> None:
    receive(store, "1.1")
    job = claim(store, JobKind.REPORT)
    store.record_instance(new_instance("1.2"), quiet_seconds=30)
    analyse(store, clock.now)
    store.jobs.finish(job)

    assert store.jobs.next_due([JobKind.REPORT]) == clock.now + timedelta(seconds=30)


def test_an_analysis_keeps_the_quiet_time(store: Store, clock: Clock) -> None:
    store.record_instance(new_instance("1.1"), quiet_seconds=30)
    analyse(store, clock.now)

    assert store.jobs.next_due([JobKind.REPORT]) == clock.now + timedelta(seconds=30)


def test_a_worker_without_its_lease_records_no_report_or_delivery(
    store: Store, clock: Clock
) -> None:
    receive(store, "1.1")
    analyse(store, clock.now)
    lost_report = claim(store, JobKind.REPORT)
    clock.advance(61)
    store.jobs.reclaim()
    with pytest.raises(LeaseLostError):
        store.results.record_report(lost_report, StudyStatus.REPORTED, "", [made_object("8.8")])
    assert store.results.object("8.8") is None

    report(store, "PACS")
    lost_delivery = claim(store, JobKind.DELIVER)
    clock.advance(61)
    store.jobs.reclaim()
    with pytest.raises(LeaseLostError):
        store.results.record_delivery(lost_delivery, 0x0000)
    (row,) = store.export.rows()
    assert row["deliveries"] == "PACS=queued"
