"""A real Orthanc on loopback, started for a test and stopped after it."""

import json
import subprocess
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from tests.servers.running import RunningDaemon
from tests.tools.installed import require_tool
from tests.tools.ports import HOST, NODE, free_port
from tests.tools.waiting import wait_until

AE_TITLE = "ORTHANC"
_PLUGIN = Path("/usr/share/orthanc/plugins/libOrthancDicomWeb.so")


class Orthanc:
    """An Orthanc with an empty store and its REST interface, on loopback."""

    def __init__(self, folder: Path, more: dict[str, Any] | None = None) -> None:
        self.dicom_port = free_port()
        self.http_port = free_port()
        settings = {
            "StorageDirectory": str(folder / "storage"),
            "IndexDirectory": str(folder / "storage"),
            "DicomAet": AE_TITLE,
            "DicomPort": self.dicom_port,
            "HttpPort": self.http_port,
            "RemoteAccessAllowed": False,
            "AuthenticationEnabled": False,
            **(more or {}),
        }
        self.settings_path = folder / "orthanc.json"
        self.settings_path.write_text(json.dumps(settings), encoding="utf-8")

    def call(self, path: str, body: bytes | None = None, method: str | None = None) -> Any:
        """Make a REST call: a GET, or a POST if there is a body, unless `method` names another."""
        return json.loads(self._ask(path, body, method) or b"null")

    def modified(self, instance: str, keep: list[str], **replace: str) -> bytes:
        """Let Orthanc make another instance of one that it has, and return that one's file."""
        body = {"Replace": replace, "Keep": keep, "Force": True}
        return self._ask(f"/instances/{instance}/modify", json.dumps(body).encode())

    def _ask(self, path: str, body: bytes | None = None, method: str | None = None) -> bytes:
        url = f"http://{HOST}:{self.http_port}{path}"
        request = urllib.request.Request(url, body, method=method)
        with urllib.request.urlopen(request, timeout=30) as answer:
            content: bytes = answer.read()
        return content

    @property
    def web_url(self) -> str:
        """The root of DICOMweb, of an Orthanc with the settings of `with_dicomweb`."""
        return f"http://{HOST}:{self.http_port}/dicom-web"

    def know(self, daemon: RunningDaemon, **more: Any) -> None:
        """Make the daemon a modality called `cxrd`."""
        address = {"AET": NODE, "Host": HOST, "Port": daemon.port}
        modality = {**address, "AllowStorageCommitment": True, **more}
        self.call("/modalities/cxrd", json.dumps(modality).encode(), "PUT")

    def ask_for_commitment(self, *instances: tuple[str, str]) -> dict[str, Any]:
        """Ask the daemon to commit to (SOP class, SOP instance) pairs and return its answer."""
        body = json.dumps({"DicomInstances": instances}).encode()
        asked = self.call("/modalities/cxrd/storage-commitment", body)
        report: dict[str, Any] = {}

        def answered() -> bool:
            report.update(self.call(asked["Path"]))
            return bool(report["Status"] != "Pending")

        wait_until(answered, "the daemon answers")
        return report

    def is_up(self) -> bool:
        try:
            return bool(self.call("/system"))
        except OSError:
            return False


def with_dicomweb(**more: Any) -> dict[str, Any]:
    """Return settings for the plugin DICOMweb; skip the test where it is not installed."""
    if not _PLUGIN.exists():
        pytest.skip(f"no {_PLUGIN} (Debian: orthanc-dicomweb)")
    return {"Plugins": [str(_PLUGIN)], "DicomWeb": {"Enable": True, **more}}


@contextmanager
def running_orthanc(folder: Path, more: dict[str, Any] | None = None) -> Iterator[Orthanc]:
    program = require_tool("Orthanc")
    server = Orthanc(folder, more)
    log = (folder / "orthanc.log").open("wb")
    with log, subprocess.Popen([program, str(server.settings_path)], stdout=log, stderr=log) as run:
        try:
            wait_until(server.is_up, "Orthanc answers")
            yield server
        finally:
            run.terminate()
