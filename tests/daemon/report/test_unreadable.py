"""Reports on a study with an analysed film whose file cannot be read."""

import pytest

from dicom_io.read.header import read_dataset
from storage.errors import StoreUnavailableError
from storage.files.folder_spool import FolderSpool
from storage.records import Instance, InstanceState, JobKind, JobState, StudyKey, StudyStatus
from tests.builders.bench import Bench, films_of
from tests.builders.images.films import film

DAMAGES = (
    "missing",
    *(pytest.param(how, marks=pytest.mark.slow) for how in ("emptied", "altered", "not a file")),
)


def damage(bench: Bench, item: Instance, how: str) -> None:
    path = bench.spool.path(item.spool_path)
    if how == "altered":
        path.write_bytes(film("altered"))
    elif how == "emptied":
        path.write_bytes(b"")
    else:
        path.unlink()
        if how == "not a file":
            path.mkdir()


def analyse_all(bench: Bench) -> None:
    """Do all work that is due before the study is quiet."""
    while bench.analyst.work_once():
        pass


def parked(bench: Bench) -> list[tuple[JobKind, str]]:
    return [(job.kind, job.subject) for job in bench.store.jobs.list(state=JobState.PARKED)]


@pytest.mark.parametrize("how", DAMAGES)
def test_a_damaged_reported_film_does_not_delay_a_late_film(bench: Bench, how: str) -> None:
    uid = bench.receive(film("late"))
    bench.work()
    (first,) = bench.study(uid).instances
    damage(bench, first, how)
    bench.receive(film("late", seed=2))
    bench.work()

    study = bench.study(uid)
    kept, late = study.instances
    assert study.status is StudyStatus.REPORTED
    assert films_of(bench, study.reports[-1]) == [late.sop_instance_uid]
    report = study.reports[-1]
    data = bench.spool.read(report.spool_path, report.sha256)
    assert f"{first.sop_instance_uid}: UNREADABLE_OBJECT".encode() in data
    assert b"its file was damaged or lost before this report" in data
    assert (kept.state, kept.findings) == (InstanceState.ANALYSED, first.findings)
    assert parked(bench) == [(JobKind.ANALYSE, str(first.id))]


@pytest.mark.parametrize("how", DAMAGES)
def test_a_film_damaged_before_the_report_is_reported_after_a_second_send(
    bench: Bench, how: str
) -> None:
    images = film("quiet"), film("quiet", seed=2)
    uid = bench.receive(*images)
    analyse_all(bench)
    first, second = bench.study(uid).instances
    damage(bench, first, how)
    bench.work()

    (report,) = bench.study(uid).reports
    assert films_of(bench, report) == [second.sop_instance_uid]
    deliveries = [job.subject for job in bench.store.jobs.list(kind=JobKind.DELIVER)]
    assert deliveries == [f"{report.sop_instance_uid}@pacs"]

    if how == "not a file":
        bench.spool.path(first.spool_path).rmdir()
    bench.receive(images[0])
    bench.work()

    study = bench.study(uid)
    assert len(study.reports) == 2
    assert len(films_of(bench, study.reports[-1])) == 2
    assert parked(bench) == []


def test_a_study_without_a_readable_file_is_parked_until_a_second_send(
    bench: Bench,
) -> None:
    uid = bench.receive(film("none"))
    analyse_all(bench)
    damage(bench, bench.study(uid).instances[0], "missing")
    bench.work()
    assert set(parked(bench)) == {
        (JobKind.REPORT, StudyKey(bench.study(uid).source, uid).subject),
        (JobKind.ANALYSE, "1"),
    }
    (report,) = bench.store.jobs.list(kind=JobKind.REPORT)
    assert "is missing" in (report.last_error or "")

    bench.receive(film("none"))
    bench.work()
    assert bench.study(uid).status is StudyStatus.REPORTED
    assert parked(bench) == []


def test_a_damaged_film_causes_no_second_report(bench: Bench) -> None:
    uid = bench.receive(film("told"), film("told", seed=2))
    bench.work()
    first, _ = bench.study(uid).instances
    before = bench.study(uid).reports
    damage(bench, first, "missing")
    bench.receive(bench.spool.read(before[0].spool_path, before[0].sha256))
    bench.work()
    assert bench.study(uid).reports == before

    bench.receive(film("told", seed=3))
    bench.work()
    before = bench.study(uid).reports
    assert len(before) == 2
    bench.store.jobs.enqueue(JobKind.REPORT, StudyKey(bench.study(uid).source, uid).subject)
    bench.work()
    assert bench.study(uid).reports == before


def test_unavailable_files_are_retried_without_counting_an_attempt(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    uid = bench.receive(film("away"))
    analyse_all(bench)
    bench.restart()

    def fail(*_: object) -> None:
        raise StoreUnavailableError("nothing is there")

    with monkeypatch.context() as away:
        away.setattr(FolderSpool, "read", fail)
        for _ in range(3):
            bench.clock.advance(bench.config.study.quiet_seconds + 600)
            assert bench.analyst.work_once()
    assert parked(bench) == []
    (report,) = bench.store.jobs.list(kind=JobKind.REPORT)
    assert (report.attempts, report.last_error) == (0, "nothing is there")
    bench.work()
    (made,) = bench.study(uid).reports
    assert len(films_of(bench, made)) == 1


@pytest.mark.parametrize("how", DAMAGES)
def test_a_damaged_or_missing_earlier_report_does_not_delay_a_later_one(
    bench: Bench, how: str
) -> None:
    uid = bench.receive(film("lost"))
    bench.work()
    path = bench.spool.path(bench.study(uid).reports[0].spool_path)
    path.unlink()
    if how == "not a file":
        path.mkdir()
    elif how != "missing":
        path.write_bytes(b"" if how == "emptied" else film("altered"))
    bench.receive(film("lost", seed=2))
    bench.work()
    report = bench.study(uid).reports[1]
    assert len(films_of(bench, report)) == 2
    data = bench.spool.read(report.spool_path, report.sha256)
    assert "PredecessorDocumentsSequence" not in read_dataset(data)
