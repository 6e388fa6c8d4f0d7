"""Rejection notes of an archive (IHE IOCM), as files."""

from collections.abc import Sequence

from pydicom import Dataset
from pydicom.dataset import FileDataset, FileMetaDataset
from pydicom.uid import (
    ComputedRadiographyImageStorage,
    ExplicitVRLittleEndian,
    KeyObjectSelectionDocumentStorage,
)

from dicom_io.read.header import Header
from tests.builders.images.films import file_bytes

MEANINGS = {
    "113001": "Rejected for Quality Reasons",
    "113037": "Rejected for Patient Safety Reasons",
    "113038": "Incorrect Modality Worklist Entry",
    "113039": "Data Retention Policy Expired",
    "113000": "Of Interest",
}


def rejection_note(
    films: Sequence[Header],
    code: str = "113001",
    *,
    number: int = 1,
    in_content: bool = True,
    in_evidence: bool = True,
) -> bytes:
    """Return a Key Object Selection that names these films of one study."""
    first = films[0]
    ds = FileDataset("", {}, file_meta=FileMetaDataset(), preamble=b"\0" * 128)
    ds.SOPClassUID = KeyObjectSelectionDocumentStorage
    ds.SOPInstanceUID = f"{first.study_instance_uid}.99.{number}"
    ds.StudyInstanceUID = first.study_instance_uid
    ds.SeriesInstanceUID = f"{first.study_instance_uid}.99"
    ds.PatientID, ds.PatientName = first.patient_id, first.patient_name
    ds.Modality, ds.ValueType, ds.ContinuityOfContent = "KO", "CONTAINER", "SEPARATE"
    ds.ConceptNameCodeSequence = [_code(code)]
    if in_content:
        ds.ContentSequence = [_content_item(film) for film in films]
    if in_evidence:
        ds.CurrentRequestedProcedureEvidenceSequence = [_evidence(films)]
    ds.file_meta.MediaStorageSOPClassUID = ds.SOPClassUID
    ds.file_meta.MediaStorageSOPInstanceUID = ds.SOPInstanceUID
    ds.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    return file_bytes(ds)


def _code(value: str) -> Dataset:
    item = Dataset()
    item.CodeValue, item.CodingSchemeDesignator = value, "DCM"
    item.CodeMeaning = MEANINGS[value]
    return item


def _reference(film: Header) -> Dataset:
    item = Dataset()
    item.ReferencedSOPClassUID = film.sop_class_uid or ComputedRadiographyImageStorage
    item.ReferencedSOPInstanceUID = film.sop_instance_uid
    return item


def _content_item(film: Header) -> Dataset:
    item = Dataset()
    item.RelationshipType, item.ValueType = "CONTAINS", "IMAGE"
    item.ReferencedSOPSequence = [_reference(film)]
    return item


def _evidence(films: Sequence[Header]) -> Dataset:
    series = Dataset()
    series.SeriesInstanceUID = films[0].series_instance_uid
    series.ReferencedSOPSequence = [_reference(film) for film in films]
    study = Dataset()
    study.StudyInstanceUID = films[0].study_instance_uid
    study.ReferencedSeriesSequence = [series]
    return study
