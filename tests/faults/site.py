"""A daemon with fault points between senders that retry and destinations that count."""

import contextlib
import hashlib
import os
import re
import signal
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from pydicom import Dataset
from pynetdicom import evt
from sqlalchemy import select

from dicom_io.commitment.messages import CommitmentRequest, Reference, build_request
from dicom_io.errors import AssociationError
from dicom_io.objects.classes import REPORT_CLASS
from dicom_io.read.header import read_header
from dicom_io.send.association import Destination, Timeouts
from dicom_io.send.sender import Sender, pair_of
from dicom_io.send.store_status import Disposition
from storage.files.folder_spool import FolderSpool
from storage.files.spool import LOST_AND_FOUND, OBJECTS, RECEIVED
from storage.orphans import Sweep
from storage.records import InstanceState, JobState, KeptFile
from storage.tables.database import open_database
from storage.tables.schema import instances, objects
from tests.builders.images.films import data_set_bytes
from tests.faults.points import FOLDER, FORKS, ROOT, armed_file
from tests.servers.dicom.commitment_archive import (
    Archive,
    all_committed,
    call_back,
    running_archive,
)
from tests.servers.dicom.commitment_peers import modality_association, send_n_action
from tests.servers.running import RunningDaemon
from tests.tools.ports import HOST, NODE, SENDER
from tests.tools.waiting import wait_until

TIMEOUTS = Timeouts(connect=5, association=5, response=30, network=30)
ROLES = ("listener", "analyst", "courier")
READY = "cxrd is ready"
BUSY_SECONDS = 300.0
STARTED = "-- the test starts the daemon"
CLASSES = (REPORT_CLASS, "1.2.840.10008.5.1.4.1.1.7")


@dataclass
class CountingArchive(Archive):
    """Counts the copies of each report; repeats an answer until it is accepted.

    `kept` has the SOP Instance UIDs of all objects by study.
    """

    reports: dict[str, Counter[str]] = field(default_factory=dict)
    kept: dict[str, set[str]] = field(default_factory=dict)
    node_port: int = 0
    asked: int = 0
    lock: threading.Lock = field(default_factory=threading.Lock)

    def on_store(self, event: evt.Event) -> int:
        dataset = event.dataset
        with self.lock:
            of_study = self.kept.setdefault(str(dataset.StudyInstanceUID), set())
            of_study.add(str(dataset.SOPInstanceUID))
        if dataset.Modality == "SR":
            with self.lock:
                reports = self.reports.setdefault(str(dataset.StudyInstanceUID), Counter())
                reports[str(dataset.SOPInstanceUID)] += 1
        return 0x0000

    def on_action(self, event: evt.Event) -> tuple[int, None]:
        information = event.action_information
        with self.lock:
            self.asked += 1
            here = self.asked % 2 == 0
        threading.Thread(
            target=self._answer, args=(event.assoc if here else None, information), daemon=True
        ).start()
        return 0x0000, None

    def _answer(self, association: Any, information: Dataset) -> None:
        if association is not None:
            time.sleep(0.1)
            self._report(association, information)
            return
        for _ in range(30):
            with contextlib.suppress(AssertionError, RuntimeError):
                if call_back(self.node_port, all_committed(information)) is not None:
                    return
            time.sleep(0.5)


class FaultyDaemon(RunningDaemon):
    """`cxrd serve` that dies at armed points."""

    module = "tests.faults.serve"
    options = ("--only", "listener,analyst,courier")

    def __init__(
        self,
        folder: Path,
        bundle: Path,
        plain: CountingArchive,
        archive: Archive,
        database_url: str | None = None,
    ) -> None:
        receiving = {"host": HOST, "receives": ["report", "heatmap"]}
        changes: dict[str, Any] = {
            "study": {"quiet_seconds": 0.3},
            "analyst": {"lease_seconds": 10, "max_attempts": 100, "retry_seconds": 0.2},
            "courier": {
                "retry_seconds": 0.2,
                "retry_max_seconds": 1,
                "network_timeout_seconds": 3,
            },
            "commitment": {
                "delay_seconds": 0.2,
                "answer_seconds": 4,
                "max_requests": 100,
                "same_association_seconds": 0.5,
            },
            "peers": [
                {"name": "sender", "ae_title": SENDER, "sends": True, "source": "room"},
                {
                    "name": "modality",
                    "ae_title": "MODALITY",
                    "host": HOST,
                    "port": plain.port,
                    "sends": True,
                    "source": "room",
                },
                {"name": "plain", "ae_title": "PLAIN", "port": plain.port, **receiving},
                {
                    "name": "archive",
                    "ae_title": "ARCHIVE",
                    "port": archive.port,
                    "commitment": True,
                    **receiving,
                },
            ],
        }
        if database_url is not None:
            changes["database_url"] = database_url
        super().__init__(folder, bundle, 1, changes)
        self.faults = folder / "faults"
        (self.faults / "armed").mkdir(parents=True, exist_ok=True)
        self.log_path.touch()
        os.environ[FOLDER], os.environ[ROOT] = str(self.faults), str(self.data.resolve())

    def arm(self, point: str, when: str, number: signal.Signals = signal.SIGKILL) -> None:
        armed = armed_file(self.faults, point, when)
        ready = armed.with_suffix(".new")
        ready.write_text(str(int(number)))
        ready.replace(armed)

    def disarm(self) -> None:
        for path in (self.faults / "armed").iterdir():
            path.unlink()

    def passed(self) -> list[tuple[float, str]]:
        lines = _lines(self.faults / "passed")
        return [(float(line.split("\t")[0]), line.split("\t")[1]) for line in lines]

    def killed(self) -> list[tuple[str, str]]:
        lines = [line.split("\t") for line in _lines(self.faults / "killed")]
        return [(line[1], line[2]) for line in lines]

    @property
    def is_running(self) -> bool:
        return self._process is not None and self._process.poll() is None

    @property
    def supervisor(self) -> int:
        assert self._process is not None
        return self._process.pid

    def children(self) -> list[int]:
        """Return the live processes of the roles."""
        return [pid for role in ROLES if (pid := self.role_alive(role)) is not None]

    def role_alive(self, role: str) -> int | None:
        """Return the process of the role if this supervisor started it and it is alive."""
        log = self.log.rpartition(STARTED)[2]
        started = re.findall(rf"{role} started, process (\d+)", log)
        return int(started[-1]) if started and is_alive(int(started[-1])) else None

    def start(self) -> None:
        """Start the daemon; wait longer on a busy machine."""
        with self.log_path.open("a", encoding="utf-8") as log:
            log.write(f"{STARTED}\n")
        self._starts = self.log.count(READY)
        try:
            super().start()
        except AssertionError:
            if not self.is_running:
                raise
            wait_until(lambda: self.is_ready or not self.is_running, "ready", BUSY_SECONDS)

    @property
    def is_ready(self) -> bool:
        """Return True if all roles of this supervisor have started."""
        return self.is_running and READY in self.log.rpartition(STARTED)[2]

    def start_again(self) -> None:
        """Start at once after the supervisor was killed; its roles may still run."""
        assert self._process is not None
        self._process.wait(5)
        self.start()

    @contextlib.contextmanager
    def another(self, role: str) -> Iterator[None]:
        """Run another process of a role on the same store, with its own supervisor."""
        command = [sys.executable, "-m", self.module, "serve", "--config", str(self.config)]
        with subprocess.Popen([*command, "--only", role], stderr=subprocess.DEVNULL) as process:
            try:
                yield
            finally:
                process.terminate()

    def start_if_dead(self) -> None:
        """Start the daemon until it runs: it may be killed while it starts."""
        while not self.is_running:
            with contextlib.suppress(AssertionError):
                self.start()


def _wait(seconds: float) -> bool:
    """Wait, as a sweep does that is not stopped."""
    time.sleep(seconds)
    return False


def is_alive(process: int) -> bool:
    """Return True if this process of the daemon has not ended."""
    try:
        status = Path(f"/proc/{process}/status").read_text()
        command = Path(f"/proc/{process}/cmdline").read_bytes()
    except OSError:
        return False
    return "State:\tZ" not in status and b"multiprocessing" in command


def _lines(path: Path) -> list[str]:
    return path.read_text().splitlines() if path.exists() else []


@dataclass
class FaultSite:
    """The daemon, its two destinations, and the acknowledged images."""

    daemon: FaultyDaemon
    plain: CountingArchive
    archive: CountingArchive
    acknowledged: dict[str, bytes] = field(default_factory=dict)

    @property
    def spool(self) -> FolderSpool:
        return FolderSpool(self.daemon.data / "spool")

    def send(self, image: bytes, seconds: float = BUSY_SECONDS) -> None:
        """Send an image until it is acknowledged, as a modality does."""
        deadline = time.monotonic() + seconds
        while not self._try_to_send(image):
            assert time.monotonic() < deadline, "the image is not acknowledged"
            time.sleep(0.2)
        self.acknowledged[read_header(image).sop_instance_uid] = image

    def _try_to_send(self, image: bytes) -> bool:
        destination = Destination("cxrd", NODE, HOST, self.daemon.port, SENDER, TIMEOUTS)
        try:
            with Sender(destination, sop_classes=(), also=[pair_of(image)]) as sender:
                return sender.send(image).disposition is Disposition.DELIVERED
        except AssociationError:
            return False

    def inquire(self, image: bytes, transaction_uid: str, *, hold: bool) -> None:
        """Request commitment to an image until the daemon answers, on this association or later."""
        header = read_header(image)
        request = build_request(
            CommitmentRequest(
                transaction_uid, (Reference(header.sop_class_uid, header.sop_instance_uid),)
            )
        )

        deadline = time.monotonic() + BUSY_SECONDS
        while not self.has_answer(transaction_uid):
            assert time.monotonic() < deadline, "the inquiry is not answered"
            with contextlib.suppress(AssertionError, RuntimeError, AttributeError, KeyError):
                with modality_association(self.daemon.port, self.plain) as association:
                    if send_n_action(association, request) == 0x0000:
                        self._await_answer(transaction_uid, 4.0 if hold else 0.0)
                self._await_answer(transaction_uid, 8.0)
                continue
            time.sleep(0.2)

    def _await_answer(self, transaction_uid: str, seconds: float) -> None:
        deadline = time.monotonic() + seconds
        while not self.has_answer(transaction_uid) and time.monotonic() < deadline:
            time.sleep(0.05)

    def has_answer(self, transaction_uid: str) -> bool:
        return any(one.TransactionUID == transaction_uid for one in self.plain.answers)

    def wait_until_idle(self, studies: list[str], seconds: float = BUSY_SECONDS) -> None:
        """Wait until each destination has each study's report and no job is left."""
        for destination in (self.plain, self.archive):
            wait_until(
                lambda kept=destination.reports: all(uid in kept for uid in studies),  # type: ignore[misc]
                "a report of each study at each destination",
                seconds,
            )
        with self.daemon.store() as store:
            wait_until(
                lambda: (
                    not any(
                        group.state in (JobState.QUEUED, JobState.RUNNING)
                        for group in store.status.job_counts()
                    )
                ),
                "nothing is left to do",
                seconds,
            )

    def check(self) -> dict[str, int]:
        """Check every invariant over all acknowledged images. Return the figures."""
        lost = duplicates = 0
        with self.daemon.store() as store:
            for uid, image in self.acknowledged.items():
                kept = store.kept_files(uid)
                lost += len(kept) != 1 or not self._is_intact(kept[0], image)
                study = store.results.study(read_header(image).study_instance_uid)
                states = [one.state for one in study.instances]
                assert set(states) == {InstanceState.ANALYSED}, states
                for destination in (self.plain, self.archive):
                    reports = destination.reports[study.study_instance_uid]
                    duplicates += len(reports) != 1
            swept = Sweep(self.spool, store, _wait).run()
            assert swept.busy == 0
            orphans = sum(
                len(store.unreferenced(batch))
                for area in (RECEIVED, OBJECTS)
                for batch in self.spool.batches(area)
            )
            assert list(self.spool.batches(LOST_AND_FOUND)) == []
            assert list(self.spool.path("tmp").iterdir()) == []
            orphans += self._rows_without_files()
            assert {group.state for group in store.status.job_counts()} <= {JobState.DONE}
        return {
            "acknowledged": len(self.acknowledged),
            "lost": lost,
            "duplicates": duplicates,
            "orphans": orphans,
        }

    def _is_intact(self, kept: KeptFile, image: bytes) -> bool:
        data = self.spool.path(kept.spool_path).read_bytes()
        is_same = data_set_bytes(data) == data_set_bytes(image)
        return is_same and hashlib.sha256(data).hexdigest() == kept.sha256

    def _rows_without_files(self) -> int:
        with open_database(self.daemon.database_url) as database, database.reading() as connection:
            if connection.dialect.name == "sqlite":
                ask = connection.exec_driver_sql
                assert ask("PRAGMA integrity_check").all() == [("ok",)]
                assert ask("PRAGMA foreign_key_check").all() == []
            rows = [
                row
                for table in (instances, objects)
                for row in connection.execute(select(table.c.spool_path, table.c.sha256))
            ]
        return sum(self.spool.digest(path) != sha256 for path, sha256 in rows)


@contextlib.contextmanager
def fault_site(
    folder: Path, bundle: Path, *, forks: bool = False, database_url: str | None = None
) -> Iterator[FaultSite]:
    """Start the destinations; the daemon is not started yet. `forks`: see `serve`."""
    if forks:
        os.environ[FORKS] = "1"
    plain, archive = CountingArchive(), CountingArchive()
    with running_archive(plain, classes=CLASSES), running_archive(archive, classes=CLASSES):
        daemon = FaultyDaemon(folder, bundle, plain, archive, database_url)
        plain.node_port = archive.node_port = daemon.port
        try:
            yield FaultSite(daemon, plain, archive)
        finally:
            daemon.disarm()
            if daemon.is_running:
                daemon.stop()
            for name in (FOLDER, ROOT, FORKS):
                os.environ.pop(name, None)
