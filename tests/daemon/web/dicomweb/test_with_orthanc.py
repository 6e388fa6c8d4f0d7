"""Orthanc's DICOMweb plugin as client of the running daemon: store, search, retrieve."""

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from dicom_io.read.header import read_header
from tests.builders.images.films import film
from tests.servers.dicom.orthanc import Orthanc, running_orthanc
from tests.servers.dicom.pacs import RecordingPacs
from tests.servers.running import RunningDaemon
from tests.tools.ports import HOST, free_port
from tests.tools.waiting import wait_until

pytestmark = [pytest.mark.daemon, pytest.mark.network, pytest.mark.slow]

TOKEN = "orthanc-token-of-20-characters"  # noqa: S105 - of a test
PLUGIN = Path("/usr/share/orthanc/plugins/libOrthancDicomWeb.so")


@pytest.fixture
def web_port() -> int:
    return free_port()


@pytest.fixture
def client(tmp_path: Path, web_port: int) -> Iterator[Orthanc]:
    """An Orthanc that knows the daemon as a server of DICOMweb."""
    if not PLUGIN.exists():
        pytest.skip("the DICOMweb plugin of Orthanc is not installed")
    folder = tmp_path / "orthanc"
    folder.mkdir()
    server = {
        "Url": f"http://{HOST}:{web_port}/dicom-web/",
        "HttpHeaders": {"Authorization": f"Bearer {TOKEN}"},
    }
    settings = {"Plugins": [str(PLUGIN)], "DicomWeb": {"Servers": {"cxrd": server}}}
    with running_orthanc(folder, settings) as running:
        yield running


def test_orthanc_stores_here_and_fetches_film_and_results(
    client: Orthanc, web_port: int, tmp_path: Path, bundle: Path, pacs: RecordingPacs
) -> None:
    clients = [{"name": "orthanc", "token": TOKEN, "stores": True, "reads": "own"}]
    changes = {"web": {"port": web_port}, "dicomweb": {"clients": clients}}
    image = film("orthanc by web", heart_failure=True)
    header = read_header(image)
    study = header.study_instance_uid
    with RunningDaemon(tmp_path / "node", bundle, pacs.port, changes) as daemon:
        stored = client.call("/instances", image)
        client.call("/dicom-web/servers/cxrd/stow", _json(Resources=[stored["ID"]]))
        with daemon.store() as store:
            wait_until(lambda: bool(store.results.study(study).reports), "the report is made")
            (row,) = store.results.study(study).instances
            assert row.calling_ae_title == "orthanc"
            results = 1 + len(row.objects)
        wait_until(lambda: "SR" in pacs.modalities.values(), "the report is delivered")
        client.call(f"/instances/{stored['ID']}", method="DELETE")
        found = client.call(
            "/dicom-web/servers/cxrd/qido",
            _json(Uri="/studies", Arguments={"PatientID": header.patient_id}),
        )
        assert [one["0020000D"]["Value"] for one in found] == [study]
        client.call("/dicom-web/servers/cxrd/retrieve", _json(Resources=[{"Study": study}]))
        kept = client.call("/instances?expand")
        assert len(kept) == 1 + results
        uids = {one["MainDicomTags"]["SOPInstanceUID"] for one in kept}
        assert header.sop_instance_uid in uids


def _json(**values: object) -> bytes:
    return json.dumps({**values, "Synchronous": True}).encode()
