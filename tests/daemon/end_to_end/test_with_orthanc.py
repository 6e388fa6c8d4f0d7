"""The running daemon with Orthanc as its PACS."""

from pathlib import Path
from typing import Any

import pytest

from dicom_io.objects.classes import REPORT_CLASSES
from dicom_io.objects.encode import to_bytes
from dicom_io.objects.source_header import Identity
from dicom_io.objects.uids import derived_uid
from dicom_io.read.header import read_dataset, read_header
from dicom_io.report.document import build_report
from dicom_io.report.older_classes import as_class
from dicom_io.send.association import Destination
from dicom_io.send.sender import Sender
from dicom_io.send.store_status import Disposition
from storage.records import JobKind, JobState
from storage.store import Store
from tests.builders.images.films import film
from tests.builders.images.odd_headers import every_film
from tests.builders.objects import NOW, report_content
from tests.servers.dicom.orthanc import AE_TITLE, Orthanc
from tests.servers.running import RunningDaemon
from tests.tools.ports import HOST, NODE
from tests.tools.waiting import wait_until

pytestmark = [pytest.mark.daemon, pytest.mark.network]


def settled(store: Store) -> bool:
    """Return True if there are commitment requests and all are done."""
    return {job.state for job in store.jobs.list(kind=JobKind.COMMIT)} == {JobState.DONE}


def peer_of(orthanc: Orthanc, **changes: Any) -> dict[str, Any]:
    return {
        "name": "orthanc",
        "ae_title": AE_TITLE,
        "host": HOST,
        "port": orthanc.dicom_port,
        "sends": True,
        "receives": ["report", "heatmap"],
        **changes,
    }


def test_orthanc_gets_all_results_in_the_study_it_sent(
    orthanc: Orthanc, tmp_path: Path, bundle: Path
) -> None:
    everything = ["report", "heatmap", "summary", "presentation_state", "segmentation"]
    peers = [peer_of(orthanc, receives=everything, picture_syntax="rle")]
    image = film("orthanc", heart_failure=True)
    with RunningDaemon(tmp_path / "node", bundle, 1, {"peers": peers}) as daemon:
        stored = orthanc.call("/instances", image)
        orthanc.know(daemon)
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


@pytest.mark.slow
def test_orthanc_and_the_daemon_commit_to_each_other(
    orthanc: Orthanc, tmp_path: Path, bundle: Path
) -> None:
    changes = {
        "peers": [peer_of(orthanc, commitment=True)],
        "commitment": {"delay_seconds": 1, "same_association_seconds": 0.5},
    }
    image = film("committed")
    header = read_header(image)
    with RunningDaemon(tmp_path / "node", bundle, 1, changes) as daemon:
        stored = orthanc.call("/instances", image)
        orthanc.know(daemon)
        orthanc.call("/modalities/cxrd/store", stored["ID"].encode())
        with daemon.store() as store:
            wait_until(
                lambda: " committed " in next(iter(store.export.rows()), {}).get("deliveries", ""),
                "the report is committed to",
            )
            wait_until(lambda: settled(store), "everything is")
        name = (header.sop_class_uid, header.sop_instance_uid)
        kept = orthanc.ask_for_commitment(name)
        unknown = orthanc.ask_for_commitment(name, (header.sop_class_uid, "1.2.3.404"))
    assert kept["Status"] == "Success"
    assert [item["SOPInstanceUID"] for item in kept["Success"]] == [header.sop_instance_uid]
    assert unknown["Status"] == "Failure"
    assert [item["SOPInstanceUID"] for item in unknown["Failures"]] == ["1.2.3.404"]
    assert unknown["Failures"][0]["FailureReason"] == 0x0112


@pytest.mark.slow
def test_orthanc_stores_the_report_on_every_header_in_every_class(orthanc: Orthanc) -> None:
    destination = Destination("orthanc", AE_TITLE, HOST, orthanc.dicom_port, NODE)
    sent = set()
    with Sender(destination) as sender:
        for case, data in every_film():
            header = read_dataset(data, with_pixels=False)
            identity = Identity(derived_uid(case, "", "report"), "2.25.72", 1, 1, NOW)
            content = report_content(header, identity=identity)
            for sop_class in REPORT_CLASSES:
                report = as_class(build_report(content), sop_class)
                result = sender.send(to_bytes(report))
                assert result.disposition is Disposition.DELIVERED, (case, result.detail)
                assert result.sop_class_uid == sop_class
                sent.add(str(report.SOPInstanceUID))
    stored = orthanc.call("/instances?expand")
    assert {item["MainDicomTags"]["SOPInstanceUID"] for item in stored} == sent
