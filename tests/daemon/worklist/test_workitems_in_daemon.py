"""The real daemon at an independent manager: pull, subscription, push, pages and commands."""

import json
from collections.abc import Iterator
from pathlib import Path

import pytest
from pydicom import Dataset
from pydicom.uid import generate_uid
from pynetdicom import AE
from pynetdicom.association import Association

from dicom_io.read.header import read_header
from tests.builders.images.films import film
from tests.servers.dicom.pacs import RecordingPacs
from tests.servers.running import RunningDaemon
from tests.servers.worklist.dimse_manager import PUSH, TITLE, DimseWorklist, running_manager
from tests.servers.worklist.steps import Step, chest_step
from tests.tools.ports import HOST, NODE
from tests.tools.waiting import wait_until

pytestmark = [pytest.mark.daemon, pytest.mark.network, pytest.mark.slow]

WANTED = {
    "source": "sender",
    "codes": [{"code": "CXR-AI", "scheme": "99TEST"}],
    "label": "AI",
    "poll_seconds": 3600,
}


@pytest.fixture(scope="module")
def manager() -> Iterator[DimseWorklist]:
    with running_manager() as running:
        yield running


@pytest.fixture(scope="module")
def archive(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RecordingPacs]:
    with RecordingPacs(tmp_path_factory.mktemp("archive")) as running:
        yield running


@pytest.fixture(scope="module")
def node(
    tmp_path_factory: pytest.TempPathFactory,
    bundle: Path,
    archive: RecordingPacs,
    manager: DimseWorklist,
) -> Iterator[RunningDaemon]:
    """A daemon that searches once and then waits for events; ORDERER may create workitems."""
    place = {"ae_title": TITLE, "host": HOST, "port": manager.port}
    worklists = [
        {"name": "ris", "kind": "dimse", "subscribe": True, **place, **WANTED},
        {"name": "pushed", "kind": "push", "requesters": ["ORDERER"], **WANTED},
    ]
    folder = tmp_path_factory.mktemp("node")
    running = RunningDaemon(folder, bundle, archive.port, {"worklists": worklists})
    manager.addresses[NODE] = (HOST, running.port)
    with running:
        wait_until(lambda: bool(manager.global_subscribers), "the manager has a subscriber")
        yield running


def step_about(image: bytes, priority: str = "MEDIUM") -> Dataset:
    header = read_header(image)
    series = {header.series_instance_uid: [(header.sop_class_uid, header.sop_instance_uid)]}
    return chest_step(header.study_instance_uid, series, priority=priority)


def kept_of(archive: RecordingPacs, study: str) -> set[str]:
    return {path.stem for path in (*archive.reports_of(study), *archive.heatmaps_of(study))}


def performed(node: RunningDaemon, study: str) -> dict[str, object]:
    """Return the job of the workitem about a study."""
    answer = node.run("jobs", "list", "--kind", "perform", "--json")
    found: list[dict[str, object]] = json.loads(answer.stdout)["jobs"]
    (job,) = (job for job in found if job["study"] == study)
    return job


def test_an_order_is_performed_shown_and_completed(
    node: RunningDaemon, manager: DimseWorklist, archive: RecordingPacs
) -> None:
    image = film("ordered")
    study = read_header(image).study_instance_uid
    uid = manager.schedule(step_about(image, "HIGH"))
    wait_until(lambda: manager.steps[uid].state == "IN PROGRESS", "the event led to a claim")
    node.send(image)
    wait_until(lambda: manager.steps[uid].state == "COMPLETED", "the workitem is completed", 60)
    kept = kept_of(archive, study)
    assert manager.steps[uid].outputs == kept
    assert kept
    wait_until(lambda: performed(node, study)["state"] == "done", "the end is recorded")
    shown = node.run("show", study).stdout
    for words in ("Workitem of ris found", "Workitem of ris claimed", "Workitem of ris completed"):
        assert words in shown
    job = performed(node, study)
    assert (job["priority"], job["peer"]) == ("stat", "ris")
    assert "completed" in node.run("jobs", "show", str(job["job"])).stdout
    assert node.run("audit", "verify").returncode == 0


def test_a_cancel_by_event_ends_a_claimed_workitem(
    node: RunningDaemon, manager: DimseWorklist
) -> None:
    uid = manager.schedule(step_about(film("never sent")))
    wait_until(lambda: manager.steps[uid].state == "IN PROGRESS", "the event led to a claim")
    manager.request_cancel(uid, "RIS", Dataset())
    wait_until(lambda: manager.steps[uid].state == "CANCELED", "the workitem is canceled")
    assert manager.states_of(uid) == ["SCHEDULED", "IN PROGRESS", "CANCELED"]
    assert manager.steps[uid].outputs == set()


def shown_by(orderer: Association, uid: str) -> Step:
    """Return a workitem as the node shows it to its requester."""
    status, ds = orderer.send_n_get([], PUSH, uid)
    assert status.Status == 0x0000
    assert ds is not None
    return Step(uid, ds)


def test_a_pushed_workitem_is_performed_and_shows_its_outputs(
    node: RunningDaemon, archive: RecordingPacs
) -> None:
    image, uid = film("pushed"), generate_uid()
    study = read_header(image).study_instance_uid
    ae = AE(ae_title="ORDERER")
    ae.add_requested_context(PUSH)
    orderer = ae.associate(HOST, node.port, ae_title=NODE)
    assert orderer.is_established
    try:
        for expected in (0x0000, 0x0111):
            status, _ = orderer.send_n_create(step_about(image), PUSH, uid)
            assert status.Status == expected
        wait_until(lambda: shown_by(orderer, uid).state == "IN PROGRESS", "it is claimed")
        node.send(image)
        wait_until(lambda: shown_by(orderer, uid).state == "COMPLETED", "it is completed", 60)
        assert shown_by(orderer, uid).outputs == kept_of(archive, study)
        assert kept_of(archive, study)
    finally:
        orderer.release()


def test_check_probes_each_worklist(node: RunningDaemon) -> None:
    lines = [line for line in node.run("check").stdout.splitlines() if " worklist " in line]
    assert [line.split()[0] for line in lines] == ["ok", "ok"]
    assert "UPS Pull" in lines[0]
    assert "ORDERER may create workitems here" in lines[1]
