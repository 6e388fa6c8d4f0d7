"""Events of workitems, N-EVENT-REPORT (PS3.4 CC.2.4; IHE RAD-87): read, written and sent."""

from pydicom import Dataset
from pynetdicom import build_role

from dicom_io.commitment.messages import MessageStatus
from dicom_io.errors import AssociationError, MalformedMessageError
from dicom_io.read.header import is_uid, items, number, text
from dicom_io.send.association import Destination, accepted_syntaxes, associate, proposals
from dicom_io.ups.classes import UPS_EVENT, UPS_PUSH
from dicom_io.ups.reading import codes_of, readiness_of
from dicom_io.ups.workitems import EventKind, StepState, WorkitemEvent
from dicom_io.ups.writing import code_item, with_character_set

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


def build_event(event: WorkitemEvent, requesting_ae: str = "") -> tuple[int, Dataset]:
    """Return Event Type ID and Event Information of an event (PS3.4 table CC.2.4-1)."""
    ds = Dataset()
    if event.state is not None:
        ds.ProcedureStepState = event.state.value
    if event.readiness is not None:
        ds.InputReadinessState = event.readiness.value
    if event.kind is EventKind.CANCEL_REQUESTED:
        ds.RequestingAE = requesting_ae
        if event.contact:
            ds.ContactDisplayName = event.contact[:64]
    if event.reason:
        ds.ReasonForCancellation = event.reason[:1024]
    if event.reason_code is not None:
        ds.ProcedureStepDiscontinuationReasonCodeSequence = [code_item(event.reason_code)]
    if event.kind is EventKind.PROGRESS_REPORT:
        item = Dataset()
        if event.progress is not None:
            item.ProcedureStepProgress = f"{event.progress:g}"
        ds.ProcedureStepProgressInformationSequence = [item]
    if event.station_names:
        ds.ScheduledStationNameCodeSequence = [code_item(code) for code in event.station_names]
    kinds = {kind: number for number, kind in _TYPES.items()}
    return kinds[event.kind], with_character_set(ds, event.reason, event.contact)


def send_event(
    destination: Destination, event: WorkitemEvent, requesting_ae: str = ""
) -> int | None:
    """Send an event to a subscriber on a new association, as its SCP (PS3.7 D.3.3.4).

    Returns the subscriber's status, or None without a response. Raises AssociationError.
    """
    roles = [build_role(UPS_EVENT, scp_role=True)]
    association = associate(destination, proposals([UPS_EVENT]), roles)
    try:
        if UPS_EVENT not in accepted_syntaxes(association):
            raise AssociationError(
                f"{destination.name} does not accept events of workitems from "
                f"{destination.calling_ae_title}; allow them there, or end its subscription",
                retryable=False,
            )
        kind, information = build_event(event, requesting_ae)
        status, _ = association.send_n_event_report(
            information, kind, UPS_PUSH, event.uid, meta_uid=UPS_EVENT
        )
    except (RuntimeError, ValueError):
        return None
    finally:
        if association.is_established:
            association.release()
    value = status.get("Status")
    return int(value) if isinstance(value, int) else None


def _state(information: Dataset) -> StepState:
    try:
        return StepState(text(information, "ProcedureStepState").upper())
    except ValueError:
        raise MalformedMessageError(
            "no valid Procedure Step State", MessageStatus.INVALID_ARGUMENT
        ) from None
