"""Rejection notes: Key Object Selections by which an archive withdraws images.

IHE Radiology, Imaging Object Change Management (RAD TF-3 4.66). The document title is a code of
PS3.16 CID 7011, and the content names the rejected instances (PS3.16 TID 2010).
"""

from collections.abc import Iterator
from dataclasses import dataclass

from pydicom import Dataset
from pydicom.uid import KeyObjectSelectionDocumentStorage

from dicom_io.errors import NotDicomError
from dicom_io.gate.reasons import rejection_meaning
from dicom_io.read.header import all_items, is_uid, text

_SCHEME = "DCM"
_MOST_ITEMS = 20_000


@dataclass(frozen=True, slots=True)
class Rejection:
    """The code of a rejection note (DCM) and the SOP Instance UIDs of the rejected instances."""

    code: str
    sop_instance_uids: tuple[str, ...]

    @property
    def detail(self) -> str:
        """The code, its meaning and the number of instances, for people."""
        meaning = rejection_meaning(self.code)
        return f"{self.code} ({meaning}): {len(self.sop_instance_uids)} instance(s)"


def read_rejection(ds: Dataset) -> Rejection | None:
    """Return the rejection that an object records; None if it is not a rejection note.

    The instances are those that the content names; if it names none, those of the Current
    Requested Procedure Evidence Sequence. Raises NotDicomError if a sequence is malformed or names
    more than 20,000 items, or if no instance is named.
    """
    if text(ds, "SOPClassUID") != KeyObjectSelectionDocumentStorage:
        return None
    code = _title(ds)
    if code is None:
        return None
    uids = tuple(dict.fromkeys(_content(ds))) or tuple(dict.fromkeys(_evidence(ds)))
    if not uids:
        raise NotDicomError(f"a rejection note ({code}) that names no instance")
    return Rejection(code, uids)


def _title(ds: Dataset) -> str | None:
    for item in all_items(ds, "ConceptNameCodeSequence", most=_MOST_ITEMS):
        code = text(item, "CodeValue")
        if text(item, "CodingSchemeDesignator") == _SCHEME and rejection_meaning(code):
            return code
    return None


def _content(ds: Dataset) -> Iterator[str]:
    for item in all_items(ds, "ContentSequence", most=_MOST_ITEMS):
        yield from _references(item)


def _evidence(ds: Dataset) -> Iterator[str]:
    for study in all_items(ds, "CurrentRequestedProcedureEvidenceSequence", most=_MOST_ITEMS):
        for series in all_items(study, "ReferencedSeriesSequence", most=_MOST_ITEMS):
            yield from _references(series)


def _references(item: Dataset) -> Iterator[str]:
    for reference in all_items(item, "ReferencedSOPSequence", most=_MOST_ITEMS):
        uid = text(reference, "ReferencedSOPInstanceUID")
        if is_uid(uid):
            yield uid
