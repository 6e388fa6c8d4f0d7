"""Reads workitems from DICOM attributes (PS3.4 table CC.2.5-3, PS3.3 C.30).

Each value that a manager sends is read as it is: a malformed one counts as absent, but for the
UIDs, the state and the references to images, which a performer acts upon.
"""

from collections.abc import Iterable, Sequence
from enum import StrEnum
from typing import TypeVar

from pydicom import Dataset

from dicom_io.errors import NotDicomError
from dicom_io.read.header import all_items, is_uid, items, number, text
from dicom_io.ups.errors import ManagerAnswerError
from dicom_io.ups.workitems import (
    Code,
    FoundWorkitem,
    ObjectReference,
    Readiness,
    RequestedProcedure,
    SeriesReference,
    StepPriority,
    StepState,
    WorkitemDetails,
    WorkitemFilter,
    WorkitemPatient,
)

MAX_REFERENCES = 20_000
"""Images that one workitem may refer to."""
_MAX_SERIES = 1000
DETAIL_KEYWORDS = (
    "SpecificCharacterSet",
    "SOPClassUID",
    "SOPInstanceUID",
    "ScheduledProcedureStepPriority",
    "ProcedureStepLabel",
    "WorklistLabel",
    "ScheduledStationNameCodeSequence",
    "ScheduledProcedureStepStartDateTime",
    "ScheduledWorkitemCodeSequence",
    "CommentsOnTheScheduledProcedureStep",
    "InputReadinessState",
    "InputInformationSequence",
    "StudyInstanceUID",
    "PatientName",
    "PatientID",
    "IssuerOfPatientID",
    "PatientBirthDate",
    "PatientSex",
    "ReferencedRequestSequence",
    "ProcedureStepState",
    "ProcedureStepProgressInformationSequence",
    "UnifiedProcedureStepPerformedProcedureSequence",
)
"""The attributes that `details_of` reads; never the Transaction UID (PS3.4 CC.2.7.2)."""

_Value = TypeVar("_Value", bound=StrEnum)


def is_wanted(found: FoundWorkitem, wanted: WorkitemFilter) -> bool:
    """Return True if an answer is one to the query: a manager may ignore optional keys."""
    return (
        found.state is wanted.state
        and wanted.worklist_label in ("", found.worklist_label)
        and wanted.patient_id in ("", found.patient_id)
        and (not wanted.ready_only or found.readiness is Readiness.READY)
        and _is_one_of(found.codes, wanted.codes)
        and _is_one_of(found.station_names, wanted.station_names)
    )


def found_of(ds: Dataset) -> FoundWorkitem:
    """Return the answer to a query. Raises ManagerAnswerError without a valid UID or state."""
    return FoundWorkitem(
        uid=_uid(ds, "SOPInstanceUID"),
        state=_state(ds),
        priority=_enumerated(ds, "ScheduledProcedureStepPriority", StepPriority.MEDIUM),
        worklist_label=text(ds, "WorklistLabel"),
        codes=codes_of(ds, "ScheduledWorkitemCodeSequence"),
        station_names=codes_of(ds, "ScheduledStationNameCodeSequence"),
        readiness=readiness_of(ds),
        scheduled_start=text(ds, "ScheduledProcedureStepStartDateTime"),
        patient_id=text(ds, "PatientID"),
    )


def details_of(ds: Dataset, uid: str) -> WorkitemDetails:
    """Return a workitem from its attributes.

    Raises ManagerAnswerError if it is another one than `uid`, or its state or a reference to
    images cannot be read.
    """
    if text(ds, "SOPInstanceUID") not in ("", uid):
        raise ManagerAnswerError("it gave another workitem than the one asked for")
    progress = _first(ds, "ProcedureStepProgressInformationSequence")
    performed = _first(ds, "UnifiedProcedureStepPerformedProcedureSequence")
    return WorkitemDetails(
        uid=uid,
        state=_state(ds),
        priority=_enumerated(ds, "ScheduledProcedureStepPriority", StepPriority.MEDIUM),
        worklist_label=text(ds, "WorklistLabel"),
        step_label=text(ds, "ProcedureStepLabel"),
        codes=codes_of(ds, "ScheduledWorkitemCodeSequence"),
        station_names=codes_of(ds, "ScheduledStationNameCodeSequence"),
        readiness=readiness_of(ds),
        scheduled_start=text(ds, "ScheduledProcedureStepStartDateTime"),
        comments=text(ds, "CommentsOnTheScheduledProcedureStep"),
        patient=WorkitemPatient(
            patient_id=text(ds, "PatientID"),
            issuer=text(ds, "IssuerOfPatientID"),
            name=text(ds, "PatientName"),
            birth_date=text(ds, "PatientBirthDate"),
            sex=text(ds, "PatientSex"),
        ),
        study_uid=text(ds, "StudyInstanceUID"),
        requests=tuple(_request(item) for item in items(ds, "ReferencedRequestSequence")),
        inputs=references_of(ds, "InputInformationSequence"),
        progress=number(progress, "ProcedureStepProgress"),
        progress_description=text(progress, "ProcedureStepProgressDescription"),
        outputs=references_of(performed, "OutputInformationSequence"),
        cancel_reason=text(progress, "ReasonForCancellation"),
    )


def references_of(ds: Dataset, keyword: str) -> tuple[SeriesReference, ...]:
    """Return the series of a sequence of references; those to other than DICOM are left out.

    Raises ManagerAnswerError if a reference has no valid UIDs, or the references are too many.
    """
    found = []
    count = 0
    for item in _all(ds, keyword, _MAX_SERIES):
        if text(item, "TypeOfInstances").upper() not in ("", "DICOM"):
            continue
        instances = tuple(
            ObjectReference(
                _uid(each, "ReferencedSOPClassUID"), _uid(each, "ReferencedSOPInstanceUID")
            )
            for each in _all(item, "ReferencedSOPSequence", MAX_REFERENCES)
        )
        count += len(instances)
        if count > MAX_REFERENCES:
            raise ManagerAnswerError(f"{keyword} names more than {MAX_REFERENCES} images")
        series = text(item, "SeriesInstanceUID")
        found.append(
            SeriesReference(
                study_uid=_uid(item, "StudyInstanceUID"),
                series_uid=_uid(item, "SeriesInstanceUID") if series else "",
                instances=instances,
                retrieve_ae_titles=tuple(
                    title
                    for each in items(item, "DICOMRetrievalSequence")
                    for title in text(each, "RetrieveAETitle").split("\\")
                    if title
                ),
                retrieve_urls=tuple(
                    url
                    for each in items(item, "WADORSRetrievalSequence")
                    if (url := text(each, "RetrieveURL"))
                ),
            )
        )
    return tuple(found)


def codes_of(ds: Dataset, keyword: str) -> tuple[Code, ...]:
    """Return the codes of a sequence; an item without a value or a scheme is left out."""
    found = (
        Code(
            text(item, "CodeValue") or text(item, "LongCodeValue"),
            text(item, "CodingSchemeDesignator"),
            text(item, "CodeMeaning"),
        )
        for item in items(ds, keyword)
    )
    return tuple(code for code in found if code.value and code.scheme)


def readiness_of(ds: Dataset) -> Readiness:
    """Return the Input Readiness State; READY if absent, UNAVAILABLE for an unknown value."""
    if not text(ds, "InputReadinessState"):
        return Readiness.READY
    return _enumerated(ds, "InputReadinessState", Readiness.UNAVAILABLE)


def _request(item: Dataset) -> RequestedProcedure:
    code = codes_of(item, "RequestedProcedureCodeSequence")
    issuer = _first(item, "IssuerOfAccessionNumberSequence")
    return RequestedProcedure(
        study_uid=text(item, "StudyInstanceUID"),
        accession_number=text(item, "AccessionNumber"),
        accession_issuer=text(issuer, "LocalNamespaceEntityID")
        or text(issuer, "UniversalEntityID"),
        placer_order_number=text(item, "PlacerOrderNumberImagingServiceRequest"),
        filler_order_number=text(item, "FillerOrderNumberImagingServiceRequest"),
        requested_procedure_id=text(item, "RequestedProcedureID"),
        description=text(item, "RequestedProcedureDescription"),
        code=code[0] if code else None,
    )


def _state(ds: Dataset) -> StepState:
    value = text(ds, "ProcedureStepState").upper()
    try:
        return StepState(value)
    except ValueError:
        raise ManagerAnswerError("it gave a workitem whose state cannot be read") from None


def _enumerated(ds: Dataset, keyword: str, otherwise: _Value) -> _Value:
    try:
        return type(otherwise)(text(ds, keyword).upper())
    except ValueError:
        return otherwise


def _uid(ds: Dataset, keyword: str) -> str:
    uid = text(ds, keyword)
    if not is_uid(uid):
        raise ManagerAnswerError(f"it gave a workitem without a valid {keyword}")
    return uid


def _first(ds: Dataset, keyword: str) -> Dataset:
    found = items(ds, keyword)
    return found[0] if found else Dataset()


def _all(ds: Dataset, keyword: str, most: int) -> Sequence[Dataset]:
    try:
        return all_items(ds, keyword, most=most)
    except NotDicomError as error:
        raise ManagerAnswerError(f"it gave a workitem that cannot be read: {error}") from error


def _is_one_of(found: Iterable[Code], wanted: Sequence[Code]) -> bool:
    return not wanted or any(code.is_same(each) for code in found for each in wanted)
