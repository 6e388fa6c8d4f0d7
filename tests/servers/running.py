"""The real daemon as a child process, a PACS that remembers, and ways to wait for both."""

import datetime
import os
import re
import signal
import socket
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import torch
import yaml

from cxr_model.findings import LABELS
from cxr_model.predict.bundle import Bundle
from cxr_model.predict.card import Card
from cxr_model.predict.network import DenseNet121
from cxr_model.predict.transform import InputSpec
from dicom_io.peer.peers import Peer
from dicom_io.phantom import PhantomFilm, build_film
from dicom_io.receive.node import Node, ReceivedInstance, StoreStatus
from dicom_io.send.association import Destination
from dicom_io.send.sender import Disposition, Sender, pair_of
from storage.store import Store

HOST = "127.0.0.1"

NODE = "CXRD"

PACS = "TESTPACS"

SENDER = "STORESCU"

WAIT_SECONDS = 90.0


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind((HOST, 0))
        return int(probe.getsockname()[1])


def wait_until(condition: Callable[[], bool], what: str, seconds: float = WAIT_SECONDS) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, f"after {seconds:.0f} s still not: {what}"
        time.sleep(0.05)


def build_bundle(folder: Path, version: str = "1") -> None:
    torch.manual_seed(7)
    network = DenseNet121()
    card = Card(
        name="random",
        version=version,
        created="2026-01-01T00:00:00+00:00",
        intended_use="For tests only.",
        input=InputSpec(64),
        thresholds=dict.fromkeys(LABELS, 0.5),
        operating_point={"description": "one half"},
        calibrators={label: {"method": "identity"} for label in LABELS},
        map_scales=dict.fromkeys(LABELS, 1.0),
        provenance={},
        metrics={},
    )
    Bundle.build(network, card).save(folder)


def film(study: str, **drawn: Any) -> bytes:
    """A small synthetic film of that study."""
    values = {"patient_id": study, "study": study, "rows": 256, "columns": 224, **drawn}
    return build_film(PhantomFilm(**values), datetime.datetime(2026, 1, 2, tzinfo=datetime.UTC))


class RecordingPacs:
    """A Storage SCP that counts how often each object came and keeps the last of each."""

    def __init__(self, folder: Path, port: int = 0) -> None:
        self._folder = folder
        self._lock = threading.Lock()
        self.counts: Counter[str] = Counter()
        self.modalities: dict[str, str] = {}
        self.studies: dict[str, str] = {}
        folder.mkdir(parents=True, exist_ok=True)
        self._node = Node(
            ae_title=PACS, host=HOST, port=port, peers=[Peer(NODE)], on_store=self._keep
        )

    def __enter__(self) -> Self:
        self._node.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._node.stop()

    @property
    def port(self) -> int:
        return self._node.port

    def _keep(self, received: ReceivedInstance) -> StoreStatus:
        uid = received.sop_instance_uid
        (self._folder / f"{uid}.dcm").write_bytes(received.data)
        with self._lock:
            self.counts[uid] += 1
            self.modalities[uid] = received.header.modality
            self.studies[uid] = received.header.study_instance_uid
        return StoreStatus.SUCCESS

    def of(self, modality: str) -> list[Path]:
        """Files of the objects of one modality."""
        with self._lock:
            uids = [uid for uid, value in self.modalities.items() if value == modality]
        return [self._folder / f"{uid}.dcm" for uid in uids]

    def reports_of(self, study_instance_uid: str) -> list[Path]:
        """Files of a study's reports; they come after its heatmaps."""
        return [path for path in self.of("SR") if self.studies[path.stem] == study_instance_uid]

    def heatmaps_of(self, study_instance_uid: str) -> list[Path]:
        """Files of a study's heatmaps."""
        return [path for path in self.of("OT") if self.studies[path.stem] == study_instance_uid]


class RunningDaemon:
    """`cxrd serve` with a configuration of its own; a context manager."""

    module = "daemon"
    options: tuple[str, ...] = ()

    def __init__(
        self, folder: Path, bundle: Path, pacs_port: int, changes: dict[str, Any] | None = None
    ) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self.port = free_port()
        self.config = folder / "config.yaml"
        self.log_path = folder / "serve.log"
        self.data = folder / "data"
        values: dict[str, Any] = {
            "data_dir": "data",
            "listener": {"port": self.port},
            "web": {"port": free_port()},
            "model": {"bundle": str(bundle), "threads": 1},
            "study": {"quiet_seconds": 1.0},
            "courier": {"retry_seconds": 0.5, "retry_max_seconds": 2},
            "spool": {"min_free_mb": 1},
            "peers": [
                {"name": "sender", "ae_title": SENDER, "sends": True},
                {
                    "name": "pacs",
                    "ae_title": PACS,
                    "host": HOST,
                    "port": pacs_port,
                    "receives": ["report", "heatmap"],
                },
            ],
            **(changes or {}),
        }
        self.config.write_text(yaml.safe_dump(values), encoding="utf-8")
        self._process: subprocess.Popen[bytes] | None = None
        self._starts = 0

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.stop()

    def start(self) -> None:
        self._starts += 1
        with self.log_path.open("ab") as log:
            self._process = subprocess.Popen(
                [
                    sys.executable,
                    "-m",
                    self.module,
                    "serve",
                    "--config",
                    str(self.config),
                    *self.options,
                ],
                stdout=log,
                stderr=log,
                env={name: value for name, value in os.environ.items() if name[:5] != "CXRD_"},
            )
        wait_until(self._is_ready, "the daemon is ready")

    def _is_ready(self) -> bool:
        assert self._process is not None
        assert self._process.poll() is None, self.log
        return self.log.count("cxrd is ready") == self._starts

    def stop(self) -> tuple[int, float]:
        """SIGTERM; the exit status and the seconds it took."""
        assert self._process is not None
        started = time.monotonic()
        if self._process.poll() is None:
            self._process.send_signal(signal.SIGTERM)
        try:
            status = self._process.wait(20)
        except subprocess.TimeoutExpired:
            self._process.kill()
            raise
        return status, time.monotonic() - started

    @property
    def log(self) -> str:
        return self.log_path.read_text(encoding="utf-8", errors="replace")

    def process_of(self, role: str) -> int:
        """Process number of the role's latest process."""
        return int(re.findall(rf"{role} started, process (\d+)", self.log)[-1])

    def kill(self, role: str) -> None:
        os.kill(self.process_of(role), signal.SIGKILL)

    def store(self) -> Store:
        return Store.open(f"sqlite:///{self.data / 'cxrd.sqlite'}", migrate=False)

    def send(self, *objects: bytes) -> None:
        """Send objects in one association; each must be acknowledged."""
        destination = Destination(
            name="cxrd", ae_title=NODE, host=HOST, port=self.port, calling_ae_title=SENDER
        )
        pairs = [pair_of(data) for data in objects]
        with Sender(destination, sop_classes=(), also=pairs) as sender:
            for data in objects:
                result = sender.send(data)
                assert result.disposition is Disposition.DELIVERED, result.detail

    def run(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        """Another `cxrd` command with the same configuration."""
        return subprocess.run(
            [sys.executable, "-m", "daemon", *arguments, "--config", str(self.config)],
            capture_output=True,
            text=True,
            check=False,
        )
