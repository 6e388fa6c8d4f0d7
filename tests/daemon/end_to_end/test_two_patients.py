"""Two patients in one study: nothing leaves, everybody is told, and a correction ends it."""

import csv
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from dicom_io.read.header import read_dataset, read_header
from storage.records import JobKind, JobState, Standing, StudyStatus
from tests.builders.images.films import changed, film
from tests.servers.dicom.pacs import RecordingPacs
from tests.servers.running import RunningDaemon
from tests.tools.paths import field_case
from tests.tools.waiting import wait_until

pytestmark = [pytest.mark.daemon, pytest.mark.network]


@pytest.fixture(scope="module")
def pacs(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RecordingPacs]:
    with RecordingPacs(tmp_path_factory.mktemp("pacs")) as running:
        yield running


@pytest.fixture(scope="module")
def daemon(
    tmp_path_factory: pytest.TempPathFactory, bundle: Path, pacs: RecordingPacs
) -> Iterator[RunningDaemon]:
    with RunningDaemon(tmp_path_factory.mktemp("node"), bundle, pacs.port) as running:
        yield running


def made() -> tuple[bytes, bytes]:
    return film("mixed", patient_id="PAT-A"), film("mixed", patient_id="PAT-B", seed=2)


def from_the_field() -> tuple[bytes, bytes]:
    a, b = (field_case(f"02_study_patient_{name}.dcm") for name in "ab")
    return a.read_bytes(), b.read_bytes()


def status_of(daemon: RunningDaemon, study: str) -> StudyStatus | None:
    with daemon.store() as store:
        return store.results.study(study).status


def report_is_parked(daemon: RunningDaemon) -> bool:
    with daemon.store() as store:
        return any(
            job.state is JobState.PARKED for job in store.jobs.list(kind=JobKind.REPORT, limit=1)
        )


def exported(daemon: RunningDaemon, folder: Path, study: str) -> list[dict[str, Any]]:
    out = folder / "audit.csv"
    assert daemon.run("export", "--out", str(out), "--study", study).returncode == 0
    return list(csv.DictReader(out.read_text(encoding="utf-8").splitlines()))


@pytest.mark.parametrize("films", [made, pytest.param(from_the_field, marks=pytest.mark.slow)])
def test_two_patients_in_a_study_are_not_reported_until_one_is_dropped(
    daemon: RunningDaemon, pacs: RecordingPacs, tmp_path: Path, films: Any
) -> None:
    a, b = films()
    study, dropped = read_header(a).study_instance_uid, read_header(b).sop_instance_uid
    daemon.send(a, b)
    wait_until(lambda: report_is_parked(daemon), "the report is parked")

    assert pacs.reports_of(study) == pacs.heatmaps_of(study) == []
    assert "TWO_PATIENTS" in daemon.run("jobs", "list", "--state", "parked").stdout
    listed = daemon.run("studies", "list").stdout
    assert f"{study}  TWO_PATIENTS" in listed
    assert f"group 2: {dropped}" in listed
    assert {row["study_status"] for row in exported(daemon, tmp_path, study)} == {"held"}
    assert "PAT-" not in daemon.log
    refused = daemon.run("studies", "release", study)
    assert (refused.returncode, "stays held" in refused.stderr) == (1, True)

    done = daemon.run("studies", "release", study, "--drop", dropped)
    assert done.returncode == 0, done.stderr
    wait_until(lambda: len(pacs.reports_of(study)) == 1, "one report")
    (report,) = (read_dataset(path) for path in pacs.reports_of(study))
    assert report.PatientID == read_header(a).patient_id
    assert dropped not in str(report)
    rows = exported(daemon, tmp_path, study)
    assert [bool(row["set_aside_at"]) for row in rows] == [False, True]
    assert [row["report_standing"] for row in rows] == ["valid", ""]
    assert daemon.run("studies", "list").stdout == "no study is in doubt\n"


@pytest.mark.slow
def test_a_corrected_film_ends_the_hold_with_one_report(
    daemon: RunningDaemon, pacs: RecordingPacs
) -> None:
    a = film("corrected", patient_id="PAT-A")
    wrong = film("corrected", patient_id="PAT-B", seed=2)
    study = read_header(a).study_instance_uid
    daemon.send(a, wrong)
    wait_until(lambda: report_is_parked(daemon), "the report is parked")

    daemon.send(changed(wrong, PatientID="PAT-A"))

    wait_until(lambda: len(pacs.reports_of(study)) == 1, "one report")
    assert status_of(daemon, study) is StudyStatus.REPORTED


@pytest.mark.slow
def test_a_film_that_moves_to_another_study_leaves_its_first_report_in_doubt(
    daemon: RunningDaemon, pacs: RecordingPacs, tmp_path: Path
) -> None:
    first = film("moved", patient_id="PAT-A")
    study = read_header(first).study_instance_uid
    daemon.send(first)
    wait_until(lambda: len(pacs.reports_of(study)) == 1, "the first report")
    other = f"{study}9"

    daemon.send(changed(first, PatientID="PAT-B", StudyInstanceUID=other))

    wait_until(lambda: len(pacs.reports_of(other)) == 1, "the report of the other study")
    wait_until(lambda: study in held(daemon), "the first study is held")
    (row,) = exported(daemon, tmp_path, study)
    assert (row["study_status"], row["report_standing"]) == ("held", "in_doubt")
    assert row["study_detail"].startswith("FILM_MOVED: ")
    assert row["superseded_at"] != ""

    assert daemon.run("studies", "release", study).returncode == 0
    wait_until(
        lambda: status_of(daemon, study) is StudyStatus.NO_ELIGIBLE_IMAGE, "the study is settled"
    )
    with daemon.store() as store:
        (report,) = store.results.study(study).reports
    assert report.standing is Standing.SUPERSEDED
    assert len(pacs.reports_of(study)) == 1


def held(daemon: RunningDaemon) -> list[str]:
    with daemon.store() as store:
        return [study.key.study_instance_uid for study in store.studies.held()]
