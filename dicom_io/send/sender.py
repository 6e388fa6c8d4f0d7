"""The Storage SCU: sends objects and reads what the answer means (PS3.4 Annex B)."""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from enum import StrEnum
from io import BytesIO
from pathlib import Path
from types import TracebackType
from typing import Self, cast

from pydicom import Dataset
from pydicom.uid import UID
from pynetdicom.association import Association

from dicom_io.errors import AssociationError, NotDicomError
from dicom_io.objects.classes import PLAIN_SYNTAXES, REPORT_CLASSES, RESULT_CLASSES, VERIFICATION
from dicom_io.read.header import header_of, read_dataset, read_header
from dicom_io.read.warnings_off import quietly
from dicom_io.report.older_classes import report_for_destination
from dicom_io.send.association import (
    Destination,
    Timeouts,
    accepted_syntaxes,
    associate,
    proposals,
    uid_name,
)
from dicom_io.send.request_response import Exchange

__all__ = [
    "RESULT_CLASSES",
    "Destination",
    "Disposition",
    "EchoResult",
    "SendResult",
    "Sender",
    "Timeouts",
    "classify",
    "echo",
    "pair_of",
]

# What pydicom and pynetdicom raise on an object that cannot be written.
_ENCODER_ERRORS = (AttributeError, LookupError, OSError, RuntimeError, TypeError, ValueError)

_SUCCESS = 0x0000

_DUPLICATE = 0x0111

_PASSING_FAULTS = frozenset({0x0110, 0x0213})

_WARNINGS = frozenset({0x0001, 0x0107, 0x0116})


class Disposition(StrEnum):
    """What to do with an object after an attempt to send it."""

    DELIVERED = "delivered"
    RETRY = "retry"
    PARK = "park"


@dataclass(frozen=True, slots=True)
class SendResult:
    """Outcome of one C-STORE; `status` is None where no answer came or nothing was sent.

    `sop_class_uid` and `sop_instance_uid` name what the destination was asked to store: a report
    may go as another SOP class (`report_fallback`). Empty where the answer says nothing about it.
    """

    status: int | None
    disposition: Disposition
    detail: str
    sop_class_uid: str = ""
    sop_instance_uid: str = ""


@dataclass(frozen=True, slots=True)
class EchoResult:
    """What a destination answers before go-live.

    `accepted` maps each SOP class proposed to the transfer syntaxes accepted for it; none means
    refused. `diagnosis` says in one line what is wrong and what to set, or that all is well.
    `retryable` says whether waiting may help.
    """

    ok: bool
    diagnosis: str
    accepted: Mapping[str, tuple[str, ...]]
    retryable: bool = False

    @property
    def refused(self) -> tuple[str, ...]:
        """SOP classes that the destination would have to take and does not.

        One class for reports is enough.
        """
        refused = tuple(uid for uid, syntaxes in self.accepted.items() if not syntaxes)
        if any(self.accepted.get(uid) for uid in REPORT_CLASSES):
            return tuple(uid for uid in refused if uid not in REPORT_CLASSES)
        return refused


class Sender:
    """One association with a destination, kept for many objects; a context manager.

    `sop_classes` are proposed uncompressed; `also` adds (SOP class, transfer syntax) pairs, for
    example from `pair_of`. Entering raises AssociationError, or ValueError where more contexts
    are asked for than one association holds.
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
        """Whether objects can still be sent; False once the association broke."""
        return self._association is not None and self._association.is_established

    @property
    def accepted(self) -> dict[str, tuple[str, ...]]:
        """Transfer syntaxes that the destination accepted, by SOP class."""
        return accepted_syntaxes(self._association) if self._association is not None else {}

    def send(
        self, source: bytes | Path, on_progress: Callable[[], object] = lambda: None
    ) -> SendResult:
        """Send one object (a whole file) and classify the answer; never raises for the answer.

        A report goes as the first SOP class of REPORT_CLASSES that was accepted. On a broken
        association, or an answer to something else, the result is RETRY: open a new Sender.
        `on_progress` is called about once a second, in this thread, until the answer is there or
        is given up; what it raises ends the association.
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
        cast(Exchange, association.dimse).on_wait = on_progress
        result = _store(association, ds)
        return replace(
            result, sop_class_uid=header.sop_class_uid, sop_instance_uid=header.sop_instance_uid
        )


def pair_of(source: bytes | Path) -> tuple[str, str]:
    """SOP class and transfer syntax of an object, to be proposed. Raises NotDicomError."""
    header = read_header(source)
    return header.sop_class_uid, header.transfer_syntax_uid


def classify(status: int) -> Disposition:
    """What a C-STORE status asks for (PS3.4 table B.2-1, PS3.7 Annex C).

    Success, warnings and "duplicate SOP instance" mean that the destination has the object; lack
    of resources and processing failures may pass; everything else needs a person.
    """
    if status in {_SUCCESS, _DUPLICATE} or status in _WARNINGS or status >> 12 == 0xB:
        return Disposition.DELIVERED
    if status in _PASSING_FAULTS or status >> 8 == 0xA7:
        return Disposition.RETRY
    return Disposition.PARK


def echo(
    destination: Destination,
    *,
    sop_classes: Iterable[str] = RESULT_CLASSES,
    also: Iterable[tuple[str, str]] = (),
) -> EchoResult:
    """C-ECHO, and which of the SOP classes the destination would take; raises nothing."""
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
    echoes: bool,
    status: int | None,
) -> EchoResult:
    if echoes and status != _SUCCESS:
        said = "nothing" if status is None else f"0x{status:04X}"
        return EchoResult(
            False, f"{destination.name} answered the C-ECHO with {said}", accepted, True
        )
    answer = EchoResult(True, f"{destination.name} answers and takes everything proposed", accepted)
    if answer.refused:
        named = ", ".join(uid_name(uid) for uid in answer.refused)
        said = f"{destination.name} answers but refuses {named}; allow them there"
        return replace(answer, ok=False, diagnosis=said)
    report_class = next((uid for uid in REPORT_CLASSES if accepted.get(uid)), REPORT_CLASSES[0])
    if report_class != REPORT_CLASSES[0]:
        said = f"{destination.name} answers; reports go there as {uid_name(report_class)}"
        return replace(answer, diagnosis=said)
    return answer


def _refusal(association: Association, sop_class_uid: str, syntax: str) -> str:
    """Why the object fits none of the accepted presentation contexts, or nothing."""
    found = accepted_syntaxes(association).get(sop_class_uid, ())
    if not found:
        return f"the destination does not accept {uid_name(sop_class_uid)}"
    if syntax in found or (_is_plain(syntax) and any(_is_plain(one) for one in found)):
        return ""
    return (
        f"the destination accepts {uid_name(sop_class_uid)}, but not as {uid_name(syntax)}; "
        f"it takes {', '.join(uid_name(one) for one in found)}"
    )


def _is_plain(syntax: str) -> bool:
    """Whether pynetdicom can turn the syntax into another one of these while sending."""
    return syntax in PLAIN_SYNTAXES or UID(syntax).is_deflated


def _in_accepted_syntax(association: Association, ds: Dataset, sop_class_uid: str) -> Dataset:
    """The object in a transfer syntax that was accepted, so that sending re-encodes nothing."""
    found = accepted_syntaxes(association)[sop_class_uid]
    if str(ds.file_meta.TransferSyntaxUID) in found:
        return ds
    ds.file_meta.TransferSyntaxUID = UID(next(one for one in found if _is_plain(one)))
    encoded = BytesIO()
    with quietly():
        ds.save_as(encoded)
    return read_dataset(encoded.getvalue())


def _store(association: Association, ds: Dataset) -> SendResult:
    try:
        answer = association.send_c_store(ds)
    except AssociationError as error:
        return SendResult(None, Disposition.RETRY, str(error))
    except _ENCODER_ERRORS as error:
        if not association.is_established:
            return SendResult(None, Disposition.RETRY, "the association broke while sending")
        return _unencodable(error)
    status = answer.get("Status")
    if status is None:
        return SendResult(None, Disposition.RETRY, "no answer: the association broke or timed out")
    comment = str(answer.get("ErrorComment", "") or "")
    said = f"status 0x{int(status):04X}" + (f": {comment}" if comment else "")
    return SendResult(int(status), classify(int(status)), said)


def _unencodable(error: Exception) -> SendResult:
    return SendResult(
        None,
        Disposition.PARK,
        f"the object cannot be encoded for sending ({type(error).__name__})",
    )
