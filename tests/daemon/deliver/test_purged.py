"""After a purge: a new image, a repeated image, and jobs retried by an operator."""

import datetime

import pytest

from daemon.analyse.pipeline import Pipeline
from daemon.config.settings import Config
from dicom_io.read.header import read_dataset, read_header
from dicom_io.receive.store_request import StoreStatus
from storage.records import (
    InstanceState,
    JobKind,
    JobState,
    ReceiptOutcome,
    Standing,
    StudyStatus,
)
from tests.builders.bench import Bench, everything_wanted, films_of
from tests.builders.images.films import film, received
from tests.builders.made_models import build_bundle
from tests.builders.store_rows import LEASE


@pytest.fixture(scope="module")
def other(tmp_path_factory: pytest.TempPathFactory) -> Pipeline:
    """Another model."""
    folder = tmp_path_factory.mktemp("other") / "bundle"
    build_bundle(folder, version="2")
    return Pipeline.open(Config().model.model_copy(update={"bundle": str(folder)}))


def deliver(bench: Bench) -> int:
    """Deliver every object. Return their number."""
    delivered = 0
    while job := bench.store.jobs.claim([JobKind.DELIVER], "courier", LEASE):
        bench.store.results.record_delivery(job, 0x0000)
        delivered += 1
    return delivered


def purged_study(bench: Bench) -> str:
    """A study of one film, reported, delivered and purged."""
    uid = bench.receive(film("purged"))
    bench.work()
    deliver(bench)
    bench.clock.advance(8 * 86400)
    purge(bench)
    (instance,) = bench.study(uid).instances
    assert instance.purged_at is not None
    return uid


def purge(bench: Bench) -> None:
    before = bench.clock.now - datetime.timedelta(days=7)
    assert len(list(bench.store.retention.purge(bench.spool, before, ()))) == 1


def test_the_report_on_a_late_image_lists_the_purged_image(
    bench: Bench,
) -> None:
    uid = purged_study(bench)
    bench.receive(film("purged", seed=2))
    bench.work()

    study = bench.study(uid)
    assert len(study.reports) == 2
    gone, late = study.instances
    assert (gone.state, late.state) == (InstanceState.ANALYSED, InstanceState.ANALYSED)
    assert gone.findings
    report = study.reports[-1]
    assert films_of(bench, report) == [late.sop_instance_uid]
    data = bench.spool.read(report.spool_path, report.sha256)
    assert f"{gone.sop_instance_uid}: PURGED: it was analysed for an earlier".encode() in data
    assert "PredecessorDocumentsSequence" not in read_dataset(data)
    queued = [job for job in bench.store.jobs.list(state=JobState.QUEUED) if job.lane]
    assert [job.subject for job in queued] == [f"{report.sop_instance_uid}@pacs"]


def test_a_repeated_image_is_stored_again_and_its_result_stands(bench: Bench) -> None:
    uid = purged_study(bench)
    before = bench.study(uid)
    bench.receive(film("purged"))
    bench.work()

    after = bench.study(uid)
    (instance,) = after.instances
    assert instance.purged_at is None
    assert bench.spool.read(instance.spool_path, instance.sha256) == film("purged")
    assert instance.findings == before.instances[0].findings
    assert len(after.reports) == 1
    assert after.status is StudyStatus.REPORTED
    assert bench.store.jobs.list(state=JobState.QUEUED) == ()
    bench.receive(film("purged", seed=2))
    bench.work()
    report = bench.study(uid).reports[-1]
    assert len(films_of(bench, report)) == 2


def test_results_of_another_model_on_a_repeated_image_are_delivered(
    bench: Bench, pipeline: Pipeline, other: Pipeline
) -> None:
    everything_wanted(bench, pipeline)
    uid = purged_study(bench)
    everything_wanted(bench, other)
    bench.receive(film("purged", seed=2))
    bench.work()
    of_one = deliver(bench)
    assert films_of(bench, bench.study(uid).reports[-1]) == [
        bench.study(uid).instances[1].sop_instance_uid
    ]

    bench.receive(film("purged"))
    bench.work()

    study = bench.study(uid)
    assert {item.model_sha256 for item in study.instances} == {other.algorithm.sha256}
    assert len(films_of(bench, study.reports[-1])) == 2
    assert deliver(bench) == of_one


def test_a_retried_analysis_of_a_purged_image_is_parked(bench: Bench) -> None:
    uid = purged_study(bench)
    findings = bench.study(uid).instances[0].findings
    for job in bench.store.jobs.list(state=JobState.DONE):
        if job.kind in (JobKind.ANALYSE, JobKind.REPORT):
            bench.store.jobs.retry(job.id)
    bench.work()

    (parked,) = bench.store.jobs.list(state=JobState.PARKED)
    assert parked.kind is JobKind.ANALYSE
    assert "instance 1 was purged on" in (parked.last_error or "")
    assert bench.study(uid).instances[0].findings == findings
    assert len(bench.study(uid).reports) == 1


@pytest.mark.parametrize("place", ["recorded", "verified"])
def test_a_duplicate_is_refused_if_its_first_copy_is_purged_at_the_same_time(
    bench: Bench, monkeypatch: pytest.MonkeyPatch, place: str
) -> None:

    bench.receive(film("purged"))
    bench.work()
    deliver(bench)
    bench.clock.advance(8 * 86400)
    record = bench.store.record_instance

    def purge_after(*arguments: object) -> object:
        receipt = record(*arguments)  # type: ignore[arg-type]
        assert receipt.outcome is ReceiptOutcome.DUPLICATE
        bench.clock.advance(8 * 86400)
        purge(bench)
        return receipt

    def purge_before(*arguments: object) -> None:
        bench.clock.advance(8 * 86400)
        purge(bench)
        verify(*arguments)  # type: ignore[arg-type]

    verify = bench.spool.verify
    if place == "recorded":
        monkeypatch.setattr(bench.store, "record_instance", purge_after)
    else:
        monkeypatch.setattr(bench.spool, "verify", purge_before)
    reception = bench.reception()
    assert reception.receive(received(film("purged"))) is StoreStatus.OUT_OF_RESOURCES
    monkeypatch.undo()
    assert list(bench.spool.path("x").parent.rglob("*.dcm")) == []
    assert reception.receive(received(film("purged"))) is StoreStatus.SUCCESS
    assert bench.store.results.instance(1).purged_at is None


def test_the_report_of_a_purged_study_is_in_doubt_no_longer_after_a_release(bench: Bench) -> None:
    uid = purged_study(bench)
    stranger = film("purged", seed=2, patient_id="someone else")
    bench.receive(stranger)
    bench.work()
    assert [report.standing for report in bench.study(uid).reports] == [Standing.IN_DOUBT]

    bench.store.studies.release(uid, [read_header(stranger).sop_instance_uid])
    bench.work()

    study = bench.study(uid)
    assert study.status is StudyStatus.REPORTED
    assert [report.standing for report in study.reports] == [Standing.VALID]
