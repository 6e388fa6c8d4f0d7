"""A film that its archive rejects leaves the report, and every report has a UID of its own."""

import pytest

from dicom_io.gate.reasons import Reason
from dicom_io.read.header import read_dataset, read_header
from storage.records import JobKind, JobState, Standing, StudyStatus
from tests.builders.bench import Bench, films_of
from tests.builders.images.films import film
from tests.builders.images.rejection_notes import rejection_note
from tests.tools.paths import field_case

FIRST, SECOND = film("rejected", seed=1), film("rejected", seed=2)


def sop(image: bytes) -> str:
    return read_header(image).sop_instance_uid


def test_each_state_of_a_study_is_a_report_of_its_own(bench: Bench) -> None:
    uid = bench.receive(FIRST)
    bench.work()
    bench.receive(SECOND)
    bench.work()
    bench.receive(rejection_note([read_header(SECOND)]))
    bench.work()

    study = bench.study(uid)
    assert study.status is StudyStatus.REPORTED
    assert len({report.sop_instance_uid for report in study.reports}) == 3
    assert [report.standing for report in study.reports] == [
        Standing.SUPERSEDED,
        Standing.SUPERSEDED,
        Standing.VALID,
    ]
    assert [sorted(films_of(bench, report)) for report in study.reports] == [
        [sop(FIRST)],
        sorted([sop(FIRST), sop(SECOND)]),
        [sop(FIRST)],
    ]
    texts, moments = [], []
    for report in study.reports:
        ds = read_dataset(bench.spool.read(report.spool_path, report.sha256))
        texts.append([str(item.get("TextValue", "")) for item in ds.ContentSequence])
        moments.append(f"{ds.ContentDate}{ds.ContentTime}")
    expected = (
        "1 image was rejected in the archive (113001, Rejected for Quality Reasons) and not part "
        f"of this report: {sop(SECOND)}."
    )
    assert expected in texts[2]
    assert not any("rejected" in text for text in texts[1])
    assert moments == sorted(moments)
    ds = read_dataset(bench.spool.read(study.reports[2].spool_path, study.reports[2].sha256))
    (predecessor,) = ds.PredecessorDocumentsSequence
    (series,) = predecessor.ReferencedSeriesSequence
    (reference,) = series.ReferencedSOPSequence
    assert reference.ReferencedSOPInstanceUID == study.reports[1].sop_instance_uid


def test_the_same_state_after_another_is_another_report(bench: Bench) -> None:
    uid = bench.receive(FIRST)
    bench.work()
    bench.receive(SECOND)
    bench.work()
    bench.receive(rejection_note([read_header(SECOND)]))
    bench.work()
    reports = len(bench.study(uid).reports)

    bench.store.jobs.enqueue(JobKind.REPORT, f"{uid}@")
    bench.work()

    assert len(bench.study(uid).reports) == reports


def test_where_no_film_is_left_the_result_is_rejected(bench: Bench) -> None:
    uid = bench.receive(FIRST)
    bench.work()
    bench.receive(rejection_note([read_header(FIRST)], "113037"))
    bench.work()

    study = bench.study(uid)
    assert study.status is StudyStatus.NO_ELIGIBLE_IMAGE
    assert study.detail == "every image of the study was rejected in the archive: 113037"
    assert [report.standing for report in study.reports] == [Standing.REJECTED]
    (note,) = [item for item in study.instances if item.reason == Reason.REJECTION_NOTE]
    assert note.detail == "113037 (Rejected for Patient Safety Reasons): 1 instance(s)"
    states = {job.state for job in bench.store.jobs.list(kind=JobKind.DELIVER)}
    assert states == {JobState.DISCARDED}


@pytest.mark.parametrize("first", ["film", "note"])
def test_a_rejected_film_is_not_reported_whatever_comes_first(bench: Bench, first: str) -> None:
    note = rejection_note([read_header(FIRST)])
    uid = bench.receive(*((FIRST, note) if first == "film" else (note, FIRST)))
    bench.work()
    study = bench.study(uid)
    assert study.reports == ()
    assert study.status is StudyStatus.NO_ELIGIBLE_IMAGE


def test_the_note_of_an_archive_rejects_its_film(bench: Bench) -> None:
    image = field_case("10_iocm_film.dcm").read_bytes()
    uid = bench.receive(image)
    bench.work()
    assert len(bench.study(uid).reports) == 1
    bench.receive(field_case("10_iocm_rejection_note.dcm").read_bytes())
    bench.work()
    study = bench.study(uid)
    assert [report.standing for report in study.reports] == [Standing.REJECTED]
    assert study.status is StudyStatus.NO_ELIGIBLE_IMAGE


def test_a_malformed_note_is_unreadable_and_rejects_nothing(bench: Bench) -> None:
    header = read_header(FIRST)
    note = rejection_note([header], in_content=False, in_evidence=False)
    uid = bench.receive(FIRST, note)
    bench.work()
    study = bench.study(uid)
    assert study.status is StudyStatus.REPORTED
    assert {item.reason for item in study.instances} == {None, Reason.UNREADABLE_OBJECT}
