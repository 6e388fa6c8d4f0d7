"""The servers that the benchmarks send to: cxrd, dcmtk's storescp and Orthanc, on loopback."""

import contextlib
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import yaml

from tests.benchmarks.setting import PeerMissingError
from tests.servers.dicom.orthanc import running_orthanc
from tests.servers.running import SpawningDaemon
from tests.tools.ports import HOST, PACS, SENDER, free_port
from tests.tools.waiting import wait_until

LARGEST_PDU = 131_072
"""The largest PDU that dcmtk's programs receive."""


def find_program(name: str) -> str | None:
    """Return the path of an installed program, without the Python scripts of the same name."""
    own = Path(sys.executable).parent.resolve()
    folders = [*os.environ.get("PATH", "").split(os.pathsep), "/usr/bin", "/usr/sbin"]
    elsewhere = [folder for folder in folders if folder and Path(folder).resolve() != own]
    return shutil.which(name, path=os.pathsep.join(elsewhere))


def program(name: str) -> str:
    """Return the path of an installed program. Raises PeerMissingError."""
    path = find_program(name)
    if path is None:
        packages = "Debian packages: dcmtk, orthanc"
        raise PeerMissingError(f"{name} is not installed ({packages})")
    return path


@contextlib.contextmanager
def sending_at_once(wanted: bool = True) -> Iterator[None]:
    """Let dcmtk's programs and Orthanc that start meanwhile switch Nagle's algorithm off.

    With it, which is their default, they hold back the end of a message for up to 40 ms.
    """
    if not wanted:
        yield
        return
    os.environ["TCP_NODELAY"] = "1"
    try:
        yield
    finally:
        del os.environ["TCP_NODELAY"]


@contextlib.contextmanager
def storescp(folder: Path, *options: str) -> Iterator[int]:
    """Run storescp into `folder` and yield its port. It neither syncs nor checks what it writes."""
    folder.mkdir(parents=True, exist_ok=True)
    port = free_port()
    command = [program("storescp"), *options, "-od", str(folder), str(port)]
    echo = [program("echoscu"), HOST, str(port)]
    with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as process:
        try:
            wait_until(
                lambda: subprocess.run(echo, capture_output=True, check=False).returncode == 0,
                "storescp is up",
            )
            yield port
        finally:
            process.terminate()


@contextlib.contextmanager
def orthanc(folder: Path) -> Iterator[int]:
    """Run Orthanc with its defaults and yield its DICOM port. It syncs every file."""
    program("Orthanc")
    folder.mkdir(parents=True, exist_ok=True)
    with running_orthanc(folder) as server:
        yield server.dicom_port


class Serve(SpawningDaemon):
    """`cxrd serve` as users run it: the starter bundle and all defaults but addresses."""

    def __init__(
        self, folder: Path, pacs_port: int | None = None, changes: dict[str, Any] | None = None
    ) -> None:
        super().__init__(folder, Path("starter"), pacs_port or free_port())
        values = yaml.safe_load(self.config.read_text(encoding="utf-8"))
        sender = {"name": "sender", "ae_title": SENDER, "sends": True}
        destination = {
            "name": "pacs",
            "ae_title": PACS,
            "host": HOST,
            "port": pacs_port,
            "receives": ["report", "heatmap"],
        }
        kept = {
            "data_dir": values["data_dir"],
            "listener": values["listener"],
            "web": values["web"],
            "peers": [sender, *([destination] if pacs_port else [])],
            **(changes or {}),
        }
        self.config.write_text(yaml.safe_dump(kept), encoding="utf-8")


@contextlib.contextmanager
def serve(folder: Path, changes: dict[str, Any] | None = None) -> Iterator[int]:
    """Run `cxrd serve` without a destination and yield its port: all roles, all durable."""
    with Serve(folder, changes=changes) as daemon:
        yield daemon.port


@contextlib.contextmanager
def listener(folder: Path) -> Iterator[int]:
    """Run the listener's role alone in a process and yield its port: no film is analysed."""
    daemon = Serve(folder)
    command = [sys.executable, "-m", "tests.benchmarks.sides.listener_role", str(daemon.config)]
    with (
        daemon.log_path.open("wb") as log,
        subprocess.Popen(command, stdout=subprocess.PIPE, stderr=log) as process,
    ):
        assert process.stdout is not None
        try:
            assert process.stdout.readline() == b"ready\n", daemon.log
            yield daemon.port
        finally:
            process.terminate()


def emptied(folder: Path) -> None:
    """Delete a run's files and let the disk finish, so that the next run finds it idle."""
    shutil.rmtree(folder, ignore_errors=True)
    os.sync()
    time.sleep(0.2)
