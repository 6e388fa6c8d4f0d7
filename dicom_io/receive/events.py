"""Events that a node reports for the audit trail."""

from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from pynetdicom import evt

from dicom_io.receive.limits import AbortReason


class RejectReason(StrEnum):
    """Reason for rejecting an association request or the connection before it."""

    CALLING_AE_TITLE = "calling AE title is not a known sender"
    CALLING_HOST = "calling AE title is known, but not from this host"
    PLAIN_CONNECTION = "TLS is required, and the connection is plain"
    NO_CERTIFICATE = "a client certificate is required, and none was shown"
    WRONG_CERTIFICATE = "the client certificate is not one that is trusted for this peer"
    TLS_HANDSHAKE = "the TLS handshake failed"
    CALLED_AE_TITLE = "called AE title is not this node's"
    APPLICATION_CONTEXT = "the application context is not that of DICOM"
    PROTOCOL_VERSION = "the protocol version is not 1"
    TOO_MANY = "too many associations at once"


# Result, source and diagnostic of an A-ASSOCIATE-RJ (PS3.8 table 9-21). The table has no code for
# certificates. After a failed TLS handshake no A-ASSOCIATE-RJ can be sent.
REJECT_CODES = {
    RejectReason.CALLING_AE_TITLE: (1, 1, 3),
    RejectReason.CALLING_HOST: (1, 1, 3),
    RejectReason.PLAIN_CONNECTION: (1, 1, 1),
    RejectReason.NO_CERTIFICATE: (1, 1, 1),
    RejectReason.WRONG_CERTIFICATE: (1, 1, 1),
    RejectReason.CALLED_AE_TITLE: (1, 1, 7),
    RejectReason.APPLICATION_CONTEXT: (1, 1, 2),
    RejectReason.PROTOCOL_VERSION: (1, 2, 2),
    RejectReason.TOO_MANY: (2, 3, 2),
}


@dataclass(frozen=True, slots=True)
class Rejection:
    """A rejected request, or an association or connection that this side ended.

    The AE titles are empty if the peer sent none, or sent them in a malformed request.
    `detail` names the item that is at fault; it may be empty.
    """

    reason: RejectReason | AbortReason
    calling_ae_title: str
    called_ae_title: str
    host: str
    detail: str = ""

    def __str__(self) -> str:
        return f"{self.reason} ({self.detail})" if self.detail else str(self.reason)


@dataclass(frozen=True, slots=True)
class AssociationOpened:
    """An association that was accepted; `is_peer` is False if it is for C-ECHO alone."""

    calling_ae_title: str
    called_ae_title: str
    host: str
    is_peer: bool = True


@dataclass(frozen=True, slots=True)
class RefusedObject:
    """A C-STORE answered with a failure status; the UIDs are the command's and may be invalid."""

    status: int
    comment: str
    sop_class_uid: str
    sop_instance_uid: str
    calling_ae_title: str
    host: str


def association_opened(event: evt.Event, *, is_peer: bool) -> AssociationOpened:
    """Return the audit event of an `evt.EVT_ACCEPTED`."""
    request: Any = event.assoc.requestor.primitive
    return AssociationOpened(
        calling_ae_title=str(request.calling_ae_title).strip(),
        called_ae_title=str(request.called_ae_title).strip(),
        host=str(event.assoc.requestor.address),
        is_peer=is_peer,
    )


def refused_object(event: evt.Event) -> RefusedObject:
    """Return the audit event of an `evt.EVT_DIMSE_SENT` whose message is a C-STORE response."""
    command = event.message.command_set
    return RefusedObject(
        status=int(command.Status),
        comment=str(command.get("ErrorComment", "")),
        sop_class_uid=str(command.get("AffectedSOPClassUID", "")),
        sop_instance_uid=str(command.get("AffectedSOPInstanceUID", "")),
        calling_ae_title=str(event.assoc.requestor.ae_title).strip(),
        host=str(event.assoc.requestor.address),
    )
