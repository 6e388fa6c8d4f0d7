"""The real daemon at an independent manager: pull, subscription, pages and commands."""

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from dicom_io.read.header import read_header
from tests.builders.images.films import film
from tests.servers.dicom.pacs import RecordingPacs
from tests.servers.running import RunningDaemon
from tests.servers.worklist.dimse_manager import TITLE, DimseWorklist, running_manager
from tests.servers.worklist.steps import chest_step
from tests.tools.ports import HOST, NODE
from tests.tools.waiting import wait_until

pytestmark = [pytest.mark.daemon, pytest.mark.network, pytest.mark.slow]


@pytest.fixture
def manager() -> Iterator[DimseWorklist]:
    with running_manager() as running:
        yield running


@pytest.fixture
def node(
    tmp_path: Path, bundle: Path, pacs: RecordingPacs, manager: DimseWorklist
) -> Iterator[RunningDaemon]:
    """A daemon that searches once, and then waits for the events of its manager."""
    worklist = {
        "name": "ris",
        "kind": "dimse",
        "ae_title": TITLE,
        "host": HOST,
        "port": manager.port,
        "source": "sender",
        "codes": [{"code": "CXR-AI", "scheme": "99TEST"}],
        "label": "AI",
        "subscribe": True,
        "poll_seconds": 3600,
    }
    running = RunningDaemon(tmp_path / "node", bundle, pacs.port, {"worklists": [worklist]})
    manager.addresses[NODE] = (HOST, running.port)
    with running:
        wait_until(lambda: bool(manager.global_subscribers), "the manager has a subscriber")
        yield running


def ordered(manager: DimseWorklist, image: bytes, priority: str = "MEDIUM") -> str:
    """Schedule a workitem about a film; return its UID."""
    header = read_header(image)
    series = {header.series_instance_uid: [(header.sop_class_uid, header.sop_instance_uid)]}
    return manager.schedule(chest_step(header.study_instance_uid, series, priority=priority))


def test_an_order_is_performed_shown_and_completed(
    node: RunningDaemon, manager: DimseWorklist, pacs: RecordingPacs
) -> None:
    image = film("ordered")
    study = read_header(image).study_instance_uid
    uid = ordered(manager, image, priority="HIGH")
    wait_until(lambda: manager.steps[uid].state == "IN PROGRESS", "the event led to a claim")
    assert "performs a workitem" not in node.run("jobs", "list").stdout
    node.send(image)
    wait_until(lambda: manager.steps[uid].state == "COMPLETED", "the workitem is completed", 60)
    kept = {path.stem for path in (*pacs.reports_of(study), *pacs.heatmaps_of(study))}
    assert manager.steps[uid].outputs == kept
    assert len(kept) >= 1
    shown = node.run("show", study).stdout
    for words in ("Workitem of ris found", "Workitem of ris claimed", "Workitem of ris completed"):
        assert words in shown
    wait_until(lambda: [job["state"] for job in performed(node)] == ["done"], "the end is recorded")
    (job,) = performed(node)
    assert (job["study"], job["priority"], job["peer"]) == (study, "stat", "ris")
    one = node.run("jobs", "show", str(job["job"])).stdout
    assert "completed" in one
    assert node.run("audit", "verify").returncode == 0


def performed(node: RunningDaemon) -> list[dict[str, object]]:
    answer = node.run("jobs", "list", "--kind", "perform", "--json")
    found: list[dict[str, object]] = json.loads(answer.stdout)["jobs"]
    return found


def test_a_cancel_by_event_ends_a_claimed_workitem(
    node: RunningDaemon, manager: DimseWorklist
) -> None:
    uid = ordered(manager, film("never sent"))
    wait_until(lambda: manager.steps[uid].state == "IN PROGRESS", "the event led to a claim")
    manager.request_cancel(uid, "RIS", chest_step("1.2", {}))
    wait_until(lambda: manager.steps[uid].state == "CANCELED", "the workitem is canceled")
    assert manager.states_of(uid) == ["SCHEDULED", "IN PROGRESS", "CANCELED"]
    assert manager.steps[uid].outputs == set()


def test_check_says_what_the_manager_offers(node: RunningDaemon, manager: DimseWorklist) -> None:
    line = next(line for line in node.run("check").stdout.splitlines() if "worklist ris" in line)
    assert line.startswith("ok")
    assert "UPS Pull" in line
