"""The Storage SCU: sends objects and classifies the responses (PS3.4 Annex B)."""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from io import BytesIO
from pathlib import Path
from types import TracebackType
from typing import Self, cast

from pydicom import Dataset
from pydicom.uid import UID
from pynetdicom.association import Association

from dicom_io.errors import AssociationError, NotDicomError, UnmatchedResponseError
from dicom_io.objects.classes import PLAIN_SYNTAXES, REPORT_CLASSES, RESULT_CLASSES, VERIFICATION
from dicom_io.read.header import header_of, read_dataset, read_header
from dicom_io.read.warnings_off import suppressed_warnings
from dicom_io.report.older_classes import report_for_destination
from dicom_io.send.association import (
    Destination,
    accepted_syntaxes,
    associate,
    proposals,
    uid_name,
)
from dicom_io.send.request_response import MatchingProvider
from dicom_io.send.store_status import SUCCESS, Disposition, classify

# Exceptions of pydicom and pynetdicom for an object that cannot be encoded.
_ENCODER_ERRORS = (AttributeError, LookupError, OSError, RuntimeError, TypeError, ValueError)


@dataclass(frozen=True, slots=True)
class SendResult:
    """Outcome of one C-STORE; `status` is None if the object was not sent or not answered.

    `sop_class_uid` and `sop_instance_uid` are those of the object sent: a report may be sent as
    another SOP class (`report_for_destination`). They are empty if the object was not sent.
    `coerced_uid` is the SOP Instance UID under which the destination keeps the object, if it said
    that it changed it. `is_unmatched` is True if the response did not answer the request.
    """

    status: int | None
    disposition: Disposition
    detail: str
    sop_class_uid: str = ""
    sop_instance_uid: str = ""
    coerced_uid: str = ""
    is_unmatched: bool = False


@dataclass(frozen=True, slots=True)
class EchoResult:
    """Result of a test of a destination.

    `accepted` maps each proposed SOP class to the transfer syntaxes accepted for it; an empty tuple
    means that the class is refused. `diagnosis` is one line with the problem and its remedy, or the
    statement that all is well. `retryable` is True if the problem may pass by itself.
    """

    ok: bool
    diagnosis: str
    accepted: Mapping[str, tuple[str, ...]]
    retryable: bool = False

    @property
    def refused(self) -> tuple[str, ...]:
        """Return the required SOP classes that the destination refuses.

        One of the classes for reports is enough.
        """
        refused = tuple(uid for uid, syntaxes in self.accepted.items() if not syntaxes)
        if any(self.accepted.get(uid) for uid in REPORT_CLASSES):
            return tuple(uid for uid in refused if uid not in REPORT_CLASSES)
        return refused


class Sender:
    """One association with a destination, used for many objects; a context manager.

    `sop_classes` are proposed with uncompressed transfer syntaxes only; `also` adds pairs of SOP
    class and transfer syntax, for example from `pair_of`. Entering raises AssociationError, or
    ValueError if one association cannot hold all contexts.
    """

    def __init__(
        self,
        destination: Destination,
        *,
        sop_classes: Iterable[str] = RESULT_CLASSES,
        also: Iterable[tuple[str, str]] = (),
    ) -> None:
        self._destination = destination
        self._contexts = proposals(tuple(sop_classes), tuple(also))
        self._association: Association | None = None

    def __enter__(self) -> Self:
        self._association = associate(self._destination, self._contexts)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        association, self._association = self._association, None
        if association is not None and association.is_established:
            association.release()

    @property
    def is_open(self) -> bool:
        """Return True while objects can be sent, False after the association has ended."""
        return self._association is not None and self._association.is_established

    @property
    def accepted(self) -> dict[str, tuple[str, ...]]:
        """Return the transfer syntaxes that the destination accepted, by SOP class."""
        return accepted_syntaxes(self._association) if self._association is not None else {}

    def send(
        self, source: bytes | Path, on_progress: Callable[[], object] = lambda: None
    ) -> SendResult:
        """Send one object (a whole file) and classify the response.

        A report is sent as the first SOP class of REPORT_CLASSES that was accepted. If the
        association breaks, or a response to another request arrives, the result is RETRY: open a
        new Sender.
        `on_progress` is called about once a second, in this thread, until the response arrives or
        times out. An exception in it ends the association and is raised.
        """
        association = self._association
        if association is None or not association.is_established:
            return SendResult(None, Disposition.RETRY, "the association is no longer open")
        try:
            ds = read_dataset(report_for_destination(source, self.accepted))
            header = header_of(ds)
        except NotDicomError as error:
            return SendResult(None, Disposition.PARK, str(error))
        refusal = _refusal(association, header.sop_class_uid, header.transfer_syntax_uid)
        if refusal:
            return SendResult(None, Disposition.PARK, refusal)
        try:
            ds = _in_accepted_syntax(association, ds, header.sop_class_uid)
        except _ENCODER_ERRORS as error:
            return _unencodable(error)
        cast(MatchingProvider, association.dimse).on_wait = on_progress
        result = _store(association, ds)
        return replace(
            result, sop_class_uid=header.sop_class_uid, sop_instance_uid=header.sop_instance_uid
        )


def pair_of(source: bytes | Path) -> tuple[str, str]:
    """Return SOP class and transfer syntax of an object, to propose. Raises NotDicomError."""
    header = read_header(source)
    return header.sop_class_uid, header.transfer_syntax_uid


def echo(
    destination: Destination,
    *,
    sop_classes: Iterable[str] = RESULT_CLASSES,
    also: Iterable[tuple[str, str]] = (),
) -> EchoResult:
    """Send a C-ECHO and return the SOP classes that the destination accepts.

    An error is returned in the result and not raised.
    """
    asked = tuple(sop_classes)
    pairs = tuple(also)
    try:
        association = associate(destination, proposals(asked, pairs))
    except AssociationError as error:
        return EchoResult(False, str(error), {}, error.retryable)
    try:
        found = accepted_syntaxes(association)
        status = association.send_c_echo().get("Status") if VERIFICATION in found else None
    except AssociationError as error:
        return EchoResult(False, str(error), {}, error.retryable)
    finally:
        if association.is_established:
            association.release()
    wanted = dict.fromkeys([*asked, *(pair[0] for pair in pairs)])
    accepted = {uid: found.get(uid, ()) for uid in wanted}
    return _diagnose(destination, accepted, VERIFICATION in found, status)


def _diagnose(
    destination: Destination,
    accepted: Mapping[str, tuple[str, ...]],
    accepts_verification: bool,
    status: int | None,
) -> EchoResult:
    if accepts_verification and status != SUCCESS:
        response = "nothing" if status is None else f"0x{status:04X}"
        return EchoResult(
            False, f"{destination.name} answered the C-ECHO with {response}", accepted, True
        )
    answer = EchoResult(True, f"{destination.name} answers and takes everything proposed", accepted)
    if answer.refused:
        named = ", ".join(uid_name(uid) for uid in answer.refused)
        diagnosis = f"{destination.name} answers but refuses {named}; allow them there"
        return replace(answer, ok=False, diagnosis=diagnosis)
    report_class = next((uid for uid in REPORT_CLASSES if accepted.get(uid)), REPORT_CLASSES[0])
    if report_class != REPORT_CLASSES[0]:
        diagnosis = f"{destination.name} answers; reports go there as {uid_name(report_class)}"
        return replace(answer, diagnosis=diagnosis)
    return answer


def _refusal(association: Association, sop_class_uid: str, syntax: str) -> str:
    """Return the reason why no accepted context fits the object, or an empty text."""
    found = accepted_syntaxes(association).get(sop_class_uid, ())
    if not found:
        return f"the destination does not accept {uid_name(sop_class_uid)}"
    if syntax in found or (_is_plain(syntax) and any(_is_plain(uid) for uid in found)):
        return ""
    return (
        f"the destination accepts {uid_name(sop_class_uid)}, but not as {uid_name(syntax)}; "
        f"it takes {', '.join(uid_name(uid) for uid in found)}"
    )


def _is_plain(syntax: str) -> bool:
    """Return True if pynetdicom can convert the syntax to another plain syntax while sending."""
    return syntax in PLAIN_SYNTAXES or UID(syntax).is_deflated


def _in_accepted_syntax(association: Association, ds: Dataset, sop_class_uid: str) -> Dataset:
    """Return the object in an accepted transfer syntax, so that sending need not convert it."""
    found = accepted_syntaxes(association)[sop_class_uid]
    if str(ds.file_meta.TransferSyntaxUID) in found:
        return ds
    ds.file_meta.TransferSyntaxUID = UID(next(uid for uid in found if _is_plain(uid)))
    encoded = BytesIO()
    with suppressed_warnings():
        ds.save_as(encoded)
    return read_dataset(encoded.getvalue())


def _store(association: Association, ds: Dataset) -> SendResult:
    try:
        answer = association.send_c_store(ds)
    except AssociationError as error:
        is_unmatched = isinstance(error, UnmatchedResponseError)
        return SendResult(None, Disposition.RETRY, str(error), is_unmatched=is_unmatched)
    except _ENCODER_ERRORS as error:
        if not association.is_established:
            return SendResult(None, Disposition.RETRY, "the association broke while sending")
        return _unencodable(error)
    status = answer.get("Status")
    if status is None:
        return SendResult(None, Disposition.RETRY, "no answer: the association broke or timed out")
    comment = str(answer.get("ErrorComment", "") or "")
    detail = f"status 0x{int(status):04X}" + (f": {comment}" if comment else "")
    coerced = cast(MatchingProvider, association.dimse).coerced_uid
    return SendResult(int(status), classify(int(status)), detail, coerced_uid=coerced)


def _unencodable(error: Exception) -> SendResult:
    return SendResult(
        None,
        Disposition.PARK,
        f"the object cannot be encoded for sending ({type(error).__name__})",
    )
