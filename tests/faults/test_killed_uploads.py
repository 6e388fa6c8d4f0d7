"""The web role is killed at each boundary of a STOW-RS request, and the client sends again."""

import signal
import time
from pathlib import Path

import httpx
import pytest

from dicom_io.read.header import read_header
from storage.files.folder_spool import FolderSpool
from storage.files.spool import RECEIVED
from storage.records import JobState
from tests.builders.images.films import film
from tests.faults.points import AFTER, BEFORE, FOLDER, FORKS, ROOT, armed_file
from tests.servers.dicom.pacs import RecordingPacs
from tests.servers.dicomweb.site import BOUNDARY, NORTH, body_of
from tests.servers.running import RunningDaemon
from tests.tools.ports import HOST, free_port
from tests.tools.waiting import wait_until

pytestmark = [pytest.mark.daemon, pytest.mark.network]

BUSY_SECONDS = 120.0
POINTS = (
    "create spool/tmp",
    "write spool/tmp",
    "write the rest spool/tmp",
    "fsync file spool/tmp",
    "rename to spool/received",
    "fsync folder spool/received",
    "commit store._record",
)
"""Each write, sync and commit of one upload, in their order; the answer follows the last."""
KILLS = [(f"web: {point}", when) for point in POINTS for when in (BEFORE, AFTER)]
SAMPLE = [
    ("web: write the rest spool/tmp", BEFORE),
    ("web: rename to spool/received", AFTER),
    ("web: commit store._record", BEFORE),
    ("web: commit store._record", AFTER),
]


class Node(RunningDaemon):
    """`cxrd serve` whose web role dies at armed points."""

    module = "tests.faults.serve"

    def __init__(self, folder: Path, bundle: Path, pacs_port: int) -> None:
        self.web_port = free_port()
        clients = [{"name": "ward", "token": NORTH, "stores": True}]
        changes = {
            "web": {"port": self.web_port},
            "dicomweb": {"clients": clients},
            "study": {"quiet_seconds": 0.3},
        }
        super().__init__(folder, bundle, pacs_port, changes)
        self.faults = folder / "faults"
        (self.faults / "armed").mkdir(parents=True)
        self.variables = {
            FOLDER: str(self.faults),
            ROOT: str(self.data.resolve()),
            FORKS: "1",
        }

    def arm(self, point: str, when: str) -> None:
        armed = armed_file(self.faults, point, when)
        ready = armed.with_suffix(".new")
        ready.write_text(str(int(signal.SIGKILL)))
        ready.replace(armed)

    def killed(self) -> list[tuple[str, str]]:
        path = self.faults / "killed"
        lines = path.read_text().splitlines() if path.exists() else []
        return [(line.split("\t")[1], line.split("\t")[2]) for line in lines]

    def store_film(self, data: bytes) -> None:
        """Send a film until it is acknowledged, as a client does."""
        headers = {
            "Authorization": f"Bearer {NORTH}",
            "Content-Type": f'multipart/related; type="application/dicom"; boundary={BOUNDARY}',
        }
        url = f"http://{HOST}:{self.web_port}/dicom-web/studies"
        deadline = time.monotonic() + BUSY_SECONDS
        while time.monotonic() < deadline:
            try:
                answer = httpx.post(url, content=body_of(data), headers=headers, timeout=30)
            except httpx.TransportError:
                time.sleep(0.1)
                continue
            if answer.status_code == 200:
                return
            assert answer.status_code == 503, answer.text
        pytest.fail("the film is not acknowledged")


def kill_and_send(folder: Path, bundle: Path, kills: list[tuple[str, str]]) -> None:
    """Store a film for each kill; then each has one row and one report, and no file is left."""
    films = [film(f"killed upload {number}") for number in range(len(kills))]
    with (
        RecordingPacs(folder / "pacs") as pacs,
        Node(folder / "node", bundle, pacs.port) as node,
    ):
        for kill, data in zip(kills, films, strict=True):
            node.arm(*kill)
            node.store_film(data)
        assert node.killed() == kills
        studies = [read_header(data).study_instance_uid for data in films]
        with node.store() as store:
            wait_until(
                lambda: set(studies) <= set(pacs.studies.values()), "each report", BUSY_SECONDS
            )
            wait_until(
                lambda: (
                    not any(
                        group.state in (JobState.QUEUED, JobState.RUNNING)
                        for group in store.status.job_counts()
                    )
                ),
                "no work is left",
                BUSY_SECONDS,
            )
            kept = {}
            for study in studies:
                found = store.results.study(study, "ward")
                (row,) = found.instances
                assert (row.revision, row.calling_ae_title) == (1, "ward")
                assert len(found.reports) == 1
                assert pacs.counts[found.reports[0].sop_instance_uid] == 1
                kept[row.spool_path] = row.sha256
            spool = FolderSpool(node.data / "spool")
            for path, sha256 in kept.items():
                spool.verify(path, sha256)
            stray = {path for batch in spool.batches(RECEIVED) for path in batch} - kept.keys()
            # A file without a row was not acknowledged: the sweep sets it aside.
            assert set(store.unreferenced(sorted(stray))) == stray if stray else True


@pytest.mark.slow
def test_a_killed_upload_is_kept_once(tmp_path: Path, bundle: Path) -> None:
    kill_and_send(tmp_path, bundle, SAMPLE)


@pytest.mark.soak
def test_every_boundary_of_an_upload_survives_a_kill(tmp_path: Path, bundle: Path) -> None:
    kill_and_send(tmp_path, bundle, KILLS * 3)
