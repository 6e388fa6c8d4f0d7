"""The running daemon against a real PACS: Orthanc sends a film and gets back what was found."""

import json
import subprocess
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from dicom_io.header import read_header
from tests.daemon.running import HOST, NODE, RunningDaemon, film, free_port, wait_until
from tests.tools import require_tool

AE_TITLE = "ORTHANC"


class Orthanc:
    """An Orthanc with an empty store and its REST interface, on loopback."""

    def __init__(self, folder: Path) -> None:
        self.dicom_port = free_port()
        self._http_port = free_port()
        settings = {
            "StorageDirectory": str(folder / "storage"),
            "IndexDirectory": str(folder / "storage"),
            "DicomAet": AE_TITLE,
            "DicomPort": self.dicom_port,
            "HttpPort": self._http_port,
            "RemoteAccessAllowed": False,
            "AuthenticationEnabled": False,
        }
        self.settings_path = folder / "orthanc.json"
        self.settings_path.write_text(json.dumps(settings), encoding="utf-8")

    def call(self, path: str, body: bytes | None = None, method: str | None = None) -> Any:
        """One REST call; POST where there is a body and nothing else is asked for."""
        url = f"http://{HOST}:{self._http_port}{path}"
        request = urllib.request.Request(url, body, method=method)
        with urllib.request.urlopen(request, timeout=30) as answer:
            return json.loads(answer.read() or b"null")

    def is_up(self) -> bool:
        try:
            return bool(self.call("/system"))
        except OSError:
            return False


@pytest.fixture
def orthanc(tmp_path: Path) -> Iterator[Orthanc]:
    program = require_tool("Orthanc")
    server = Orthanc(tmp_path)
    log = (tmp_path / "orthanc.log").open("wb")
    with log, subprocess.Popen([program, str(server.settings_path)], stdout=log, stderr=log) as run:
        try:
            wait_until(server.is_up, "Orthanc answers")
            yield server
        finally:
            run.terminate()


def test_orthanc_gets_all_results_in_the_study_it_sent(
    orthanc: Orthanc, tmp_path: Path, bundle: Path
) -> None:
    peers = [
        {
            "name": "orthanc",
            "ae_title": AE_TITLE,
            "host": HOST,
            "port": orthanc.dicom_port,
            "sends": True,
            "receives": ["report", "heatmap", "summary", "presentation_state", "segmentation"],
            "picture_syntax": "rle",
        }
    ]
    image = film("orthanc", heart_failure=True)
    with RunningDaemon(tmp_path / "node", bundle, 1, {"peers": peers}) as daemon:
        modality = {"AET": NODE, "Host": HOST, "Port": daemon.port}
        stored = orthanc.call("/instances", image)
        orthanc.call("/modalities/cxrd", json.dumps(modality).encode(), "PUT")
        orthanc.call("/modalities/cxrd/store", stored["ID"].encode())
        with daemon.store() as store:
            study = read_header(image).study_instance_uid
            wait_until(lambda: bool(store.results.study(study).reports), "the report is made")
            (instance,) = store.results.study(study).instances
        expected = 2 + len(instance.objects)
        wait_until(lambda: len(orthanc.call("/instances")) == expected, "Orthanc has everything")
    (only_study,) = orthanc.call("/studies?expand")
    assert only_study["MainDicomTags"]["StudyInstanceUID"] == study
    modalities = sorted(
        series["MainDicomTags"]["Modality"] for series in orthanc.call("/series?expand")
    )
    # Heatmaps are one series of OT, the summary sheet is another.
    assert modalities == ["CR", "OT", "OT", "PR", "SEG", "SR"]
