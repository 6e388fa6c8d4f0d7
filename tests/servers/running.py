"""The real daemon as a child process."""

import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import yaml

from dicom_io.send.association import Destination
from dicom_io.send.sender import Sender, pair_of
from dicom_io.send.store_status import Disposition
from storage.store import Store
from tests.tools.cli import cxrd, cxrd_process
from tests.tools.ports import HOST, NODE, PACS, SENDER, free_port
from tests.tools.waiting import wait_until


class RunningDaemon:
    """`cxrd serve` with a configuration of its own; a context manager.

    Its roles are forked, which halves the work of a start: see `tests.servers.forking`.
    """

    module = "tests.servers.forking"
    options: tuple[str, ...] = ()
    prefix: tuple[str, ...] = ()
    """Words before the command that starts the daemon."""
    variables: Mapping[str, str] = {}
    """Variables of its environment beside those of the test."""

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
            "study": {"quiet_seconds": 0.3},
            "analyst": {"retry_seconds": 0.2},
            "courier": {"retry_seconds": 0.1, "retry_max_seconds": 1},
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
        }
        for name, value in (changes or {}).items():
            values[name] = {**values.get(name, {}), **value} if isinstance(value, dict) else value
        self.database_url: str = values.get(
            "database_url", f"sqlite:///{self.data / 'cxrd.sqlite'}"
        )
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
                    *self.prefix,
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
                env={
                    **{name: value for name, value in os.environ.items() if name[:5] != "CXRD_"},
                    **self.variables,
                },
            )
        wait_until(self._is_ready, "the daemon is ready")

    def _is_ready(self) -> bool:
        assert self._process is not None
        assert self._process.poll() is None, self.log
        return self.log.count("cxrd is ready") == self._starts

    def stop(self) -> tuple[int, float]:
        """Send SIGTERM and return the exit status and the seconds until then."""
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
        """Return the number of the role's latest process."""
        return int(re.findall(rf"{role} started, process (\d+)", self.log)[-1])

    def kill(self, role: str) -> None:
        os.kill(self.process_of(role), signal.SIGKILL)

    def store(self) -> Store:
        return Store.open(self.database_url, migrate=False)

    def send(self, *objects: bytes, ae_title: str = SENDER) -> None:
        """Send objects in one association; fail unless each is acknowledged."""
        destination = Destination(
            name="cxrd", ae_title=NODE, host=HOST, port=self.port, calling_ae_title=ae_title
        )
        pairs = [pair_of(data) for data in objects]
        with Sender(destination, sop_classes=(), also=pairs) as sender:
            for data in objects:
                result = sender.send(data)
                assert result.disposition is Disposition.DELIVERED, result.detail

    def run(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        """Run another `cxrd` command with the same configuration."""
        command = cxrd_process if arguments[0] == "serve" else cxrd
        return command(*arguments, "--config", str(self.config), cwd=self.config.parent)


class SpawningDaemon(RunningDaemon):
    """`cxrd serve` as its users start it: each role is a process started anew."""

    module = "daemon"
