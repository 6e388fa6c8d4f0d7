"""What a node tells of itself beyond the objects it hands over: for the audit trail."""

from dataclasses import dataclass
from typing import Any

from pynetdicom import evt


@dataclass(frozen=True, slots=True)
class Opening:
    """An association that was accepted."""

    calling_ae_title: str
    called_ae_title: str
    host: str


@dataclass(frozen=True, slots=True)
class RefusedObject:
    """A C-STORE answered with a failure; the UIDs are the command's, whatever they are."""

    status: int
    comment: str
    sop_class_uid: str
    sop_instance_uid: str
    calling_ae_title: str
    host: str


def opening(event: evt.Event) -> Opening:
    """Of an `evt.EVT_ACCEPTED`."""
    request: Any = event.assoc.requestor.primitive
    return Opening(
        calling_ae_title=str(request.calling_ae_title).strip(),
        called_ae_title=str(request.called_ae_title).strip(),
        host=str(event.assoc.requestor.address),
    )


def refused_object(event: evt.Event) -> RefusedObject:
    """Of an `evt.EVT_DIMSE_SENT` whose message is a C-STORE response."""
    command = event.message.command_set
    return RefusedObject(
        status=int(command.Status),
        comment=str(command.get("ErrorComment", "")),
        sop_class_uid=str(command.get("AffectedSOPClassUID", "")),
        sop_instance_uid=str(command.get("AffectedSOPInstanceUID", "")),
        calling_ae_title=str(event.assoc.requestor.ae_title).strip(),
        host=str(event.assoc.requestor.address),
    )
