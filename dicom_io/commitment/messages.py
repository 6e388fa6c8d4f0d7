"""Messages of storage commitment (PS3.4 Annex J, PS3.3 C.14).

The SCU requests a commitment to keep some instances (N-ACTION). Later the SCP reports the result
for each of them (N-EVENT-REPORT). Both messages carry the same transaction UID.
"""

import uuid
from collections.abc import Sequence
from dataclasses import dataclass
from enum import IntEnum

from pydicom import Dataset
from pydicom.uid import UID

from dicom_io.errors import MalformedMessageError, NotDicomError
from dicom_io.read.header import all_items, is_uid, number, text

COMMITMENT_CLASS = "1.2.840.10008.1.20.1"
"""Storage Commitment Push Model SOP Class."""
COMMITMENT_INSTANCE = "1.2.840.10008.1.20.1.1"
"""The well-known SOP Instance of that class."""
REQUEST_ACTION = 1
"""Action Type ID of a request (PS3.4 table J.3-1)."""
MAX_REFERENCES = 20_000
"""Items in one sequence of a message. A study may have thousands of instances."""
ALL_COMMITTED = 1
SOME_FAILED = 2
"""Event Type IDs of an answer (PS3.4 table J.3-3)."""

_ERROR_COMMENT_LENGTH = 64


class MessageStatus(IntEnum):
    """Status of the response to an N-ACTION or N-EVENT-REPORT (PS3.7 Annex C)."""

    SUCCESS = 0x0000
    PROCESSING_FAILURE = 0x0110
    NO_SUCH_INSTANCE = 0x0112
    NO_SUCH_EVENT = 0x0113
    INVALID_ARGUMENT = 0x0115
    NO_SUCH_CLASS = 0x0118
    NO_SUCH_ACTION = 0x0123
    NOT_AUTHORISED = 0x0124
    RESOURCE_LIMITATION = 0x0213


class FailureReason(IntEnum):
    """Reason for not committing to an instance (PS3.3 C.14.1.1)."""

    PROCESSING_FAILURE = 0x0110
    NO_SUCH_INSTANCE = 0x0112
    CLASS_INSTANCE_CONFLICT = 0x0119
    CLASS_NOT_SUPPORTED = 0x0122
    DUPLICATE_TRANSACTION = 0x0131
    RESOURCE_LIMITATION = 0x0213


_FAILURE_TEXTS = {
    FailureReason.PROCESSING_FAILURE: "processing failure",
    FailureReason.NO_SUCH_INSTANCE: "no such object instance",
    FailureReason.CLASS_INSTANCE_CONFLICT: "class and instance conflict",
    FailureReason.CLASS_NOT_SUPPORTED: "SOP class not supported",
    FailureReason.DUPLICATE_TRANSACTION: "duplicate transaction UID",
    FailureReason.RESOURCE_LIMITATION: "resource limitation",
}


@dataclass(frozen=True, slots=True)
class Reference:
    """An instance that a message names."""

    sop_class_uid: str
    sop_instance_uid: str


@dataclass(frozen=True, slots=True)
class Failure:
    """An instance that is not committed to; `reason` is a code of PS3.3 C.14.1.1."""

    reference: Reference
    reason: int


@dataclass(frozen=True, slots=True)
class CommitmentRequest:
    """The content of an N-ACTION."""

    transaction_uid: str
    references: tuple[Reference, ...]


@dataclass(frozen=True, slots=True)
class CommitmentAnswer:
    """The content of an N-EVENT-REPORT."""

    transaction_uid: str
    committed: tuple[Reference, ...]
    failed: tuple[Failure, ...] = ()

    @property
    def event_type(self) -> int:
        """Return the Event Type ID of the message."""
        return SOME_FAILED if self.failed else ALL_COMMITTED


def new_transaction_uid() -> str:
    """Return a new UID, since a transaction UID may not be used twice (PS3.4 J.3.2.1)."""
    return f"2.25.{uuid.uuid4().int}"


def failure_text(reason: int) -> str:
    """Return a failure reason as text with its code."""
    known = _FAILURE_TEXTS.get(reason)  # type: ignore[call-overload]
    return f"{known or 'failure reason'} (0x{reason:04X})"


def build_request(request: CommitmentRequest) -> Dataset:
    """Return the Action Information of a request (PS3.4 table J.3-2)."""
    ds = Dataset()
    ds.TransactionUID = request.transaction_uid
    ds.ReferencedSOPSequence = [_item(reference) for reference in request.references]
    return ds


def build_answer(answer: CommitmentAnswer) -> Dataset:
    """Return the Event Information of an answer (PS3.4 table J.3-4)."""
    ds = Dataset()
    ds.TransactionUID = answer.transaction_uid
    if answer.committed:
        ds.ReferencedSOPSequence = [_item(reference) for reference in answer.committed]
    if answer.failed:
        ds.FailedSOPSequence = [_item(failure.reference) for failure in answer.failed]
        for item, failure in zip(ds.FailedSOPSequence, answer.failed, strict=True):
            item.FailureReason = failure.reason
    return ds


def read_request(
    sop_class_uid: str, sop_instance_uid: str, action_type: int | None, information: Dataset
) -> CommitmentRequest:
    """Return the content of a received N-ACTION.

    Raises MalformedMessageError with the status of the response.
    """
    _require_push_model(sop_class_uid, sop_instance_uid)
    if action_type != REQUEST_ACTION:
        raise MalformedMessageError(
            f"there is no action {action_type}", MessageStatus.NO_SUCH_ACTION
        )
    references = _references(_sequence(information, "ReferencedSOPSequence"))
    if not references:
        raise _invalid("the request names no instance")
    return CommitmentRequest(_transaction_uid(information), references)


def read_answer(
    sop_class_uid: str, sop_instance_uid: str, event_type: int | None, information: Dataset
) -> CommitmentAnswer:
    """Return the content of a received N-EVENT-REPORT.

    Raises MalformedMessageError with the status of the response.
    """
    _require_push_model(sop_class_uid, sop_instance_uid)
    if event_type not in (ALL_COMMITTED, SOME_FAILED):
        raise MalformedMessageError(f"there is no event {event_type}", MessageStatus.NO_SUCH_EVENT)
    failed_items = _sequence(information, "FailedSOPSequence")
    failed = [
        Failure(reference, int(number(item, "FailureReason") or FailureReason.PROCESSING_FAILURE))
        for item, reference in zip(failed_items, _references(failed_items), strict=True)
    ]
    committed = _references(_sequence(information, "ReferencedSOPSequence"))
    return CommitmentAnswer(_transaction_uid(information), committed, tuple(failed))


def status_response(status: IntEnum, comment: str = "") -> Dataset:
    """Return a response with a status and, after an error, a short comment (PS3.7 C.4.2)."""
    response = Dataset()
    response.Status = int(status)
    if comment:
        response.ErrorComment = comment[:_ERROR_COMMENT_LENGTH]
    return response


def _require_push_model(sop_class_uid: str, sop_instance_uid: str) -> None:
    if sop_class_uid != COMMITMENT_CLASS:
        raise MalformedMessageError("not the Push Model SOP Class", MessageStatus.NO_SUCH_CLASS)
    if sop_instance_uid != COMMITMENT_INSTANCE:
        raise MalformedMessageError(
            "not the Push Model's well-known instance", MessageStatus.NO_SUCH_INSTANCE
        )


def _transaction_uid(information: Dataset) -> str:
    uid = text(information, "TransactionUID")
    if not is_uid(uid):
        raise _invalid("no valid Transaction UID")
    return uid


def _sequence(information: Dataset, keyword: str) -> tuple[Dataset, ...]:
    try:
        return all_items(information, keyword, most=MAX_REFERENCES)
    except NotDicomError as error:
        raise _invalid(str(error)) from error


def _references(sequence: Sequence[Dataset]) -> tuple[Reference, ...]:
    references = tuple(
        Reference(text(item, "ReferencedSOPClassUID"), text(item, "ReferencedSOPInstanceUID"))
        for item in sequence
    )
    for reference in references:
        if not (is_uid(reference.sop_class_uid) and is_uid(reference.sop_instance_uid)):
            raise _invalid("an item of the sequence has no valid UIDs")
    return references


def _item(reference: Reference) -> Dataset:
    item = Dataset()
    item.ReferencedSOPClassUID = UID(reference.sop_class_uid)
    item.ReferencedSOPInstanceUID = UID(reference.sop_instance_uid)
    return item


def _invalid(message: str) -> MalformedMessageError:
    return MalformedMessageError(message, MessageStatus.INVALID_ARGUMENT)
