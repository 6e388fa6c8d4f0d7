"""Writes queries and changes of workitems as DICOM attributes (PS3.4 table CC.2.5-3)."""

from collections.abc import Sequence

from pydicom import Dataset

from dicom_io.ups.workitems import (
    Code,
    ObjectReference,
    Performed,
    Readiness,
    SeriesReference,
    StepState,
    WorkitemFilter,
)

_LONG_CODE = 16
"""Characters of the longest Code Value (0008,0100); a longer one is a Long Code Value."""

_FOUND_KEYS = (
    "SOPClassUID",
    "SOPInstanceUID",
    "ScheduledProcedureStepPriority",
    "ProcedureStepLabel",
    "WorklistLabel",
    "ScheduledProcedureStepStartDateTime",
    "InputReadinessState",
    "PatientName",
    "PatientID",
    "IssuerOfPatientID",
    "StudyInstanceUID",
)


def query_of(wanted: WorkitemFilter) -> Dataset:
    """Return the identifier of a C-FIND for workitems (PS3.4 CC.2.8).

    One code of a kind is a matching key; of several, `reading.is_wanted` chooses among the answers.
    """
    ds = Dataset()
    for keyword in _FOUND_KEYS:
        setattr(ds, keyword, "")
    ds.ProcedureStepState = wanted.state.value
    ds.WorklistLabel = wanted.worklist_label
    ds.PatientID = wanted.patient_id
    if wanted.ready_only:
        ds.InputReadinessState = Readiness.READY.value
    if wanted.until:
        ds.ScheduledProcedureStepStartDateTime = f"-{wanted.until}"
    ds.ScheduledWorkitemCodeSequence = [_code_key(wanted.codes)]
    ds.ScheduledStationNameCodeSequence = [_code_key(wanted.station_names)]
    request = Dataset()
    request.AccessionNumber = wanted.accession_number
    request.RequestedProcedureID = ""
    ds.ReferencedRequestSequence = [request]
    return with_character_set(ds, wanted.worklist_label, wanted.patient_id, wanted.accession_number)


def state_change(state: StepState, transaction_uid: str) -> Dataset:
    """Return the Action Information of Change UPS State (PS3.4 table CC.2.1-1)."""
    ds = Dataset()
    ds.TransactionUID = transaction_uid
    ds.ProcedureStepState = state.value
    return ds


def progress_change(transaction_uid: str, percent: float, description: str) -> Dataset:
    """Return the Modification List that reports progress."""
    item = Dataset()
    item.ProcedureStepProgress = f"{min(max(percent, 0.0), 100.0):g}"
    if description:
        item.ProcedureStepProgressDescription = description[:1024]
    ds = Dataset()
    ds.TransactionUID = transaction_uid
    ds.ProcedureStepProgressInformationSequence = [item]
    return with_character_set(ds, description)


def cancel_change(transaction_uid: str, code: Code, reason: str) -> Dataset:
    """Return the Modification List with the reason that CANCELED requires."""
    item = Dataset()
    if reason:
        item.ReasonForCancellation = reason[:1024]
    item.ProcedureStepDiscontinuationReasonCodeSequence = [code_item(code)]
    ds = Dataset()
    ds.TransactionUID = transaction_uid
    ds.ProcedureStepProgressInformationSequence = [item]
    return with_character_set(ds, reason, code.meaning)


def performed_change(transaction_uid: str, performed: Performed) -> Dataset:
    """Return the Modification List with what was done and its results."""
    item = Dataset()
    item.PerformedStationNameCodeSequence = [code_item(performed.station_name)]
    item.PerformedStationClassCodeSequence = []
    item.PerformedStationGeographicLocationCodeSequence = []
    item.PerformedProcedureStepStartDateTime = performed.started
    item.PerformedWorkitemCodeSequence = [code_item(code) for code in performed.codes]
    item.PerformedProcedureStepEndDateTime = performed.ended
    if performed.description:
        item.PerformedProcedureStepDescription = performed.description[:64]
    item.OutputInformationSequence = [reference_item(each) for each in performed.outputs]
    ds = Dataset()
    ds.TransactionUID = transaction_uid
    ds.UnifiedProcedureStepPerformedProcedureSequence = [item]
    meanings = [code.meaning for code in (performed.station_name, *performed.codes)]
    return with_character_set(ds, performed.description, *meanings)


def reference_item(reference: SeriesReference) -> Dataset:
    """Return an item of an input or output sequence (PS3.3 table 10-3b)."""
    item = Dataset()
    item.TypeOfInstances = "DICOM"
    item.StudyInstanceUID = reference.study_uid
    if reference.series_uid:
        item.SeriesInstanceUID = reference.series_uid
    item.ReferencedSOPSequence = [_object_item(each) for each in reference.instances]
    if reference.retrieve_ae_titles:
        item.DICOMRetrievalSequence = [
            _one(RetrieveAETitle=title) for title in reference.retrieve_ae_titles
        ]
    if reference.retrieve_urls:
        item.WADORSRetrievalSequence = [_one(RetrieveURL=url) for url in reference.retrieve_urls]
    return item


def code_item(code: Code) -> Dataset:
    """Return an item of a code sequence (PS3.3 table 8.8-1)."""
    keyword = "CodeValue" if len(code.value) <= _LONG_CODE else "LongCodeValue"
    return _one(
        **{keyword: code.value},
        CodingSchemeDesignator=code.scheme,
        CodeMeaning=(code.meaning or code.value)[:64],
    )


def with_character_set(ds: Dataset, *texts: str) -> Dataset:
    """Return a data set that is written in UTF-8 if one of its texts needs it."""
    if not all(value.isascii() for value in texts):
        ds.SpecificCharacterSet = "ISO_IR 192"
    return ds


def _code_key(wanted: Sequence[Code]) -> Dataset:
    code = wanted[0] if len(wanted) == 1 else Code("", "")
    return _one(CodeValue=code.value, CodingSchemeDesignator=code.scheme, CodeMeaning="")


def _object_item(reference: ObjectReference) -> Dataset:
    return _one(
        ReferencedSOPClassUID=reference.sop_class_uid,
        ReferencedSOPInstanceUID=reference.sop_instance_uid,
    )


def _one(**values: str) -> Dataset:
    item = Dataset()
    for keyword, value in values.items():
        setattr(item, keyword, value)
    return item
