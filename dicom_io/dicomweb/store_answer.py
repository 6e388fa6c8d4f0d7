"""The answer to a STOW-RS request with one instance: its fate and the next step (PS3.18 10.5.3).

The status of an instance is one of C-STORE (PS3.18 table I.2-2 takes them from PS3.4), so that one
rule decides for both ways of sending.
"""

from collections.abc import Iterable
from dataclasses import dataclass

from dicom_io.dicomweb.dicom_json import (
    JsonObject,
    items_of,
    number_of,
    object_of_xml,
    objects_of_json,
    text_of,
)
from dicom_io.send.store_status import (
    DUPLICATE,
    SUCCESS,
    Disposition,
    classify,
    is_warning,
)

PROCESSING_FAILURE = 0x0110
CLASS_NOT_SUPPORTED = 0x0122
_HELD_ALREADY = frozenset({DUPLICATE, 0xB00E})
"""Failure reasons of a duplicate: that of C-STORE, and 45070 of Microsoft's DICOM service."""

_REFERENCED = "00081199"
_FAILED = "00081198"
_SOP_INSTANCE = "00081155"
_FAILURE_REASON = "00081197"
_WARNING_REASON = "00081196"


@dataclass(frozen=True, slots=True)
class StoreAnswer:
    """The fate of one instance, as the server's answer tells it.

    `http_status` is that of the answer. `status` is the instance's status as of C-STORE, None if
    the answer does not name the instance. `coerced_uid` is the SOP Instance UID under which the
    server keeps it, if the server named another one with a warning.
    """

    http_status: int
    status: int | None
    coerced_uid: str = ""

    @property
    def disposition(self) -> Disposition | None:
        """Return the next step, None if the answer does not name the instance."""
        return None if self.status is None else classify(self.status)

    @property
    def text(self) -> str:
        """Return the answer in a few words, without data of the patient."""
        if self.status is None:
            return f"HTTP {self.http_status}, which does not name the object"
        if self.status == SUCCESS:
            return f"HTTP {self.http_status}"
        kind = "warning" if is_warning(self.status) else "failure reason"
        return f"HTTP {self.http_status}, {kind} 0x{self.status:04X}"


def read_store_answer(
    http_status: int, content_type: str, body: bytes, uid: str, where: str
) -> StoreAnswer:
    """Return the fate of the instance `uid` of a request that held no other.

    Raises DicomwebError if the body is not what its content type says.
    """
    if "xml" in content_type.lower():
        answers: list[JsonObject] = [object_of_xml(body, where)] if body.strip() else []
    elif "json" in content_type.lower():
        answers = objects_of_json(body, where)
    else:
        answers = []
    failed = [item for answer in answers for item in items_of(answer, _FAILED)]
    stored = [item for answer in answers for item in items_of(answer, _REFERENCED)]
    for item in _named(failed, uid):
        reason = number_of(item, _FAILURE_REASON)
        status = PROCESSING_FAILURE if reason is None else reason
        return StoreAnswer(http_status, DUPLICATE if status in _HELD_ALREADY else status)
    for item in _named(stored, uid):
        return StoreAnswer(http_status, _warning_of(item))
    if len(stored) == 1 and not failed and is_warning(_warning_of(stored[0])):
        return StoreAnswer(http_status, _warning_of(stored[0]), text_of(stored[0], _SOP_INSTANCE))
    return StoreAnswer(http_status, None)


def _named(items: Iterable[JsonObject], uid: str) -> Iterable[JsonObject]:
    return (item for item in items if text_of(item, _SOP_INSTANCE) == uid)


def _warning_of(item: JsonObject) -> int:
    """Return the warning of a stored instance; another value than a warning is none."""
    reason = number_of(item, _WARNING_REASON) or SUCCESS
    return reason if is_warning(reason) else SUCCESS
