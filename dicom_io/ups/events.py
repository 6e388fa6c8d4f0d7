"""Events that a manager reports, N-EVENT-REPORT (PS3.4 CC.2.4; IHE RAD-87)."""

from pydicom import Dataset

from dicom_io.commitment.messages import MessageStatus
from dicom_io.errors import MalformedMessageError
from dicom_io.read.header import is_uid, items, number, text
from dicom_io.ups.classes import UPS_PUSH
from dicom_io.ups.reading import codes_of, readiness_of
from dicom_io.ups.workitems import EventKind, StepState, WorkitemEvent

_TYPES = {
    1: EventKind.STATE_REPORT,
    2: EventKind.CANCEL_REQUESTED,
    3: EventKind.PROGRESS_REPORT,
    4: EventKind.MANAGER_STATUS,
    5: EventKind.ASSIGNED,
}


def read_event(
    sop_class_uid: str, sop_instance_uid: str, event_type: int | None, information: Dataset
) -> WorkitemEvent:
    """Return the content of a received N-EVENT-REPORT.

    Raises MalformedMessageError with the status of the response.
    """
    if sop_class_uid != UPS_PUSH:
        raise MalformedMessageError("not the UPS Push SOP Class", MessageStatus.NO_SUCH_CLASS)
    kind = _TYPES.get(event_type or 0)
    if kind is None:
        raise MalformedMessageError(f"there is no event {event_type}", MessageStatus.NO_SUCH_EVENT)
    if not is_uid(sop_instance_uid):
        raise MalformedMessageError("no valid workitem UID", MessageStatus.INVALID_ARGUMENT)
    state = _state(information) if kind is EventKind.STATE_REPORT else None
    codes = codes_of(information, "ProcedureStepDiscontinuationReasonCodeSequence")
    progress = items(information, "ProcedureStepProgressInformationSequence")
    return WorkitemEvent(
        uid=sop_instance_uid,
        kind=kind,
        state=state,
        readiness=readiness_of(information) if state else None,
        reason=text(information, "ReasonForCancellation"),
        reason_code=codes[0] if codes else None,
        contact=text(information, "ContactDisplayName") or text(information, "ContactURI"),
        progress=number(progress[0], "ProcedureStepProgress") if progress else None,
        station_names=codes_of(information, "ScheduledStationNameCodeSequence"),
    )


def _state(information: Dataset) -> StepState:
    try:
        return StepState(text(information, "ProcedureStepState").upper())
    except ValueError:
        raise MalformedMessageError(
            "no valid Procedure Step State", MessageStatus.INVALID_ARGUMENT
        ) from None
