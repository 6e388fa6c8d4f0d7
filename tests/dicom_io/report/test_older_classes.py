import subprocess
import time
from dataclasses import replace
from io import BytesIO
from pathlib import Path
from typing import Any

import highdicom
import pydicom
import pytest
from pydicom.uid import ComprehensiveSRStorage, EnhancedSRStorage

from dicom_io.objects.classes import REPORT_CLASS, REPORT_CLASSES
from dicom_io.objects.encode import to_bytes
from dicom_io.read.image_header import ImageHeader
from dicom_io.report.content import ObjectReference, ReportContent, ReportedImage
from dicom_io.report.document import build_report
from dicom_io.report.older_classes import as_class, fallback_uid, report_for_destination
from dicom_io.report.text import report_text
from dicom_io.send.sender import Sender, echo
from dicom_io.send.store_status import Disposition
from tests.builders.objects import STUDY, findings, full_header, report_content, written
from tests.servers.dicom.storage_archive import FILM, destination
from tests.tools.installed import require_tool
from tests.tools.ports import free_port
from tests.tools.validation import OUTLINE, dump, validate

pytestmark = pytest.mark.network

OLDER = [str(ComprehensiveSRStorage), str(EnhancedSRStorage)]
PREDECESSOR = ObjectReference(REPORT_CLASS, f"{STUDY}.7", f"{STUDY}.6", STUDY)


@pytest.fixture
def content() -> ReportContent:
    """A report with an outline and a predecessor."""
    outlined = [replace(f, outline=OUTLINE if f.present else None) for f in findings()]
    return report_content(
        full_header(),
        sources=[ReportedImage(ImageHeader.of(full_header()), outlined)],
        predecessor=PREDECESSOR,
    )


@pytest.mark.parametrize("sop_class", OLDER)
def test_the_older_classes_hold_the_whole_report(
    content: ReportContent, sop_class: str, tmp_path: Path
) -> None:
    report = build_report(content)
    path = written(as_class(report, sop_class), tmp_path)
    assert validate(path) == []
    assert report_text(pydicom.dcmread(path)) == report_text(report)
    read: Any = highdicom.sr.srread(path)
    assert read.SOPClassUID == sop_class
    assert len(read.content.get_planar_roi_measurement_groups()) == 1
    assert len(read.content.get_image_measurement_groups()) == 13
    assert dump(path).count('"Absent"') == 13


@pytest.mark.parametrize("sop_class", OLDER)
def test_a_fallback_is_another_instance_with_the_same_bytes_each_time(
    content: ReportContent, sop_class: str
) -> None:
    report = build_report(content)
    before = to_bytes(report)
    made = as_class(report, sop_class)
    assert made.SOPInstanceUID == fallback_uid(report.SOPInstanceUID, sop_class)
    assert to_bytes(made) == to_bytes(as_class(report, sop_class))
    assert to_bytes(report) == before
    uids = {fallback_uid(report.SOPInstanceUID, uid) for uid in REPORT_CLASSES}
    assert len(uids) == 3
    assert report.SOPInstanceUID in uids


@pytest.mark.parametrize("sop_class", OLDER)
def test_a_fallback_names_the_predecessor_of_its_class(
    content: ReportContent, sop_class: str
) -> None:
    [study] = as_class(build_report(content), sop_class).PredecessorDocumentsSequence
    [document] = study.ReferencedSeriesSequence[0].ReferencedSOPSequence
    assert document.ReferencedSOPClassUID == sop_class
    identity = replace(content.identity, sop_instance_uid=PREDECESSOR.sop_instance_uid)
    earlier = replace(content, predecessor=None, identity=identity)
    sent_before = as_class(build_report(earlier), sop_class)
    assert document.ReferencedSOPInstanceUID == sent_before.SOPInstanceUID


def test_only_a_report_that_is_not_accepted_is_converted(content: ReportContent) -> None:
    report = to_bytes(build_report(content))
    assert report_for_destination(report, REPORT_CLASSES) is report
    assert report_for_destination(report, []) is report
    assert report_for_destination(FILM, OLDER) is FILM
    changed = report_for_destination(report, OLDER)
    assert isinstance(changed, bytes)
    assert pydicom.dcmread(BytesIO(changed)).SOPClassUID == ComprehensiveSRStorage


@pytest.mark.parametrize(
    ("sop_class", "name"),
    [(OLDER[0], "ComprehensiveSRStorage"), (OLDER[1], "EnhancedSRStorage")],
)
def test_a_dcmtk_archive_that_accepts_an_older_class_stores_the_report(
    content: ReportContent, sop_class: str, name: str, tmp_path: Path
) -> None:
    profile = tmp_path / "storescp.cfg"
    profile.write_text(
        "[[TransferSyntaxes]]\n[Plain]\nTransferSyntax1 = LittleEndianExplicit\n"
        "[[PresentationContexts]]\n[Old]\n"
        f"PresentationContext1 = {name}\\Plain\n"
        "PresentationContext2 = VerificationSOPClass\\Plain\n"
        "[[Profiles]]\n[Archive]\nPresentationContexts = Old\n",
        encoding="ascii",
    )
    port, folder = free_port(), tmp_path / "archive"
    folder.mkdir()
    scp = require_tool("storescp")
    command = [scp, "-aet", "PACS", "-xf", str(profile), "Archive", "-od", str(folder), str(port)]
    report = build_report(content)
    with subprocess.Popen(command) as process:
        try:
            deadline = time.monotonic() + 10
            while not echo(destination(port), sop_classes=[sop_class]).ok:
                assert time.monotonic() < deadline
                time.sleep(0.1)
            with Sender(destination(port)) as sender:
                result = sender.send(to_bytes(report))
        finally:
            process.terminate()
    assert (result.disposition, result.sop_class_uid) == (Disposition.DELIVERED, sop_class)
    [stored] = folder.iterdir()
    assert pydicom.dcmread(stored).SOPInstanceUID == fallback_uid(report.SOPInstanceUID, sop_class)
    assert validate(stored) == []
