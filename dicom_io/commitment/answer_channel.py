"""Answers to a storage commitment request on the association that the peer opened."""

import itertools
import threading
import time
from collections.abc import Callable
from io import BytesIO

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
    MessageStatus,
    build_answer,
)
from dicom_io.errors import MalformedMessageError

_POLL_SECONDS = 0.02

# Shared by all associations, so that two channels on one association use different numbers.
_message_numbers = itertools.count()


class AnswerChannel:
    """The association on which a peer requested a commitment, while the peer keeps it open.

    An answer is sent between two messages of the peer. Waiting for its response does not block the
    thread that serves the association: the peer may send more or release it at any time
    (PS3.4 J.3.3).
    """

    def __init__(self, association: Association, context: PresentationContextTuple) -> None:
        self._association = association
        self._context = context
        self._unanswered = 1
        self._counting = threading.Lock()
        self._message_id = 0
        self._status: int | None = None
        self._answered = threading.Event()
        association.bind(evt.EVT_DIMSE_RECV, self._on_received)
        association.bind(evt.EVT_DIMSE_SENT, self._on_sent)

    @property
    def is_open(self) -> bool:
        """Return True while the peer holds the association."""
        return bool(self._association.is_established)

    def send(self, answer: CommitmentAnswer, timeout_seconds: float) -> int | None:
        """Send an N-EVENT-REPORT. Returns the peer's status, or None without a response."""
        deadline = time.monotonic() + timeout_seconds
        message = _event_report(answer, UID(self._context.transfer_syntax))
        # The reactor counts as paused while it runs a handler: check for unanswered requests too.
        if not pause_reactor(self._association, deadline, lambda: self._unanswered <= 0):
            return None
        self._message_id = message.MessageID = next(_message_numbers) % 0xFFFF + 1
        self._answered.clear()
        try:
            self._association.dimse.send_msg(message, self._context.context_id)
        finally:
            resume_reactor(self._association)
        while not self._answered.wait(_POLL_SECONDS):
            if not self.is_open or time.monotonic() > deadline:
                return None
        return self._status

    def _on_received(self, event: evt.Event) -> None:
        if isinstance(event.message, N_EVENT_REPORT_RSP):
            response = event.message.command_set
            if response.get("MessageIDBeingRespondedTo") == self._message_id:
                self._status = int(response.Status)
                self._answered.set()
        elif type(event.message).__name__.endswith("_RQ"):
            with self._counting:
                self._unanswered += 1

    def _on_sent(self, event: evt.Event) -> None:
        if type(event.message).__name__.endswith("_RSP"):
            with self._counting:
                self._unanswered -= 1


def pause_reactor(
    association: Association, deadline: float, may_pause: Callable[[], bool] = lambda: True
) -> bool:
    """Stop the thread that serves an association between two messages, while `may_pause` is true.

    Fragments of two messages must not mix, so this thread must not send meanwhile. Returns False
    after `deadline` (time.monotonic) or if the association ends; otherwise call `resume_reactor`.
    """
    while association.is_established and time.monotonic() < deadline:
        association._reactor_checkpoint.clear()
        time.sleep(_POLL_SECONDS)
        if association._is_paused and may_pause():
            return True
        association._reactor_checkpoint.set()
        time.sleep(_POLL_SECONDS)
    return False


def resume_reactor(association: Association) -> None:
    """Let the thread that serves an association go on."""
    association._reactor_checkpoint.set()


def _event_report(answer: CommitmentAnswer, syntax: UID) -> N_EVENT_REPORT:
    encoded = encode(
        build_answer(answer), syntax.is_implicit_VR, syntax.is_little_endian, syntax.is_deflated
    )
    if encoded is None:
        raise MalformedMessageError(
            "the answer cannot be encoded", MessageStatus.PROCESSING_FAILURE
        )
    message = N_EVENT_REPORT()
    message.AffectedSOPClassUID = UID(COMMITMENT_CLASS)
    message.AffectedSOPInstanceUID = UID(COMMITMENT_INSTANCE)
    message.EventTypeID = answer.event_type
    message.EventInformation = BytesIO(encoded)
    return message
