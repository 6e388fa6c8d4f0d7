"""Handlers of the two storage commitment messages, N-ACTION and N-EVENT-REPORT."""

from collections.abc import Callable
from dataclasses import dataclass
from io import BytesIO
from typing import Any

from pydicom import Dataset
from pydicom.uid import UID
from pynetdicom import evt
from pynetdicom.association import Association

from dicom_io.commitment.answer_channel import AnswerChannel
from dicom_io.commitment.messages import (
    CommitmentAnswer,
    CommitmentRequest,
    MessageStatus,
    read_answer,
    read_request,
    status_response,
)
from dicom_io.errors import MalformedMessageError, NotDicomError
from dicom_io.peer.peers import Caller
from dicom_io.peer.tls_handshake import tls_identity
from dicom_io.read.header import read_information

OnAnswer = Callable[[CommitmentAnswer, Caller], MessageStatus]
"""Records an archive's answer and returns the status of the response to it."""


@dataclass(frozen=True, slots=True)
class CommitmentHandlers:
    """Callbacks for the two messages. An exception in one is answered with status 0x0110.

    Both are called from several threads at once and must be quick, since a peer waits meanwhile.
    `on_request` may use its channel only after it has returned.
    """

    on_request: Callable[[CommitmentRequest, Caller, AnswerChannel], MessageStatus]
    on_answer: OnAnswer

    def on_event_report(self, event: evt.Event) -> tuple[Dataset, None]:
        """Handle an `evt.EVT_N_EVENT_REPORT`."""
        return handle_event_report(event, self.on_answer)

    def on_action(self, event: evt.Event) -> tuple[Dataset, None]:
        """Handle an `evt.EVT_N_ACTION`."""
        message: Any = event.request
        channel = AnswerChannel(event.assoc, event.context)
        try:
            request = read_request(
                str(message.RequestedSOPClassUID),
                str(message.RequestedSOPInstanceUID),
                message.ActionTypeID,
                _information(event, message.ActionInformation),
            )
        except MalformedMessageError as error:
            return status_response(MessageStatus(error.status), str(error)), None
        return status_response(self.on_request(request, _caller(event.assoc), channel)), None


def handle_event_report(event: evt.Event, on_answer: OnAnswer) -> tuple[Dataset, None]:
    """Handle an `evt.EVT_N_EVENT_REPORT`, on an association that either side opened."""
    message: Any = event.request
    try:
        received = read_answer(
            str(message.AffectedSOPClassUID),
            str(message.AffectedSOPInstanceUID),
            message.EventTypeID,
            _information(event, message.EventInformation),
        )
    except MalformedMessageError as error:
        return status_response(MessageStatus(error.status), str(error)), None
    return status_response(on_answer(received, _caller(event.assoc))), None


def _caller(association: Association) -> Caller:
    """Return the other side of an association, also if this side opened it."""
    peer = association.requestor if association.is_acceptor else association.acceptor
    return Caller(str(peer.ae_title).strip(), str(peer.address), *tls_identity(association))


def _information(event: evt.Event, encoded: BytesIO | None) -> Dataset:
    """Return the data set of the message. Raises MalformedMessageError if it cannot be read."""
    syntax = UID(event.context.transfer_syntax)
    try:
        return read_information(
            encoded.getvalue() if encoded else b"",
            implicit_vr=syntax.is_implicit_VR,
            little_endian=syntax.is_little_endian,
        )
    except NotDicomError as error:
        raise MalformedMessageError(str(error), MessageStatus.INVALID_ARGUMENT) from error
