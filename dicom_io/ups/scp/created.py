"""Workitems that peers push to this node: checked when created, and shown as they are now."""

from pydicom import Dataset
from pynetdicom.dsutils import encode

from dicom_io.errors import DicomError
from dicom_io.read.header import items, read_information, text
from dicom_io.ups.classes import UNSPECIFIED_REASON, UPS_PUSH
from dicom_io.ups.reading import details_of
from dicom_io.ups.scp.shelf import KeptWorkitem, NewWorkitem, ShelfRefusalError, ShelfStatus
from dicom_io.ups.workitems import StepPriority, StepState
from dicom_io.ups.writing import cancel_change, performed_change, progress_change

MOST_ATTRIBUTES_BYTES = 4 << 20
"""Size of a workitem that a peer pushes."""

_VALUED = (
    "ScheduledProcedureStepPriority",
    "ProcedureStepLabel",
    "ScheduledProcedureStepStartDateTime",
    "InputReadinessState",
    "ProcedureStepState",
)
"""Attributes of Type 1 of an N-CREATE (PS3.4 table CC.2.5-3)."""
_EMPTY = (
    "TransactionUID",
    "ProcedureStepProgressInformationSequence",
    "UnifiedProcedureStepPerformedProcedureSequence",
)
"""Attributes that have no value in an N-CREATE."""


def new_workitem(uid: str, ds: Dataset) -> NewWorkitem:
    """Return a workitem to create. Raises ShelfRefusalError with the status of the response."""
    for keyword in _VALUED:
        if keyword not in ds:
            raise ShelfRefusalError(ShelfStatus.MISSING_ATTRIBUTE, f"{keyword} is missing")
        if not text(ds, keyword):
            raise ShelfRefusalError(ShelfStatus.MISSING_VALUE, f"{keyword} is empty")
    if text(ds, "ProcedureStepState") != StepState.SCHEDULED:
        raise ShelfRefusalError(ShelfStatus.NOT_SCHEDULED, "a new workitem must be SCHEDULED")
    if text(ds, "ScheduledProcedureStepPriority") not in tuple(StepPriority):
        raise ShelfRefusalError(ShelfStatus.INVALID_VALUE, "no valid priority")
    for keyword in _EMPTY:
        if text(ds, keyword) if keyword == "TransactionUID" else items(ds, keyword):
            raise ShelfRefusalError(ShelfStatus.INVALID_VALUE, f"{keyword} must be empty")
    try:
        details = details_of(ds, uid)
    except DicomError as error:
        raise ShelfRefusalError(ShelfStatus.INVALID_VALUE, str(error)) from error
    return NewWorkitem(uid, details, _encoded(ds))


def attributes_of(kept: KeptWorkitem) -> Dataset:
    """Return all attributes of a workitem as they are now, without its Transaction UID.

    Raises NotDicomError if what is kept cannot be read.
    """
    ds = read_information(kept.attributes, implicit_vr=False, little_endian=True)
    ds.decode()
    ds.SpecificCharacterSet = "ISO_IR 192"
    ds.pop("TransactionUID", None)
    ds.SOPClassUID, ds.SOPInstanceUID = UPS_PUSH, kept.uid
    ds.ProcedureStepState = kept.state.value
    progress = Dataset()
    if kept.progress is not None:
        change = progress_change("", kept.progress, kept.progress_description)
        progress.update(change.ProcedureStepProgressInformationSequence[0])
    if kept.state is StepState.CANCELED:
        change = cancel_change("", kept.cancel_code or UNSPECIFIED_REASON, kept.cancel_reason)
        progress.update(change.ProcedureStepProgressInformationSequence[0])
        progress.ProcedureStepCancellationDateTime = kept.cancelled
    ds.ProcedureStepProgressInformationSequence = [progress] if len(progress) else []
    ds.UnifiedProcedureStepPerformedProcedureSequence = []
    if kept.performed is not None:
        change = performed_change("", kept.performed)
        ds.UnifiedProcedureStepPerformedProcedureSequence = (
            change.UnifiedProcedureStepPerformedProcedureSequence
        )
    return ds


def _encoded(ds: Dataset) -> bytes:
    encoded = encode(ds, False, True)
    if encoded is None:
        raise ShelfRefusalError(ShelfStatus.INVALID_VALUE, "the workitem cannot be written")
    if len(encoded) > MOST_ATTRIBUTES_BYTES:
        raise ShelfRefusalError(
            ShelfStatus.RESOURCE_LIMITATION, f"more than {MOST_ATTRIBUTES_BYTES >> 20} MB"
        )
    return encoded
