"""Destinations that want comparison get reports that name those on earlier studies."""

import datetime
from typing import Any

import pytest

from daemon.analyse.pipeline import Pipeline
from daemon.analyst import Analyst
from daemon.config.partners.query import PullConfig, QueryConfig, RetrieveService
from daemon.config.peers import PeerConfig
from daemon.config.receivers import Product
from daemon.report import report_job
from dicom_io.report.reading.read_values import ReadReport
from dicom_io.report.reading.reader import read_report
from storage.records import JobKind, ObjectKind, ObjectRecord
from tests.builders.bench import SENDS, Bench
from tests.builders.images.films import changed, film

HOUR = datetime.timedelta(hours=1)


def peer(name: str, **changes: Any) -> PeerConfig:
    return PeerConfig(
        name=name,
        ae_title=name,
        host="127.0.0.1",
        port=104,
        receives=(Product.REPORT,),
        **changes,
    )


PLAIN, READER = peer("PLAIN"), peer("READER", comparison=True)


@pytest.fixture
def compared(bench: Bench, pipeline: Pipeline) -> Bench:
    """Return a bench with one destination that wants comparison, and one that does not."""
    configure(bench, pipeline, PLAIN, READER)
    return bench


def configure(bench: Bench, pipeline: Pipeline, *peers: PeerConfig) -> None:
    bench.config = bench.config.model_copy(update={"peers": (SENDS, *peers)})
    bench.analyst = Analyst(bench.config, "me", bench.spool, bench.store, pipeline)


def study(bench: Bench, name: str, date: str, **header: str) -> str:
    """Report a study of the patient P-1; return its Study Instance UID."""
    image = film(name, patient_id="P-1")
    uid = bench.receive(changed(image, StudyDate=date, **header))
    bench.work()
    return uid


def reports(bench: Bench, name: str) -> list[ObjectRecord]:
    """Return the reports queued for a destination, in the order of their jobs."""
    jobs = sorted(bench.store.jobs.list(kind=JobKind.DELIVER), key=lambda job: job.id)
    records = [
        bench.store.results.object(job.subject.partition("@")[0])
        for job in jobs
        if job.subject.endswith(f"@{name}")
    ]
    return [one for one in records if one is not None and one.kind is ObjectKind.REPORT]


def last(bench: Bench, name: str) -> ReadReport:
    record = reports(bench, name)[-1]
    return read_report(bench.spool.read(record.spool_path, record.sha256))


def named(bench: Bench) -> list[tuple[str, str]]:
    """Return study and date of the reports that the last report for READER names."""
    priors = last(bench, "READER").priors
    return [(prior.reference.study_instance_uid, prior.study_date) for prior in priors]


def test_earlier_reports_are_named_where_comparison_is_wanted(compared: Bench) -> None:
    first = study(compared, "first", "20240101")
    assert named(compared) == []
    second = study(compared, "second", "20250101")
    assert named(compared) == [(first, "20240101")]
    third = study(compared, "third", "20260101")
    assert named(compared) == [(second, "20250101"), (first, "20240101")]
    prior = last(compared, "READER").priors[0]
    earlier = reports(compared, "READER")[1]
    assert prior.reference.sop_instance_uid == earlier.sop_instance_uid
    assert prior.reference.study_instance_uid == second
    assert prior.said.startswith("Study of 2025-01-01, ")
    assert "of 14 findings" in prior.said
    assert "P-1" not in prior.said
    assert third not in {uid for uid, _ in named(compared)}


def test_other_destinations_get_the_report_as_before(compared: Bench, pipeline: Pipeline) -> None:
    study(compared, "first", "20240101")
    study(compared, "second", "20250101")
    plain, reader = reports(compared, "PLAIN"), reports(compared, "READER")
    assert [one.form for one in plain] == ["", ""]
    assert [one.form for one in reader] == ["priors", "priors"]
    assert {one.sop_instance_uid for one in plain}.isdisjoint(
        one.sop_instance_uid for one in reader
    )
    assert last(compared, "PLAIN").priors == ()
    assert last(compared, "PLAIN").findings == last(compared, "READER").findings
    assert "earlier" not in " ".join(last(compared, "PLAIN").explanations)


def test_a_repeat_after_a_crash_is_the_same_report(compared: Bench) -> None:
    study(compared, "first", "20240101")
    uid = study(compared, "second", "20250101")
    before = reports(compared, "READER")[-1]
    compared.store.jobs.enqueue(JobKind.REPORT, f"{uid}@sender")
    compared.restart()
    compared.work()
    assert reports(compared, "READER")[-1] == before


@pytest.mark.parametrize(
    "header",
    [
        {"PatientID": "P-2"},
        {"PatientBirthDate": "19610203"},
        {"IssuerOfPatientID": "ELSEWHERE"},
        {"StudyDate": "20250101"},
        {"StudyDate": "20270101"},
        {"StudyDate": ""},
    ],
)
def test_no_other_patient_and_no_later_study_is_named(
    compared: Bench, header: dict[str, str]
) -> None:
    study(compared, "first", header.pop("StudyDate", "20240101"), **header)
    study(compared, "second", "20250101", IssuerOfPatientID="HERE", PatientBirthDate="19500101")
    assert named(compared) == []


def test_a_patient_without_id_has_no_earlier_study(compared: Bench) -> None:
    for name, date in (("first", "20240101"), ("second", "20250101")):
        study(compared, name, date, PatientID="UNKNOWN")
    assert named(compared) == []


def test_a_study_in_doubt_is_not_named(compared: Bench) -> None:
    doubtful = study(compared, "first", "20240101")
    other = changed(
        film("first", patient_id="P-9", seed=5), StudyDate="20240101", StudyInstanceUID=doubtful
    )
    compared.receive(other)
    compared.work()
    assert compared.study(doubtful).hold is not None
    study(compared, "second", "20250101")
    assert named(compared) == []


def test_the_last_report_of_a_study_is_named(compared: Bench) -> None:
    uid = study(compared, "first", "20240101")
    compared.receive(
        changed(film("first", patient_id="P-1", seed=7), StudyDate="20240101", StudyInstanceUID=uid)
    )
    compared.work()
    latest = reports(compared, "READER")[-1]
    assert len(reports(compared, "READER")) == 2
    study(compared, "second", "20250101")
    [prior] = last(compared, "READER").priors
    assert prior.reference.sop_instance_uid == latest.sop_instance_uid


def test_at_most_so_many_are_named(compared: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(report_job, "MOST_PRIORS", 2)
    uids = [study(compared, f"study-{year}", f"20{year}0101") for year in (20, 21, 22, 23)]
    assert [uid for uid, _ in named(compared)] == [uids[2], uids[1]]


def test_a_lost_report_is_left_out(compared: Bench, caplog: pytest.LogCaptureFixture) -> None:
    study(compared, "first", "20240101")
    second = study(compared, "second", "20250101")
    lost = reports(compared, "READER")[0]
    compared.spool.path(lost.spool_path).unlink()
    study(compared, "third", "20260101")
    assert [uid for uid, _ in named(compared)] == [second]
    assert "does not name a report on an earlier study" in caplog.text


def test_a_report_from_before_comparison_is_named_in_its_form(
    bench: Bench, pipeline: Pipeline
) -> None:
    configure(bench, pipeline, PLAIN)
    study(bench, "first", "20240101")
    before = reports(bench, "PLAIN")[-1]
    configure(bench, pipeline, PLAIN, READER)
    study(bench, "second", "20250101")
    [prior] = last(bench, "READER").priors
    assert prior.reference.sop_instance_uid == before.sop_instance_uid


def asking(bench: Bench, pipeline: Pipeline, seconds: float) -> None:
    """Have the node fetch earlier studies from the sender, and reports wait for so long."""
    archive = SENDS.model_copy(
        update={
            "host": "127.0.0.1",
            "port": 104,
            "query": QueryConfig(retrieve=RetrieveService.MOVE),
        }
    )
    update = {"peers": (archive, PLAIN, READER), "pull": PullConfig(priors_seconds=seconds)}
    bench.config = bench.config.model_copy(update=update)
    bench.analyst = Analyst(bench.config, "me", bench.spool, bench.store, pipeline)


def test_a_report_waits_for_the_search_for_earlier_studies(
    bench: Bench, pipeline: Pipeline
) -> None:
    asking(bench, pipeline, 86_400)
    study(bench, "first", "20240101")
    assert reports(bench, "READER") == []
    search = bench.store.jobs.claim([JobKind.RETRIEVE], "me", HOUR, lane="sender")
    assert search is not None
    bench.store.jobs.finish(search)
    bench.work()
    assert len(reports(bench, "READER")) == len(reports(bench, "PLAIN")) == 1


def test_a_report_waits_no_longer_than_configured(bench: Bench, pipeline: Pipeline) -> None:
    asking(bench, pipeline, 120)
    study(bench, "first", "20240101")
    assert len(reports(bench, "READER")) == 1


def test_nothing_is_fetched_where_nobody_compares(bench: Bench, pipeline: Pipeline) -> None:
    asking(bench, pipeline, 86_400)
    bench.config = bench.config.model_copy(update={"peers": (bench.config.peers[0], PLAIN)})
    bench.restart()
    study(bench, "first", "20240101")
    assert len(reports(bench, "PLAIN")) == 1
    assert not bench.store.jobs.list(kind=JobKind.RETRIEVE)
