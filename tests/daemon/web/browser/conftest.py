"""A browser, and a daemon that processed films of every outcome."""

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

import pytest
import yaml
from playwright.sync_api import Browser

from daemon.config.settings import TOKEN_FILE
from dicom_io.phantom import PhantomView
from dicom_io.receive.store_request import ReceivedInstance, StoreStatus
from storage.records import JobKind, JobState
from tests.builders.images.films import changed, film
from tests.servers.browser import Visit, running_browser, visiting
from tests.servers.dicom.pacs import RecordingPacs, pacs_node
from tests.servers.running import RunningDaemon
from tests.tools.ports import HOST, PACS, SENDER, free_port
from tests.tools.waiting import wait_until

Look = Callable[..., AbstractContextManager[Visit]]


class BusyNode(RunningDaemon):
    """A daemon with analysed, refused, held, waiting and parked work."""

    @property
    def url(self) -> str:
        """The address of its pages."""
        port = yaml.safe_load(self.config.read_text(encoding="utf-8"))["web"]["port"]
        return f"http://localhost:{port}/"

    @property
    def token(self) -> str:
        """The token of role `admin` that its first start made."""
        return (self.data / TOKEN_FILE).read_text(encoding="utf-8").strip()

    def fill(self) -> None:
        """Send films until each outcome is there, and wait for them."""
        self.send(film("plain", patient_id="PAT-1"), film("plain", patient_id="PAT-1", seed=2))
        hostile = changed(
            film("hostile", seed=3),
            PatientName=HOSTILE_NAME,
            PatientID=HOSTILE_ID,
            AccessionNumber="<b>1</b>",
            Modality="CR",
        )
        self.send(hostile)
        self.send(film("lateral", patient_id="PAT-3", view=PhantomView.LL, seed=4))
        self.send(
            film("mixed", patient_id="PAT-4", seed=5), film("mixed", patient_id="PAT-5", seed=6)
        )
        with self.store() as store:
            wait_until(
                lambda: (
                    not any(
                        store.jobs.list(kind=kind, state=state, limit=1)
                        for kind in (JobKind.ANALYSE, JobKind.REPORT)
                        for state in (JobState.QUEUED, JobState.RUNNING)
                    )
                ),
                "every film is analysed and reported",
                60,
            )
            wait_until(
                lambda: bool(store.jobs.list(kind=JobKind.DELIVER, state=JobState.PARKED, limit=1)),
                "a delivery is parked",
                30,
            )


VIEWER_TOKEN = "of-a-viewer-who-cannot-act"  # noqa: S105 - of a test
HOSTILE_ID = "'\"><svg onload=alert(3)>"
HOSTILE_NAME = "<script>alert(1)</script>^\"'><img src=x onerror=alert(2)>"


def refuse(_received: ReceivedInstance) -> StoreStatus:
    """Answer as an archive that understands no object."""
    return StoreStatus.CANNOT_UNDERSTAND


@pytest.fixture(scope="package")
def browser() -> Iterator[Browser]:
    """A Chromium for all tests of this folder."""
    with running_browser() as running:
        yield running


@pytest.fixture(scope="package")
def node(tmp_path_factory: pytest.TempPathFactory, bundle: Path) -> Iterator[BusyNode]:
    """A daemon with work of every outcome; one destination refuses, and one is not there."""
    folder = tmp_path_factory.mktemp("pages")
    refusing = pacs_node(refuse, ae_title="STRICT")
    with RecordingPacs(folder / "pacs") as pacs:
        refusing.start()
        try:
            viewer = {"name": "viewer", "role": "viewer", "token": VIEWER_TOKEN}
            changes: dict[str, Any] = {
                "peers": _peers(pacs.port, refusing.port),
                "web": {"port": free_port(), "tokens": [viewer]},
            }
            with BusyNode(folder / "node", bundle, pacs.port, changes) as running:
                running.fill()
                yield running
        finally:
            refusing.stop()


def _peers(pacs: int, refusing: int) -> list[dict[str, Any]]:
    places = {"pacs": (PACS, pacs), "strict": ("STRICT", refusing), "away": ("AWAY", free_port())}
    return [
        {"name": "sender", "ae_title": SENDER, "sends": True},
        *(
            {
                "name": name,
                "ae_title": ae_title,
                "host": HOST,
                "port": port,
                "receives": ["report", "heatmap"],
            }
            for name, (ae_title, port) in places.items()
        ),
    ]


@pytest.fixture
def look(browser: Browser, node: BusyNode) -> Look:
    """Open a window on the node, logged in as `admin` unless another token is given."""

    def opened(token: str | None = None, **options: Any) -> AbstractContextManager[Visit]:
        return visiting(browser, node.url, node.token if token is None else token, **options)

    return opened
