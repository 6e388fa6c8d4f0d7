"""Fallback of a report for archives that refuse Comprehensive 3D SR: an older SOP class.

Comprehensive SR (PS3.3 A.35.3) and Enhanced SR (A.35.2) hold the same content tree, because the
tree has no 3D coordinates and no by-reference relationships. An object of another SOP class is
another instance: the fallback has its own UID, derived from that of the report. The fallback
depends only on the report, so all archives that accept the same class get the same bytes. Its
predecessor is the fallback of the report's predecessor, which is the object that such an archive
already holds. So are the reports on earlier studies that it names.
"""

import copy
from collections.abc import Container
from pathlib import Path

from pydicom.dataset import Dataset

from dicom_io.objects.classes import REPORT_CLASS, REPORT_CLASSES
from dicom_io.objects.codes import PREVIOUS_FINDINGS, PRIOR_REPORT
from dicom_io.objects.encode import to_bytes
from dicom_io.objects.uids import derived_uid
from dicom_io.read.header import read_dataset, read_header
from dicom_io.report.reading.content_items import named


def fallback_uid(report_uid: str, sop_class_uid: str) -> str:
    """Return the UID of a report in a SOP class; for REPORT_CLASS the UID of the report."""
    if sop_class_uid == REPORT_CLASS:
        return report_uid
    return derived_uid(report_uid, "", f"report:{sop_class_uid}")


def as_class(report: Dataset, sop_class_uid: str) -> Dataset:
    """Return a copy of the report in another SOP class of REPORT_CLASSES."""
    ds = copy.deepcopy(report)
    ds.SOPClassUID = sop_class_uid
    ds.SOPInstanceUID = fallback_uid(str(report.SOPInstanceUID), sop_class_uid)
    for keyword in ("PredecessorDocumentsSequence", "PertinentOtherEvidenceSequence"):
        for study in ds.get(keyword, ()):
            for series in study.ReferencedSeriesSequence:
                for document in series.ReferencedSOPSequence:
                    _name_fallback(document, sop_class_uid)
    for container in named(ds.ContentSequence, PREVIOUS_FINDINGS.value):
        for item in named(container.ContentSequence, PRIOR_REPORT.value):
            _name_fallback(item.ReferencedSOPSequence[0], sop_class_uid)
    return ds


def _name_fallback(document: Dataset, sop_class_uid: str) -> None:
    """Have a reference to a report name its fallback."""
    if document.ReferencedSOPClassUID == REPORT_CLASS:
        uid = str(document.ReferencedSOPInstanceUID)
        document.ReferencedSOPInstanceUID = fallback_uid(uid, sop_class_uid)
        document.ReferencedSOPClassUID = sop_class_uid


def report_for_destination(source: bytes | Path, accepted: Container[str]) -> bytes | Path:
    """Return an object in a SOP class that the destination accepted.

    A report is converted to the first accepted class of REPORT_CLASSES. If the destination
    accepted no such class, and for an object that is not a report, the source is returned
    unchanged; the send then fails with the class that is refused. Raises NotDicomError.
    """
    if REPORT_CLASS in accepted or read_header(source).sop_class_uid != REPORT_CLASS:
        return source
    for sop_class_uid in REPORT_CLASSES:
        if sop_class_uid in accepted:
            return to_bytes(as_class(read_dataset(source), sop_class_uid))
    return source
