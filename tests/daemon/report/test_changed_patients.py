"""After a message about its patient, what leaves of a study names the present identity."""

from io import BytesIO

import pydicom
import pytest
from pydicom import Dataset

from daemon.analyse.pipeline import Pipeline
from storage.patients.records import ChangeKind, PatientChange
from storage.records import JobKind, JobState, ObjectKind, ObjectRecord, Standing
from tests.builders.bench import Bench, everything_wanted
from tests.builders.images.films import film
from tests.tools.air_check import check


def merge(bench: Bench, patient: str, prior: str, name: str | None = None) -> PatientChange:
    return PatientChange(
        ChangeKind.MERGE,
        "A40",
        "ADT",
        f"{prior} into {patient}",
        "digest",
        ("sender",),
        bench.clock.now,
        patient,
        name=name,
        prior_patient_id=prior,
    )


def written(bench: Bench, record: ObjectRecord) -> Dataset:
    return pydicom.dcmread(BytesIO(bench.spool.read(record.spool_path, record.sha256)))


def patient_id(bench: Bench, uid: str) -> str:
    return bench.study(uid).instances[0].patient_id


def test_every_object_is_made_again_under_the_present_identity(
    bench: Bench, pipeline: Pipeline
) -> None:
    everything_wanted(bench, pipeline)
    uid = bench.receive(film("merged"))
    bench.work()
    before = bench.study(uid)
    prior = before.instances[0].patient_id

    bench.store.patients.apply(merge(bench, "NEW-1", prior, "ROE^JANE"))
    bench.work()

    study = bench.study(uid)
    (instance,) = study.instances
    assert instance.findings == before.instances[0].findings
    made = [*study.last_reports, *instance.objects]
    old = [*before.last_reports, *before.instances[0].objects]
    assert sorted(record.kind for record in made) == sorted(record.kind for record in old)
    assert not {one.sop_instance_uid for one in made} & {one.sop_instance_uid for one in old}
    headers = [written(bench, record) for record in made]
    assert {(str(ds.PatientName), ds.PatientID) for ds in headers} == {("ROE^JANE", "NEW-1")}
    for record in old:
        now = bench.store.results.object(record.sop_instance_uid)
        assert now is not None
        assert now.standing is Standing.SUPERSEDED
    report, *others = headers
    lossless = [
        ds
        for ds, record in zip(others, made[1:], strict=True)
        if record.kind not in (ObjectKind.REPORT, ObjectKind.HEATMAP_JPEG, ObjectKind.SUMMARY_JPEG)
    ]
    assert [one.faults for one in check(report, lossless)] == [()] * 8
    (predecessor,) = report.PredecessorDocumentsSequence
    named = predecessor.ReferencedSeriesSequence[0].ReferencedSOPSequence[0]
    assert named.ReferencedSOPInstanceUID == before.reports[-1].sop_instance_uid
    states = {
        job.subject.partition("@")[0]: job.state
        for job in bench.store.jobs.list(kind=JobKind.DELIVER)
    }
    assert {states[one.sop_instance_uid] for one in old if one.sop_instance_uid in states} == {
        JobState.DISCARDED
    }


@pytest.mark.slow
def test_an_identity_that_is_taken_back_makes_the_first_pictures_again(
    bench: Bench, pipeline: Pipeline
) -> None:
    everything_wanted(bench, pipeline)
    uid = bench.receive(film("back"))
    bench.work()
    before = bench.study(uid)
    prior = before.instances[0].patient_id
    bench.store.patients.apply(merge(bench, "NEW-1", prior))
    bench.work()

    bench.store.patients.apply(merge(bench, prior, "NEW-1"))
    bench.work()

    study = bench.study(uid)
    assert patient_id(bench, uid) == prior
    pictures = [record.sop_instance_uid for record in study.instances[0].objects]
    assert sorted(pictures) == sorted(one.sop_instance_uid for one in before.instances[0].objects)
    bytes_now = {one.sha256 for one in study.instances[0].objects}
    assert bytes_now == {one.sha256 for one in before.instances[0].objects}
    assert {one.standing for one in study.instances[0].objects} == {Standing.VALID}
    assert len({report.sop_instance_uid for report in study.reports}) == 3


def test_a_change_back_before_the_next_report_leaves_the_first_report(bench: Bench) -> None:
    uid = bench.receive(film("at once"))
    bench.work()
    prior = patient_id(bench, uid)
    bench.store.patients.apply(merge(bench, "NEW-1", prior))
    bench.clock.advance(1)
    bench.store.patients.apply(merge(bench, prior, "NEW-1"))
    bench.work()

    (report,) = bench.study(uid).reports
    assert report.standing is Standing.VALID
    (job,) = bench.store.jobs.list(kind=JobKind.DELIVER)
    assert job.state is JobState.QUEUED


def test_a_film_that_comes_after_the_merge_is_reported_under_the_present_identity(
    bench: Bench,
) -> None:
    first = film("later", seed=1)
    prior = str(pydicom.dcmread(BytesIO(first)).PatientID)
    bench.store.patients.apply(merge(bench, "NEW-1", prior, "ROE^JANE"))

    uid = bench.receive(first, film("later", seed=2))
    bench.work()

    (report,) = bench.study(uid).reports
    ds = written(bench, report)
    assert (str(ds.PatientName), ds.PatientID) == ("ROE^JANE", "NEW-1")
    received = bench.study(uid).instances[0]
    assert bench.spool.read(received.spool_path, received.sha256) == first


@pytest.mark.slow
@pytest.mark.parametrize("name", ["Müller^Ölaf", "Иванова^Анна", "Yamada^Tarou=山田^太郎"])
def test_a_name_in_other_letters_than_the_films_can_be_read(bench: Bench, name: str) -> None:
    uid = bench.receive(film("letters"))
    bench.work()
    bench.store.patients.apply(merge(bench, "NEW-1", patient_id(bench, uid), name))
    bench.work()

    ds = written(bench, bench.study(uid).reports[-1])
    assert str(ds.PatientName) == name
    assert bench.study(uid).instances[0].patient_name == name


@pytest.mark.slow
def test_a_film_whose_new_analysis_was_discarded_is_reported_without_old_pictures(
    bench: Bench, pipeline: Pipeline
) -> None:
    everything_wanted(bench, pipeline)
    uid = bench.receive(film("discarded"))
    bench.work()
    before = bench.study(uid)
    bench.store.patients.apply(merge(bench, "NEW-1", before.instances[0].patient_id))
    bench.clock.advance(60)
    assert bench.analyst.work_once()
    (job,) = [
        job for job in bench.store.jobs.list(kind=JobKind.ANALYSE) if job.state is JobState.QUEUED
    ]
    bench.store.jobs.discard(job.id)
    bench.work()

    study = bench.study(uid)
    ds = written(bench, study.reports[-1])
    assert ds.PatientID == "NEW-1"
    old = {record.sop_instance_uid for record in before.instances[0].objects}
    evidence = str(ds.CurrentRequestedProcedureEvidenceSequence)
    assert not [one for one in old if one in evidence]
    assert {one.standing for one in study.instances[0].objects} == {Standing.SUPERSEDED}
