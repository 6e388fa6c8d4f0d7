"""The running daemon delivers by STOW-RS to Orthanc, and its courier is killed meanwhile."""

import subprocess
import threading
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest

from dicom_io.read.header import read_header
from storage.records import JobKind, JobState
from storage.store import Store
from tests.builders.images.films import film
from tests.faults.points import FORKS
from tests.servers.dicom.orthanc import Orthanc, running_orthanc, with_dicomweb
from tests.servers.plain.http_gate import HttpGate, Moment, http_gate
from tests.servers.running import RunningDaemon
from tests.tools.installed import require_tool
from tests.tools.ports import HOST, NODE, SENDER
from tests.tools.waiting import WAIT_SECONDS, wait_until

pytestmark = [pytest.mark.daemon, pytest.mark.network, pytest.mark.slow]
KILLS = (Moment.ARRIVED, Moment.DONE)


@pytest.fixture
def archive(tmp_path: Path) -> Iterator[Orthanc]:
    """An Orthanc with its plugin DICOMweb."""
    with running_orthanc(tmp_path, with_dicomweb()) as running:
        yield running


def by_web(url: str) -> dict[str, Any]:
    """Return the changes of a configuration whose results go to a DICOMweb server alone."""
    destination = {
        "name": "web",
        "kind": "dicomweb",
        "url": url,
        "allow_http": True,
        "receives": ["report", "heatmap"],
    }
    sender = {"name": "sender", "ae_title": SENDER, "sends": True}
    return {"peers": [sender], "destinations": [destination]}


class QuicklyRestarted(RunningDaemon):
    """A daemon whose supervisor restarts a role after one second every time."""

    module = "tests.faults.serve"
    variables: Mapping[str, str] = {FORKS: "1"}


class Killer:
    """Kills the courier at chosen requests, and lets the others pass."""

    def __init__(self, daemon: RunningDaemon, moments: tuple[Moment, ...]) -> None:
        self._daemon = daemon
        self._left = list(moments)
        self._lock = threading.Lock()

    def __call__(self, method: str, moment: Moment) -> bool:
        with self._lock:
            if method != "POST" or not self._left or self._left[0] is not moment:
                return True
            self._left.pop(0)
        old = self._daemon.process_of("courier")
        self._daemon.kill("courier")
        wait_until(lambda: self._daemon.process_of("courier") != old, "a new courier")
        return False

    @property
    def is_done(self) -> bool:
        return not self._left


def deliveries(store: Store) -> list[JobState]:
    return [job.state for job in store.jobs.list(kind=JobKind.DELIVER)]


def sent_by_dcmtk(daemon: RunningDaemon, image: bytes, file: Path) -> None:
    file.write_bytes(image)
    command = [require_tool("storescu"), "-aet", SENDER, "-aec", NODE]
    subprocess.run([*command, HOST, str(daemon.port), str(file)], check=True, timeout=60)


def objects_of(store: Store, study_uid: str) -> list[str]:
    study = store.results.study(study_uid)
    heatmaps = [made for instance in study.instances for made in instance.objects]
    return [made.sop_instance_uid for made in (*study.reports, *heatmaps)]


def stored_of(archive: Orthanc) -> set[str]:
    return {item["MainDicomTags"]["SOPInstanceUID"] for item in archive.call("/instances?expand")}


def deliver_and_kill(
    tmp_path: Path, bundle: Path, archive: Orthanc, moments: tuple[Moment, ...], films: int
) -> HttpGate:
    """Deliver the results of films while the courier is killed at these moments."""
    images = [film(f"web-{number}") for number in range(films)]
    studies = [read_header(image).study_instance_uid for image in images]
    with (
        http_gate(archive.web_url) as gate,
        QuicklyRestarted(tmp_path / "node", bundle, 1, by_web(gate.url)) as daemon,
    ):
        killer = Killer(daemon, moments)
        gate.pass_on = killer
        for image in images:
            sent_by_dcmtk(daemon, image, tmp_path / "film.dcm")
        with daemon.store() as store:
            wait_until(
                lambda: (
                    all(store.results.study(uid).reports for uid in studies)
                    and set(deliveries(store)) == {JobState.DONE}
                ),
                "everything is delivered",
                WAIT_SECONDS + 4 * len(moments),
            )
            made = {uid for study in studies for uid in objects_of(store, study)}
        assert killer.is_done
        assert daemon.log.count("courier stopped: signal SIGKILL") == len(moments)
    assert stored_of(archive) == made
    added = [
        change
        for change in archive.call("/changes?limit=10000")["Changes"]
        if change["ChangeType"] == "NewInstance"
    ]
    assert len(added) == len(made)
    return gate


def test_results_arrive_once_though_the_courier_is_killed(
    tmp_path: Path, bundle: Path, archive: Orthanc
) -> None:
    gate = deliver_and_kill(tmp_path, bundle, archive, KILLS, 2)
    posts = [moment for method, moment in gate.seen if method == "POST"]
    assert posts.count(Moment.ARRIVED) == len(stored_of(archive)) + len(KILLS)


@pytest.mark.soak
def test_results_arrive_once_after_many_kills(
    tmp_path: Path, bundle: Path, archive: Orthanc
) -> None:
    deliver_and_kill(tmp_path, bundle, archive, 50 * KILLS, 25)
