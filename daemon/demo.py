"""`cxrd demo`: runs the whole loop on this machine, with a temporary PACS and the real daemon.

The demo writes a configuration and starts `cxrd serve` in processes of its own. The temporary PACS
receives the same objects as any PACS.
"""

import datetime
import os
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass
from pathlib import Path

import cv2
import yaml

from cxr_model.findings import LABELS
from daemon.config.sections.work import STARTER_BUNDLE
from daemon.errors import DaemonError, UsageError
from daemon.shipped import shipped_file
from dicom_io.errors import NotDicomError
from dicom_io.peer.peers import Peer
from dicom_io.phantom import PhantomFilm, PhantomView, build_film
from dicom_io.read.header import Header, read_dataset, read_header
from dicom_io.receive.node import Node
from dicom_io.receive.store_request import ReceivedInstance, StoreStatus
from dicom_io.report.text import report_text
from dicom_io.send.association import Destination
from dicom_io.send.sender import Sender, pair_of
from dicom_io.send.store_status import Disposition
from storage.records import JobKind, JobState, StudyStatus
from storage.store import Store

Echo = Callable[[str], None]
Busy = Callable[[str], AbstractContextManager[object]]
"""It shows that something takes long while its block runs."""

HOST = "127.0.0.1"
NODE_AE_TITLE = "CXRD"
PACS_AE_TITLE = "DEMOPACS"
QUIET_SECONDS = 1.0
START_SECONDS = 120.0
REPORT_SECONDS = 300.0
STOP_SECONDS = 15.0
POLL_SECONDS = 0.05


class TemporaryPacs:
    """A Storage SCP that writes received objects into a folder and lists reports and heatmaps."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._lock = threading.Lock()
        self._reports: list[tuple[float, Path]] = []
        self._heatmaps: list[Path] = []
        folder.mkdir(parents=True)
        self.node = Node(
            ae_title=PACS_AE_TITLE,
            host=HOST,
            port=0,
            peers=[Peer(NODE_AE_TITLE)],
            on_store=self._keep,
        )

    @property
    def reports(self) -> list[tuple[float, Path]]:
        """Arrival time (monotonic seconds) and file of each report; oldest first."""
        with self._lock:
            return list(self._reports)

    @property
    def heatmaps(self) -> list[Path]:
        """The files of the received heatmaps."""
        with self._lock:
            return list(self._heatmaps)

    def _keep(self, received: ReceivedInstance) -> StoreStatus:
        path = self._folder / f"{received.sop_instance_uid}.dcm"
        path.write_bytes(received.data)
        with self._lock:
            if received.header.modality == "SR":
                self._reports.append((time.monotonic(), path))
            else:
                self._heatmaps.append(path)
        return StoreStatus.SUCCESS


def run_demo(
    files: Sequence[Path],
    keep: Path | None,
    bundle: Path | None,
    echo: Echo,
    *,
    busy: Busy = nullcontext,
    wait: Callable[[], None] | None = None,
) -> None:
    """Run the loop and show its results; the pages stay up until `wait` returns.

    Raises UsageError for a file that is not a DICOM object, and DaemonError if the loop fails.
    """
    images = _read_images(files) if files else _phantom_images()
    if keep is not None and keep.exists() and any(keep.iterdir()):
        raise UsageError(f"{keep} is not empty; name a new folder with --keep")
    folder = keep or Path(tempfile.mkdtemp(prefix="cxrd-demo-"))
    folder.mkdir(parents=True, exist_ok=True)
    pacs = TemporaryPacs(folder / "pacs")
    with _ended_by_signals(), pacs.node:
        echo(f"A temporary PACS listens at {HOST}:{pacs.node.port} as {PACS_AE_TITLE}.")
        config = _write_config(folder, pacs.node.port, bundle)
        with _daemon(folder, config.file, busy):
            echo(f"The daemon listens at {HOST}:{config.port} as {NODE_AE_TITLE}.")
            if not files:
                echo(
                    "The films are drawings: their findings show the loop, not the model's quality."
                )
            sent_at = _send(images, config.port, echo)
            with Store.open(f"sqlite:///{config.database}", migrate=False) as store:
                studies = {header.study_instance_uid for header, _ in images}
                with busy("analysing, reporting and delivering"):
                    _await_studies(store, studies, pacs)
                csv_path = folder / "export.csv"
                store.export.write_csv(csv_path, LABELS)
                for line in _not_analysed(store, studies):
                    echo(line)
                names = _heatmap_names(store, studies)
            heatmaps = folder / "heatmaps"
            pictures = [_as_png(path, heatmaps / names[path.stem]) for path in pacs.heatmaps]
            _show(pacs, sent_at, echo)
            for line in (
                f"Reports and heatmaps as DICOM: {folder / 'pacs'}",
                *(f"Heatmap: {picture}" for picture in sorted(pictures)),
                f"CSV: {csv_path}",
                f"The daemon's log: {folder / 'daemon.log'}",
                *_next_steps(),
                "RESEARCH USE ONLY: not for diagnosis.",
            ):
                echo(line)
            if wait is not None:
                for line in _page(folder, config):
                    echo(line)
                wait()


def _next_steps() -> Iterator[str]:
    yield ""
    yield "What to do next:"
    yield "  cxrd init    asks a few questions and writes a config.yaml for your PACS"
    yield "  cxrd check   tests this configuration, the PACS and the model"
    yield "  cxrd serve   runs the node; cxrd status shows its state"
    yield f"  {shipped_file('docs/connect.md')} has the settings of archives and modalities"


def _page(folder: Path, config: "_DemoConfig") -> Iterator[str]:
    token = (folder / "data" / "web_token").read_text(encoding="utf-8").strip()
    yield ""
    yield f"The pages of this demo are up: http://{HOST}:{config.web_port}/"
    yield f"Token to log in: {token}"
    yield (
        "There are the studies, each film with its findings and heatmaps, the reports and their"
        " deliveries, and the overview of the node."
    )


@contextmanager
def _ended_by_signals() -> Iterator[None]:
    """End the demo on SIGTERM and with its terminal: its daemon has a session of its own."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return

    def end(number: int, _frame: object) -> None:
        raise SystemExit(128 + number)

    before = {number: signal.signal(number, end) for number in (signal.SIGTERM, signal.SIGHUP)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


@dataclass(frozen=True, slots=True)
class _DemoConfig:
    """The configuration file of the demo's daemon, with its ports and database."""

    file: Path
    port: int
    web_port: int
    database: Path


def _write_config(folder: Path, pacs_port: int, bundle: Path | None) -> _DemoConfig:
    port, web_port = _free_port(), _free_port()
    values = {
        "model": {"bundle": str(bundle.resolve()) if bundle else STARTER_BUNDLE},
        "data_dir": "data",
        "listener": {"ae_title": NODE_AE_TITLE, "host": HOST, "port": port},
        "web": {"host": HOST, "port": web_port},
        "peers": [
            {
                "name": "demo-pacs",
                "ae_title": PACS_AE_TITLE,
                "host": HOST,
                "port": pacs_port,
                "sends": True,
                "receives": ["report", "heatmap"],
            }
        ],
        "study": {"quiet_seconds": QUIET_SECONDS},
    }
    file = folder / "config.yaml"
    file.write_text(yaml.safe_dump(values, sort_keys=False), encoding="utf-8")
    return _DemoConfig(file, port, web_port, folder / "data" / "cxrd.sqlite")


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind((HOST, 0))
        return int(probe.getsockname()[1])


@contextmanager
def _daemon(folder: Path, config: Path, busy: Busy) -> Iterator[None]:
    """Run `cxrd serve` in a process group of its own, ready when the context is entered."""
    log_path = folder / "daemon.log"
    environment = {name: value for name, value in os.environ.items() if name[:5] != "CXRD_"}
    # -P: a file in the current folder that is called as a package here is not imported.
    command = [sys.executable, "-P", "-m", "daemon", "serve", "--config", str(config)]
    with log_path.open("wb") as log:
        process = subprocess.Popen(  # noqa: S603 - our own module
            command, stderr=log, stdout=log, env=environment, start_new_session=True
        )
    try:
        deadline = time.monotonic() + START_SECONDS
        with busy("starting the daemon"):
            while b"cxrd is ready" not in log_path.read_bytes():
                if process.poll() is not None or time.monotonic() > deadline:
                    raise DaemonError(f"the daemon did not start; its log is {log_path}")
                time.sleep(POLL_SECONDS)
        yield
    finally:
        if process.poll() is None:
            process.send_signal(signal.SIGTERM)
        try:
            process.wait(STOP_SECONDS)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def _read_images(files: Sequence[Path]) -> list[tuple[Header, bytes]]:
    images = []
    for file in files:
        try:
            data = file.read_bytes()
            images.append((read_header(data), data))
        except OSError as error:
            raise UsageError(f"{file}: {error.strerror}") from error
        except NotDicomError as error:
            raise UsageError(f"{file}: {error}") from error
    return images


def _phantom_images() -> list[tuple[Header, bytes]]:
    films = (
        PhantomFilm("PHANTOM-1", "DEMO-1", heart_failure=True),
        PhantomFilm("PHANTOM-1", "DEMO-1", view=PhantomView.LL, seed=2),
        PhantomFilm("PHANTOM-2", "DEMO-2", photometric_interpretation="MONOCHROME1"),
    )
    acquired = datetime.datetime.now(datetime.UTC)
    built = [build_film(film, acquired) for film in films]
    return [(read_header(data), data) for data in built]


def _send(images: Sequence[tuple[Header, bytes]], port: int, echo: Echo) -> dict[str, float]:
    """Send each image by C-STORE. Returns when each study's last image was acknowledged."""
    destination = Destination(
        name="cxrd", ae_title=NODE_AE_TITLE, host=HOST, port=port, calling_ae_title=PACS_AE_TITLE
    )
    sent_at: dict[str, float] = {}
    pairs = [pair_of(data) for _, data in images]
    with Sender(destination, sop_classes=(), also=pairs) as sender:
        for number, (header, data) in enumerate(images, 1):
            result = sender.send(data)
            if result.disposition is not Disposition.DELIVERED:
                raise DaemonError(f"image {number} was not accepted: {result.detail}")
            sent_at[header.study_instance_uid] = time.monotonic()
            echo(f"Image {number} of {len(images)} sent by C-STORE and acknowledged.")
    return sent_at


def _await_studies(store: Store, studies: set[str], pacs: TemporaryPacs) -> None:
    """Wait until every study has its status and the PACS has received every report."""
    deadline = time.monotonic() + REPORT_SECONDS
    while time.monotonic() < deadline:
        known = [store.results.study(uid) for uid in studies]
        reported = [study for study in known if study.status is StudyStatus.REPORTED]
        settled = all(study.status is not None and not study.pending for study in known)
        if settled and len(pacs.reports) >= len(reported) and not _pending_deliveries(store):
            return
        time.sleep(POLL_SECONDS)
    raise DaemonError(f"no report within {REPORT_SECONDS:.0f} s")


def _pending_deliveries(store: Store) -> int:
    """Return the number of deliveries that are not done."""
    return sum(
        count
        for group, count in store.status.job_counts().items()
        if group.kind is JobKind.DELIVER and group.state in (JobState.QUEUED, JobState.RUNNING)
    )


def _not_analysed(store: Store, studies: set[str]) -> Iterator[str]:
    for uid in sorted(studies):
        for instance in store.results.study(uid).instances:
            if instance.reason:
                yield f"Not analysed: instance {instance.id}: {instance.reason}: {instance.detail}"


def _heatmap_names(store: Store, studies: set[str]) -> dict[str, str]:
    """Return file names, of image and finding, by SOP Instance UID."""
    return {
        record.sop_instance_uid: f"image-{instance.id}-{record.label}.png"
        for uid in studies
        for instance in store.results.study(uid).instances
        for record in instance.objects
    }


def _show(pacs: TemporaryPacs, sent_at: dict[str, float], echo: Echo) -> None:
    reports = [
        (sent_at[read_header(path).study_instance_uid], arrived_at, path)
        for arrived_at, path in pacs.reports
    ]
    # In the order of the films: which report arrives first is chance.
    for study_sent_at, arrived_at, path in sorted(reports):
        waited = arrived_at - study_sent_at
        echo("")
        echo(report_text(read_dataset(path)))
        echo(
            f"From the study's last byte to its report in the PACS: {waited:.1f} s, "
            f"of which {QUIET_SECONDS:.0f} s is the wait for more images."
        )
    if not reports:
        echo("No image could be analysed, so there is no report; the CSV gives the reasons.")
    echo("")


def _as_png(path: Path, target: Path) -> Path:
    """Write the picture of a heatmap object as PNG, for people without a DICOM viewer."""
    target.parent.mkdir(exist_ok=True)
    cv2.imwrite(str(target), cv2.cvtColor(read_dataset(path).pixel_array, cv2.COLOR_RGB2BGR))
    return target
