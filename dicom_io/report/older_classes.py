"""A report for archives that take no Comprehensive 3D SR: the same document as an older SOP class.

Comprehensive SR (PS3.3 A.35.3) and Enhanced SR (A.35.2) hold the content of `report_content` as it
is: it has no 3D coordinates and no by-reference relationships. An object of another SOP class is
another instance, so the fallback has a UID of its own, derived from the report's. Everything in it
follows from the report alone, so two archives that get the same class get the same bytes. As
predecessor it names the fallback of the report's predecessor: that is what an archive holds that
took this class before.
"""

import copy
from collections.abc import Container
from pathlib import Path

from pydicom.dataset import Dataset

from dicom_io.objects.classes import REPORT_CLASS, REPORT_CLASSES
from dicom_io.objects.encode import to_bytes
from dicom_io.objects.uids import derived_uid
from dicom_io.read.header import read_dataset, read_header


def fallback_uid(report_uid: str, sop_class_uid: str) -> str:
    """UID of a report in the given SOP class; the report's own where that is its class."""
    if sop_class_uid == REPORT_CLASS:
        return report_uid
    return derived_uid(report_uid, "", f"report:{sop_class_uid}")


def as_class(report: Dataset, sop_class_uid: str) -> Dataset:
    """The report as another SOP class of REPORT_CLASSES; the given one stays as it is."""
    ds = copy.deepcopy(report)
    ds.SOPClassUID = sop_class_uid
    ds.SOPInstanceUID = fallback_uid(str(report.SOPInstanceUID), sop_class_uid)
    for study in ds.get("PredecessorDocumentsSequence", ()):
        for series in study.ReferencedSeriesSequence:
            for document in series.ReferencedSOPSequence:
                if document.ReferencedSOPClassUID == REPORT_CLASS:
                    uid = str(document.ReferencedSOPInstanceUID)
                    document.ReferencedSOPInstanceUID = fallback_uid(uid, sop_class_uid)
                    document.ReferencedSOPClassUID = sop_class_uid
    return ds


def for_destination(source: bytes | Path, accepted: Container[str]) -> bytes | Path:
    """The object as a destination takes it that accepted these SOP classes.

    Only a report is changed, into the first of REPORT_CLASSES that was accepted. Where none was,
    or for anything else, the source is returned: sending it says what is refused. Raises
    NotDicomError.
    """
    if read_header(source).sop_class_uid != REPORT_CLASS or REPORT_CLASS in accepted:
        return source
    for sop_class_uid in REPORT_CLASSES:
        if sop_class_uid in accepted:
            return to_bytes(as_class(read_dataset(source), sop_class_uid))
    return source
