"""A merge by HL7, and a study that its archive moves, with a real Orthanc as the archive."""

import csv
import datetime
import http.client
import io
import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import hl7
import pytest
from hl7.client import MLLPClient

from daemon.config.settings import TOKEN_FILE
from dicom_io.read.header import read_header
from storage.records import Standing, StudyResults
from storage.store import Store
from tests.builders.images.films import film
from tests.builders.images.rejection_notes import rejection_note
from tests.servers.dicom.orthanc import AE_TITLE, Orthanc
from tests.servers.running import RunningDaemon
from tests.tools.ports import HOST, free_port
from tests.tools.waiting import wait_until

pytestmark = [pytest.mark.daemon, pytest.mark.network, pytest.mark.slow]

OLD, NEW = "FILM-OLD", "FILM-NEW"


@contextmanager
def running_node(
    orthanc: Orthanc, folder: Path, bundle: Path, mllp_port: int | None = None
) -> Iterator[RunningDaemon]:
    """Run a node whose archive is Orthanc, with an MLLP server if there is a port for one."""
    archive = {
        "name": "orthanc",
        "ae_title": AE_TITLE,
        "host": HOST,
        "port": orthanc.dicom_port,
        "sends": True,
        "receives": ["report", "heatmap"],
    }
    sender = {"name": "RIS", "hosts": [HOST], "sources": ["orthanc"]}
    changes: dict[str, Any] = {"peers": [archive]}
    if mllp_port is not None:
        changes["hl7"] = {"port": mllp_port, "senders": [sender]}
    with RunningDaemon(folder / "node", bundle, 1, changes) as daemon:
        orthanc.know(daemon)
        yield daemon


def merge(port: int, prior: str, patient: str) -> str:
    """Send an ADT^A40 as a registration system does; return the acknowledgement code."""
    now = datetime.datetime.now(datetime.UTC).strftime("%Y%m%d%H%M%S+0000")
    message = "\r".join(
        [
            f"MSH|^~\\&|RIS|HOSPITAL|CXRD|CXRD|{now}||ADT^A40^ADT_A39|M1|P|2.5.1",
            f"EVN||{now}",
            f"PID|||{patient}^^^||ROE^JANE||19500101|F",
            f"MRG|{prior}^^^",
        ]
    )
    with MLLPClient(HOST, port) as client:
        answer = hl7.parse(client.send_message(message).decode().strip("\x0b\x1c\r"))
    return str(answer.segment("MSA")[1])


def send(orthanc: Orthanc, identifier: str) -> None:
    orthanc.call("/modalities/cxrd/store", identifier.encode())


def send_again(orthanc: Orthanc, image: bytes) -> None:
    """Add an instance to Orthanc, and have it sent."""
    send(orthanc, orthanc.call("/instances", image)["ID"])


def reported(daemon: RunningDaemon, uid: str, reports: int) -> StudyResults:
    """Return a study once it has this number of reports, and all work is done."""
    with daemon.store() as store:
        wait_until(
            lambda: len(store.results.study(uid).reports) == reports and is_idle(store),
            "the report is delivered",
        )
        return store.results.study(uid)


def is_idle(store: Store) -> bool:
    return not [job for job in store.jobs.list() if job.state.value in ("queued", "running")]


def page(daemon: RunningDaemon, path: str) -> str:
    token = (daemon.data / TOKEN_FILE).read_text().strip()
    port = int(str(daemon.config.read_text()).split("web:")[1].split("port:")[1].split()[0])
    connection = http.client.HTTPConnection(HOST, port, timeout=10)
    connection.request("GET", path, headers={"Authorization": f"Bearer {token}"})
    answer = connection.getresponse()
    text = answer.read().decode()
    assert answer.status == 200, text
    return text


def table(daemon: RunningDaemon, folder: Path) -> list[dict[str, str]]:
    done = daemon.run("export", "--out", str(folder / "out.csv"))
    assert done.returncode == 0, done.stderr
    return list(csv.DictReader(io.StringIO((folder / "out.csv").read_text())))


def results_in(orthanc: Orthanc, patient: str) -> dict[str, list[Any]]:
    """Return what Orthanc has of a patient: the SOP Instance UIDs by modality."""
    query = {"Level": "Series", "Expand": True, "Query": {"PatientID": patient}}
    found: dict[str, list[Any]] = {}
    for series in orthanc.call("/tools/find", json.dumps(query).encode()):
        for instance in series["Instances"]:
            tags = orthanc.call(f"/instances/{instance}/simplified-tags")
            found.setdefault(series["MainDicomTags"]["Modality"], []).append(tags)
    return found


def test_a_merge_is_followed_in_page_table_and_archive(
    orthanc: Orthanc, tmp_path: Path, bundle: Path
) -> None:
    image = film("merged", heart_failure=True, patient_id=OLD)
    port = free_port()
    uid = read_header(image).study_instance_uid
    with running_node(orthanc, tmp_path, bundle, port) as daemon:
        stored = orthanc.call("/instances", image)
        send(orthanc, stored["ID"])
        before = reported(daemon, uid, 1)

        assert merge(port, OLD, NEW) == "AA"

        study = reported(daemon, uid, 2)
        assert [one.standing for one in study.reports] == [Standing.SUPERSEDED, Standing.VALID]
        told = page(daemon, f"/studies/{uid}?source=orthanc")
        assert "Patient changed by RIS" in told
        assert NEW in told
        assert NEW in page(daemon, f"/studies?q={NEW}")
        (row,) = table(daemon, tmp_path)
        assert (row["patient_id"], row["report_standing"]) == (NEW, "valid")
        assert row["report_sop_instance_uid"] == study.reports[1].sop_instance_uid
        shown = daemon.run("show", uid)
        assert "Patient changed by RIS" in shown.stdout
        there = results_in(orthanc, NEW)
        (report,) = there["SR"]
        assert report["SOPInstanceUID"] == study.reports[1].sop_instance_uid
        assert report["PatientName"] == "ROE^JANE"
        assert str(before.reports[0].sop_instance_uid) in json.dumps(
            report["PredecessorDocumentsSequence"]
        )
        assert len(there.get("OT", [])) == len(study.instances[0].objects)

        # The archive follows the merge, too, and sends the film once more.
        keep = ["StudyInstanceUID", "SeriesInstanceUID", "SOPInstanceUID"]
        send_again(orthanc, orthanc.modified(stored["ID"], keep, PatientID=NEW))
        study = reported(daemon, uid, 3)
        assert study.hold is None
        assert [one.patient_id for one in study.instances] == [NEW]


def test_a_study_that_its_archive_moves_is_followed_by_its_rejection_note(
    orthanc: Orthanc, tmp_path: Path, bundle: Path
) -> None:
    image = film("moved", patient_id=OLD)
    header = read_header(image)
    with running_node(orthanc, tmp_path, bundle) as daemon:
        stored = orthanc.call("/instances", image)
        send(orthanc, stored["ID"])
        reported(daemon, header.study_instance_uid, 1)

        other = f"{header.study_instance_uid}.2"
        keep = ["SeriesInstanceUID", "SOPInstanceUID"]
        moved = orthanc.modified(stored["ID"], keep, PatientID=NEW, StudyInstanceUID=other)
        send_again(orthanc, moved)
        with daemon.store() as store:
            wait_until(
                lambda: store.results.study(header.study_instance_uid).hold is not None,
                "the old study is held",
            )
        note = orthanc.call("/instances", rejection_note([header], "113037"))
        send(orthanc, note["ID"])

        new = reported(daemon, other, 1)
        old = reported(daemon, header.study_instance_uid, 1)
        assert [one.standing for one in (*old.reports, *new.reports)] == [
            Standing.REJECTED,
            Standing.VALID,
        ]
        assert old.hold is None
        rows = {
            row["study_instance_uid"]: row for row in table(daemon, tmp_path) if row["findings"]
        }
        assert rows[header.study_instance_uid]["report_standing"] == "rejected"
        assert rows[other]["report_standing"] == "valid"
        assert rows[other]["patient_id"] == NEW
        assert "rejected in its archive" in page(
            daemon, f"/studies/{header.study_instance_uid}?source=orthanc"
        )
        (report,) = results_in(orthanc, NEW)["SR"]
        assert report["SOPInstanceUID"] == new.reports[0].sop_instance_uid
