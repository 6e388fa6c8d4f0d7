"""Images in by C-STORE, reports and heatmaps out, whatever is killed or switched off meanwhile."""

import csv
from pathlib import Path

import pytest

from cxr_model.findings import LABELS
from dicom_io.errors import AssociationError
from dicom_io.header import read_dataset, read_header
from dicom_io.phantom import PhantomView
from storage.records import InstanceState, StudyStatus
from tests.daemon.running import (
    RecordingPacs,
    RunningDaemon,
    film,
    free_port,
    wait_until,
)

REPORT, HEATMAP = "SR", "OT"


def report_count(pacs: RecordingPacs) -> int:
    return len(pacs.of(REPORT))


def test_film_comes_back_as_report_and_heatmaps(
    daemon: RunningDaemon, pacs: RecordingPacs, tmp_path: Path
) -> None:
    image = film("one", effusion=True)
    source = read_header(image)
    daemon.send(image)
    wait_until(lambda: report_count(pacs) == 1, "one report")
    with daemon.store() as store:
        study = store.results.study(source.study_instance_uid)
    (instance,) = study.instances
    positive = [finding.label for finding in instance.findings if finding.present]
    assert [finding.label for finding in instance.findings] == list(LABELS)
    assert 0 < len(positive) < len(LABELS)
    wait_until(lambda: len(pacs.of(HEATMAP)) == len(positive), "a heatmap per positive finding")
    assert set(pacs.studies.values()) == {source.study_instance_uid}
    assert set(pacs.counts.values()) == {1}
    for path in pacs.of(HEATMAP):
        heatmap = read_dataset(path)
        assert (heatmap.Rows, heatmap.Columns) == (256, 224)
        assert heatmap.PatientID == source.patient_id

    out = tmp_path / "audit.csv"
    assert daemon.run("export", "--out", str(out)).returncode == 0
    (row,) = csv.DictReader(out.read_text(encoding="utf-8").splitlines())
    assert row["sop_instance_uid"] == source.sop_instance_uid
    assert row["state"] == "analysed"
    assert float(row["prob_Effusion"]) == pytest.approx(
        next(f.probability for f in instance.findings if f.label == "Effusion"), abs=1e-6
    )
    assert row["report_sop_instance_uid"] == study.reports[0].sop_instance_uid


def test_same_study_twice_is_reported_once(daemon: RunningDaemon, pacs: RecordingPacs) -> None:
    image = film("twice")
    daemon.send(image)
    wait_until(lambda: report_count(pacs) == 1, "one report")
    daemon.send(image)
    daemon.send(film("other"))
    wait_until(lambda: report_count(pacs) == 2, "the other study's report")
    assert set(pacs.counts.values()) == {1}


def test_late_image_makes_a_report_that_names_its_predecessor(
    daemon: RunningDaemon, pacs: RecordingPacs
) -> None:
    first = film("late")
    daemon.send(first)
    wait_until(lambda: report_count(pacs) == 1, "the first report")
    (predecessor,) = pacs.of(REPORT)
    daemon.send(film("late", seed=2, effusion=True))
    wait_until(lambda: report_count(pacs) == 2, "the second report")
    (successor,) = set(pacs.of(REPORT)) - {predecessor}
    study = read_dataset(successor).PredecessorDocumentsSequence[0]
    named = study.ReferencedSeriesSequence[0].ReferencedSOPSequence[0]
    assert named.ReferencedSOPInstanceUID == read_header(predecessor).sop_instance_uid


def test_every_acknowledged_image_survives_a_killed_analyst(
    daemon: RunningDaemon, pacs: RecordingPacs
) -> None:
    images = [film(f"study-{number}") for number in range(20)]
    for number, image in enumerate(images):
        daemon.send(image)
        if number in {6, 13}:
            done = daemon.log.count("is analysed")
            wait_until(lambda done=done: daemon.log.count("is analysed") > done, "some work done")
            daemon.kill("analyst")
    wait_until(lambda: report_count(pacs) == len(images), "a report per study")
    with daemon.store() as store:
        studies = [store.results.study(read_header(image).study_instance_uid) for image in images]
    for study in studies:
        assert [item.state for item in study.instances] == [InstanceState.ANALYSED]
        assert len(study.reports) == 1
    reported = [pacs.studies[path.stem] for path in pacs.of(REPORT)]
    assert sorted(reported) == sorted(study.study_instance_uid for study in studies)
    assert daemon.log.count("analyst stopped: killed by SIGKILL") == 2


def test_killed_listener_and_courier_come_back(daemon: RunningDaemon, pacs: RecordingPacs) -> None:
    daemon.send(film("before"))
    for role in ("listener", "courier"):
        old = daemon.process_of(role)
        daemon.kill(role)
        wait_until(lambda role=role, old=old: daemon.process_of(role) != old, f"a new {role}")

    def sent() -> bool:
        try:
            daemon.send(film("after"))
        except AssociationError:
            return False
        return True

    wait_until(sent, "the new listener takes an image")
    wait_until(lambda: report_count(pacs) == 2, "both reports")


def test_pacs_that_was_down_gets_everything(tmp_path: Path, bundle: Path) -> None:
    port = free_port()
    with RunningDaemon(tmp_path / "node", bundle, port) as daemon:
        daemon.send(film("down-1"))
        daemon.send(film("down-2"))
        wait_until(lambda: "the next try is in" in daemon.log, "a failed delivery")
        with RecordingPacs(tmp_path / "pacs", port) as pacs:
            wait_until(lambda: report_count(pacs) == 2, "both reports")
            with daemon.store() as store:
                expected = sum(
                    len(item.objects)
                    for path in pacs.of(REPORT)
                    for item in store.results.study(pacs.studies[path.stem]).instances
                )
            wait_until(lambda: len(pacs.of(HEATMAP)) == expected, "every heatmap")
            assert set(pacs.counts.values()) == {1}


def test_lateral_film_is_kept_with_its_reason(daemon: RunningDaemon, pacs: RecordingPacs) -> None:
    image = film("lateral", view=PhantomView.LL)
    daemon.send(image)
    uid = read_header(image).study_instance_uid
    with daemon.store() as store:
        wait_until(lambda: store.results.study(uid).status is not None, "the study is settled")
        study = store.results.study(uid)
    assert study.status is StudyStatus.NO_ELIGIBLE_IMAGE
    assert [item.reason for item in study.instances] == ["LATERAL_VIEW"]
    assert report_count(pacs) == 0


def test_unknown_calling_ae_title_is_rejected(daemon: RunningDaemon) -> None:
    from dicom_io.association import Destination
    from dicom_io.sender import echo

    answer = echo(Destination("cxrd", "CXRD", "127.0.0.1", daemon.port, "STRANGER"))
    assert not answer.ok
    assert "does not know the calling AE title 'STRANGER'" in answer.diagnosis
    wait_until(lambda: "'STRANGER' to 'CXRD' is rejected" in daemon.log, "the rejection is logged")


def test_sigterm_drains_within_ten_seconds(daemon: RunningDaemon) -> None:
    for number in range(4):
        daemon.send(film(f"draining-{number}"))
    status, seconds = daemon.stop()
    assert status == 0
    assert seconds < 10
    with daemon.store() as store:
        assert all(job.state != "running" for job in store.jobs.list())


def test_log_names_no_patient(daemon: RunningDaemon, pacs: RecordingPacs) -> None:
    daemon.send(film("SECRETNAME"), film("SECRETNAME", view=PhantomView.LL, seed=2))
    wait_until(lambda: report_count(pacs) == 1, "the report")
    assert "SECRETNAME" not in daemon.log
    assert "Phantom" not in daemon.log


def test_second_daemon_on_the_port_says_so(daemon: RunningDaemon) -> None:
    done = daemon.run("serve")
    assert done.returncode == 1
    assert f"port {daemon.port} on 127.0.0.1 is in use" in done.stderr.splitlines()[-1]
    assert "Traceback" not in done.stderr
