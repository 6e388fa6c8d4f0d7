"""Headers and contents to build objects from."""

from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime
from io import BytesIO
from pathlib import Path

import numpy as np
import pydicom
from pydicom.dataset import Dataset
from pydicom.uid import (
    Comprehensive3DSRStorage,
    ComputedRadiographyImageStorage,
    DigitalXRayImageStorageForPresentation,
)

from dicom_io.objects.algorithm import Algorithm
from dicom_io.objects.codes import FINDING_CODES
from dicom_io.objects.encode import to_bytes
from dicom_io.objects.secondary_capture import CaptureContent
from dicom_io.objects.source_header import Envelope, Identity
from dicom_io.objects.uids import heatmap_uid, report_uid, series_uid
from dicom_io.read.image_header import ImageHeader
from dicom_io.report.content import (
    NotAnalysed,
    ObjectReference,
    ReportContent,
    ReportedFinding,
    ReportedImage,
)
from tests.tools.validation import OUTLINE

SHA256 = "0123456789abcdef" * 4
ALGORITHM = Algorithm(
    name="starter",
    version="1.2.0",
    manufacturer="cxrd project",
    sha256=SHA256,
    calibrated=True,
    calibration="Platt scaling per label",
    intended_use="research on frontal chest radiographs of adults",
)
NOW = datetime(2024, 5, 6, 7, 8, 9, tzinfo=UTC)
STUDY = "1.2.826.0.1.3680043.8.498.1"
EARLIER_REPORT = ObjectReference(Comprehensive3DSRStorage, f"{STUDY}.7", f"{STUDY}.6", STUDY)
LATERAL = NotAnalysed(
    sop_class_uid=DigitalXRayImageStorageForPresentation,
    sop_instance_uid=f"{STUDY}.2.9",
    series_instance_uid=f"{STUDY}.2",
    reason="LATERAL_VIEW",
    detail="ViewPosition is LL",
)


def bare_header(number: int = 1) -> Dataset:
    """A header with only its UIDs, as some archives send it."""
    ds = Dataset()
    ds.SOPClassUID = ComputedRadiographyImageStorage
    ds.SOPInstanceUID = f"{STUDY}.1.{number}"
    ds.StudyInstanceUID = STUDY
    ds.SeriesInstanceUID = f"{STUDY}.1"
    return ds


def full_header(number: int = 1) -> Dataset:
    """Return a digital chest radiograph's header with every attribute that a report copies."""
    ds = bare_header(number)
    ds.SOPClassUID = DigitalXRayImageStorageForPresentation
    ds.SpecificCharacterSet = "ISO_IR 100"
    ds.PatientName = "Müller^Jürgen"
    ds.PatientID = "P-17"
    ds.PatientBirthDate = "19500102"
    ds.PatientSex = "M"
    ds.StudyDate = "20240505"
    ds.StudyTime = "101112"
    ds.AccessionNumber = "A-4711"
    ds.ReferringPhysicianName = "House^Gregory"
    ds.StudyID = "S1"
    ds.StudyDescription = "Thorax p.a."
    ds.Modality = "DX"
    ds.TimezoneOffsetFromUTC = "+0200"
    ds.SeriesNumber, ds.InstanceNumber = 3, number
    ds.Rows, ds.Columns = 64, 48
    ds.PatientOrientation = ["L", "F"]
    ds.ProcedureCodeSequence = [_code("RPID2503", "RADLEX", "XR CHEST 2 VIEWS")]
    ds.RequestAttributesSequence = [_request()]
    return ds


def _code(value: str, scheme: str, meaning: str) -> Dataset:
    item = Dataset()
    item.CodeValue = value
    item.CodingSchemeDesignator = scheme
    item.CodeMeaning = meaning
    return item


def _request() -> Dataset:
    item = Dataset()
    item.RequestedProcedureID = "RP-1"
    item.RequestedProcedureDescription = "Röntgen Thorax"
    item.ScheduledProcedureStepID = "SPS-1"
    return item


def findings(positive: Sequence[str] = ("Effusion",)) -> list[ReportedFinding]:
    """Return all 14 findings, the named ones present."""
    return [
        ReportedFinding(label, 0.75 if label in positive else 0.125, 0.5, label in positive)
        for label in FINDING_CODES
    ]


def report_content(*headers: Dataset, **changes: object) -> ReportContent:
    """Return a report on these headers; keyword arguments replace fields of ReportContent."""
    study = str(headers[0].StudyInstanceUID)
    fields: dict[str, object] = {
        "sources": [ReportedImage(ImageHeader.of(header), findings()) for header in headers],
        "not_analysed": [],
        "algorithm": ALGORITHM,
        "predecessor": None,
        "identity": Identity(
            report_uid(study, [str(h.SOPInstanceUID) for h in headers], SHA256),
            series_uid(study, SHA256, "report"),
            901,
            1,
            NOW,
        ),
    }
    return ReportContent(**(fields | changes))  # type: ignore[arg-type]


def two_image_content(**changes: object) -> ReportContent:
    """Return a report on two images: an outlined finding with its heatmap, and no finding.

    A lateral film is not analysed; keyword arguments replace fields of ReportContent.
    """
    uid = heatmap_uid(f"{STUDY}.1.1", SHA256, "Effusion")
    series = series_uid(STUDY, SHA256, "heatmap")
    heatmap = ObjectReference("1.2.840.10008.5.1.4.1.1.7", uid, series, STUDY)
    first = [replace(f, heatmap=heatmap, outline=OUTLINE) if f.present else f for f in findings()]
    sources = [
        ReportedImage(ImageHeader.of(full_header(1)), first, ["PixelSpacing is missing"]),
        ReportedImage(ImageHeader.of(full_header(2)), findings(())),
    ]
    fields: dict[str, object] = {"sources": sources, "not_analysed": [LATERAL]}
    return report_content(full_header(), **(fields | changes))


def whole_content(**changes: object) -> ReportContent:
    """Return `two_image_content` with a statement, an operating point and a predecessor."""
    fields: dict[str, object] = {
        "predecessor": EARLIER_REPORT,
        "algorithm": replace(ALGORITHM, operating_point="one false call per film"),
        "statements": ["1 image was rejected in the archive (111207, Image artifact): 1.2.3."],
    }
    return two_image_content(**(fields | changes))


def envelope(header: Dataset, identity: Identity) -> Envelope:
    """Return the envelope of an object made from the image with this header."""
    return Envelope(ImageHeader.of(header), ALGORITHM, identity)


def capture_content(
    header: Dataset, rgb: np.ndarray | None = None, identity: Identity | None = None
) -> CaptureContent:
    """Return a heatmap of an effusion on this header."""
    rows, columns = header.get("Rows", 64), header.get("Columns", 48)
    ramp = np.arange(rows * columns * 3, dtype=np.uint32).reshape(rows, columns, 3)
    default = Identity(
        heatmap_uid(str(header.SOPInstanceUID), SHA256, "Effusion"),
        series_uid(str(header.StudyInstanceUID), SHA256, "heatmap"),
        902,
        1,
        NOW,
    )
    pixels = (ramp % 251).astype(np.uint8) if rgb is None else rgb
    return CaptureContent(envelope(header, identity or default), pixels, "Effusion", 0.75, 0.5)


def written(ds: Dataset, folder: Path) -> Path:
    """Write an object to a file in the folder; return its path."""
    path = folder / "object.dcm"
    path.write_bytes(to_bytes(ds))
    return path


def read_back(ds: Dataset) -> Dataset:
    """Encode an object and read it again."""
    return pydicom.dcmread(BytesIO(to_bytes(ds)))
