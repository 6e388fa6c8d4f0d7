"""The running daemon between a sender and a PACS."""

import csv
import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from cxr_model.findings import LABELS
from daemon.worker.role import ANALYST_NICENESS, RoleName
from daemon.worker.waits.counts import waits_here
from dicom_io.phantom import PhantomView
from dicom_io.read.header import read_dataset, read_header
from dicom_io.send.association import Destination
from dicom_io.send.sender import echo
from storage.records import JobKind, StudyStatus
from tests.builders.images.films import film
from tests.servers.dicom.pacs import RecordingPacs
from tests.servers.running import RunningDaemon, SpawningDaemon
from tests.servers.watching import children_of
from tests.tools.ports import HOST
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
    """One daemon for all tests of this file; each test has its own studies."""
    # Three associations of one study must follow each other within the quiet time.
    changes = {"study": {"quiet_seconds": 2.0}}
    with SpawningDaemon(tmp_path_factory.mktemp("node"), bundle, pacs.port, changes) as running:
        yield running


def study_of(image: bytes) -> str:
    return read_header(image).study_instance_uid


def test_reception_comes_before_analysis(daemon: RunningDaemon) -> None:
    niceness = {role: os.getpriority(os.PRIO_PROCESS, daemon.process_of(role)) for role in RoleName}
    lower = min(19, niceness[RoleName.LISTENER] + ANALYST_NICENESS)
    assert niceness[RoleName.ANALYST] == lower
    assert niceness[RoleName.COURIER] == niceness[RoleName.LISTENER]
    readers = children_of(daemon.process_of(RoleName.ANALYST))
    assert {os.getpriority(os.PRIO_PROCESS, reader) for reader in readers} == {lower}


def test_film_comes_back_as_report_and_heatmaps(
    daemon: RunningDaemon, pacs: RecordingPacs, tmp_path: Path
) -> None:
    image = film("one", heart_failure=True)
    source = read_header(image)
    daemon.send(image)
    wait_until(lambda: len(pacs.reports_of(source.study_instance_uid)) == 1, "one report")
    with daemon.store() as store:
        study = store.results.study(source.study_instance_uid)
    (instance,) = study.instances
    positive = [finding.label for finding in instance.findings if finding.present]
    assert [finding.label for finding in instance.findings] == list(LABELS)
    assert 0 < len(positive) < len(LABELS)
    heatmaps = pacs.heatmaps_of(source.study_instance_uid)
    assert len(heatmaps) == len(positive)
    for path in heatmaps:
        heatmap = read_dataset(path)
        # The legend is a strip below the film.
        assert heatmap.Columns == 224
        assert heatmap.Rows > 256
        assert heatmap.PatientID == source.patient_id

    out = tmp_path / "audit.csv"
    assert daemon.run("export", "--out", str(out)).returncode == 0
    rows = csv.DictReader(out.read_text(encoding="utf-8").splitlines())
    (row,) = [row for row in rows if row["sop_instance_uid"] == source.sop_instance_uid]
    assert row["state"] == "analysed"
    assert float(row["prob_Effusion"]) == pytest.approx(
        next(f.probability for f in instance.findings if f.label == "Effusion"), abs=1e-6
    )
    assert row["report_sop_instance_uid"] == study.reports[0].sop_instance_uid
    assert row["deliveries"].startswith("pacs=delivered")


def test_analyst_and_courier_count_the_waits_of_their_jobs(
    daemon: RunningDaemon, pacs: RecordingPacs
) -> None:
    image = film("waits")
    daemon.send(image)
    wait_until(lambda: len(pacs.reports_of(study_of(image))) == 1, "one report")
    kinds = (JobKind.ANALYSE, JobKind.REPORT, JobKind.DELIVER)

    def are_counted() -> bool:
        waits = waits_here(daemon.data / "run")
        return all(waits[kind].buckets()[-1][1] > 0 for kind in kinds)

    wait_until(are_counted, "the waits")


@pytest.mark.slow
def test_same_study_twice_is_reported_once(daemon: RunningDaemon, pacs: RecordingPacs) -> None:
    image = film("twice")
    daemon.send(image)
    wait_until(lambda: len(pacs.reports_of(study_of(image))) == 1, "one report")
    daemon.send(image)
    other = film("after-twice")
    daemon.send(other)
    wait_until(lambda: len(pacs.reports_of(study_of(other))) == 1, "the other study's report")
    assert len(pacs.reports_of(study_of(image))) == 1
    assert set(pacs.counts.values()) == {1}


@pytest.mark.slow
def test_study_in_three_associations_is_one_report(
    daemon: RunningDaemon, pacs: RecordingPacs
) -> None:
    images = [film("three", seed=seed) for seed in (1, 2, 3)]
    for image in images:
        daemon.send(image)
    study = study_of(images[0])
    wait_until(lambda: bool(pacs.reports_of(study)), "the report")
    (report,) = pacs.reports_of(study)
    evidence = read_dataset(report).CurrentRequestedProcedureEvidenceSequence
    named = {
        item.ReferencedSOPInstanceUID
        for series in evidence[0].ReferencedSeriesSequence
        for item in series.ReferencedSOPSequence
    }
    assert named >= {read_header(image).sop_instance_uid for image in images}


@pytest.mark.slow
def test_late_image_makes_a_report_that_names_its_predecessor(
    daemon: RunningDaemon, pacs: RecordingPacs
) -> None:
    first = film("late")
    study = study_of(first)
    daemon.send(first)
    wait_until(lambda: len(pacs.reports_of(study)) == 1, "the first report")
    (predecessor,) = pacs.reports_of(study)
    daemon.send(film("late", seed=2, heart_failure=True))
    wait_until(lambda: len(pacs.reports_of(study)) == 2, "the second report")
    (successor,) = set(pacs.reports_of(study)) - {predecessor}
    document = read_dataset(successor).PredecessorDocumentsSequence[0]
    named = document.ReferencedSeriesSequence[0].ReferencedSOPSequence[0]
    assert named.ReferencedSOPInstanceUID == read_header(predecessor).sop_instance_uid


@pytest.mark.slow
def test_same_uid_with_other_pixels_is_a_new_revision(
    daemon: RunningDaemon, pacs: RecordingPacs
) -> None:
    first, second = film("revised"), film("revised", heart_failure=True)
    assert read_header(first).sop_instance_uid == read_header(second).sop_instance_uid
    study = study_of(first)
    daemon.send(first)
    wait_until(lambda: len(pacs.reports_of(study)) == 1, "the first report")
    daemon.send(second)
    wait_until(lambda: len(pacs.reports_of(study)) == 2, "the report on the new revision")
    with daemon.store() as store:
        (latest,) = store.results.study(study).instances
    assert latest.revision == 2


def test_lateral_film_is_kept_with_its_reason(daemon: RunningDaemon, pacs: RecordingPacs) -> None:
    image = film("lateral", view=PhantomView.LL)
    daemon.send(image)
    with daemon.store() as store:
        wait_until(lambda: store.results.study(study_of(image)).status is not None, "settled")
        study = store.results.study(study_of(image))
    assert study.status is StudyStatus.NO_ELIGIBLE_IMAGE
    assert [item.reason for item in study.instances] == ["LATERAL_VIEW"]
    assert pacs.reports_of(study_of(image)) == []


def test_unknown_calling_ae_title_is_rejected(daemon: RunningDaemon) -> None:
    answer = echo(Destination("cxrd", "CXRD", HOST, daemon.port, "STRANGER"))
    assert not answer.ok
    assert "does not know the calling AE title 'STRANGER'" in answer.diagnosis
    wait_until(lambda: "'STRANGER' to 'CXRD' is rejected" in daemon.log, "the rejection is logged")


def test_log_names_no_patient(daemon: RunningDaemon, pacs: RecordingPacs) -> None:
    images = [film("SECRETNAME"), film("SECRETNAME", view=PhantomView.LL, seed=2)]
    daemon.send(*images)
    wait_until(lambda: bool(pacs.reports_of(study_of(images[0]))), "the report")
    assert "SECRETNAME" not in daemon.log
    assert "Phantom" not in daemon.log


@pytest.mark.slow
def test_a_second_daemon_is_told_of_the_first(daemon: RunningDaemon) -> None:
    done = daemon.run("serve", "--only", "listener")
    assert done.returncode == 1
    refusal = done.stderr.splitlines()[-1]
    assert "cxrd already runs with the data_dir" in refusal
    assert f"127.0.0.1:{daemon.port}" in refusal
    assert "Traceback" not in done.stderr


@pytest.mark.slow
def test_the_preflight_passes(daemon: RunningDaemon) -> None:
    done = daemon.run("check")
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout.count("is in use by this node, which runs") == 2
    for role in RoleName:
        assert f"ok      role {role}: up since" in done.stdout
    assert "pacs answers and takes everything proposed" in done.stdout
    assert done.stdout.splitlines()[-1].startswith("ok      model: ")
