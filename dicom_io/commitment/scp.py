"""Storage commitment on associations that peers open: they ask us, or answer what we asked.

The handlers of pynetdicom's events; `AnswerChannel` answers on the association of the question.
"""

import itertools
import logging
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from io import BytesIO
from typing import Any

from pydicom import Dataset
from pydicom.uid import UID
from pynetdicom import evt
from pynetdicom.association import Association
from pynetdicom.dimse_messages import N_EVENT_REPORT_RSP
from pynetdicom.dimse_primitives import N_EVENT_REPORT
from pynetdicom.dsutils import encode
from pynetdicom.presentation import PresentationContextTuple

from dicom_io.commitment.messages import (
    COMMITMENT_CLASS,
    COMMITMENT_INSTANCE,
    CommitmentAnswer,
    CommitmentRequest,
    MessageStatus,
    answer,
    build_answer,
    read_answer,
    read_request,
)
from dicom_io.errors import MalformedMessageError, NotDicomError
from dicom_io.peer.peers import Caller
from dicom_io.peer.tls_handshake import shown_by
from dicom_io.read.header import read_information

_POLL_SECONDS = 0.02

# Of all associations, so that no two channels on one of them use the same.
_message_numbers = itertools.count()

OnAnswer = Callable[[CommitmentAnswer, Caller], MessageStatus]
"""Takes in what an archive says; its result is what the archive is told."""


@dataclass(frozen=True, slots=True)
class CommitmentHandlers:
    """What to do with the two messages. What they raise is answered with 0x0110.

    Both are called from several threads at once and must be quick: a peer waits meanwhile.
    `on_request` gets a channel to answer on later, after it has returned, never before.
    """

    on_request: Callable[[CommitmentRequest, Caller, "AnswerChannel"], MessageStatus]
    on_answer: OnAnswer

    def bindings(self) -> list[tuple[Any, ...]]:
        """Event handlers for an acceptor."""
        logging.getLogger("pynetdicom.association").addFilter(_is_worth_logging)
        return [
            (evt.EVT_N_ACTION, self._on_n_action),
            (evt.EVT_N_EVENT_REPORT, take_answer, [self.on_answer]),
        ]

    def _on_n_action(self, event: evt.Event) -> tuple[Dataset, None]:
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
            return answer(MessageStatus(error.status), str(error)), None
        return answer(self.on_request(request, _other_side(event.assoc), channel)), None


def take_answer(event: evt.Event, on_answer: OnAnswer) -> tuple[Dataset, None]:
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
        return answer(MessageStatus(error.status), str(error)), None
    return answer(on_answer(received, _other_side(event.assoc))), None


class AnswerChannel:
    """The association on which a peer asked, for as long as the peer keeps it open.

    An answer is sent between two messages of the peer, without waiting in the thread that serves
    it: the peer may go on sending or release the association at any time (PS3.4 J.3.3).
    """

    def __init__(self, association: Association, context: PresentationContextTuple) -> None:
        self._association = association
        self._context = context
        self._unserved = 1
        self._counting = threading.Lock()
        self._message_id = 0
        self._status: int | None = None
        self._answered = threading.Event()
        association.bind(evt.EVT_DIMSE_RECV, self._on_received)
        association.bind(evt.EVT_DIMSE_SENT, self._on_sent)

    @property
    def is_open(self) -> bool:
        """Whether the peer still holds the association."""
        return bool(self._association.is_established)

    def send(self, reply: CommitmentAnswer, timeout_seconds: float) -> int | None:
        """Send an N-EVENT-REPORT; the peer's status, or None where no response came."""
        deadline = time.monotonic() + timeout_seconds
        message = _event_report(reply, UID(self._context.transfer_syntax))
        if not self._pause(deadline):
            return None
        self._message_id = message.MessageID = next(_message_numbers) % 0xFFFF + 1
        self._answered.clear()
        try:
            self._association.dimse.send_msg(message, self._context.context_id)
        finally:
            self._association._reactor_checkpoint.set()
        while not self._answered.wait(_POLL_SECONDS):
            if not self.is_open or time.monotonic() > deadline:
                return None
        return self._status

    def _pause(self, deadline: float) -> bool:
        """Stop the thread that serves the association where it holds no message half done.

        Fragments of two messages may not mix. That thread also counts as paused while it runs a
        handler, so what was received and not responded to is counted too.
        """
        association = self._association
        while self.is_open and time.monotonic() < deadline:
            association._reactor_checkpoint.clear()
            time.sleep(_POLL_SECONDS)
            if association._is_paused and self._unserved <= 0:
                return True
            association._reactor_checkpoint.set()
            time.sleep(_POLL_SECONDS)
        return False

    def _on_received(self, event: evt.Event) -> None:
        if isinstance(event.message, N_EVENT_REPORT_RSP):
            response = event.message.command_set
            if response.get("MessageIDBeingRespondedTo") == self._message_id:
                self._status = int(response.Status)
                self._answered.set()
        elif type(event.message).__name__.endswith("_RQ"):
            with self._counting:
                self._unserved += 1

    def _on_sent(self, event: evt.Event) -> None:
        if type(event.message).__name__.endswith("_RSP"):
            with self._counting:
                self._unserved -= 1


def _other_side(association: Association) -> Caller:
    peer = association.requestor if association.is_acceptor else association.acceptor
    return Caller(str(peer.ae_title).strip(), str(peer.address), *shown_by(association))


def _event_report(reply: CommitmentAnswer, syntax: UID) -> N_EVENT_REPORT:
    encoded = encode(
        build_answer(reply), syntax.is_implicit_VR, syntax.is_little_endian, syntax.is_deflated
    )
    if encoded is None:
        raise MalformedMessageError("the answer cannot be encoded", 0x0110)
    message = N_EVENT_REPORT()
    message.AffectedSOPClassUID = UID(COMMITMENT_CLASS)
    message.AffectedSOPInstanceUID = UID(COMMITMENT_INSTANCE)
    message.EventTypeID = reply.event_type
    message.EventInformation = BytesIO(encoded)
    return message


def _information(event: evt.Event, encoded: BytesIO | None) -> Dataset:
    """The data set of the message. Raises MalformedMessageError where there is none to read."""
    syntax = UID(event.context.transfer_syntax)
    try:
        return read_information(
            encoded.getvalue() if encoded else b"",
            implicit_vr=syntax.is_implicit_VR,
            little_endian=syntax.is_little_endian,
        )
    except NotDicomError as error:
        raise MalformedMessageError(str(error), MessageStatus.INVALID_ARGUMENT) from error


def _is_worth_logging(record: logging.LogRecord) -> bool:
    """Not the response to what an `AnswerChannel` sent, which pynetdicom did not expect."""
    return "unexpected N_EVENT_REPORT" not in record.getMessage()
