"""Sends results by STOW-RS and decides the next step for each, as the Storage SCU does.

STOW-RS has no negotiation and, unlike C-STORE, leaves room for an answer that says nothing of the
object. One query then tells what became of it.
"""

from collections.abc import Callable
from dataclasses import dataclass
from http import HTTPStatus

from dicom_io.dicomweb.client import DicomwebClient
from dicom_io.dicomweb.store_answer import CLASS_NOT_SUPPORTED, PROCESSING_FAILURE, StoreAnswer
from dicom_io.errors import DicomwebError, HttpError, NotDicomError
from dicom_io.objects.classes import REPORT_CLASSES
from dicom_io.read.header import Header, read_header
from dicom_io.report.older_classes import report_for_destination
from dicom_io.send.sender import SendResult
from dicom_io.send.store_status import DUPLICATE, SUCCESS, Disposition, classify

OUT_OF_RESOURCES = 0xA700
SYNTAX_NOT_SUPPORTED = 0xC122
_OBJECT_STATUSES = {
    HTTPStatus.INTERNAL_SERVER_ERROR: PROCESSING_FAILURE,
    HTTPStatus.INSUFFICIENT_STORAGE: OUT_OF_RESOURCES,
}
"""HTTP statuses without a word on the object, by the status of C-STORE that means the same."""
_REFUSED_OBJECT = frozenset(
    {
        HTTPStatus.BAD_REQUEST,
        HTTPStatus.NOT_ACCEPTABLE,
        HTTPStatus.CONFLICT,
        HTTPStatus.LENGTH_REQUIRED,
        HTTPStatus.REQUEST_ENTITY_TOO_LARGE,
        HTTPStatus.UNSUPPORTED_MEDIA_TYPE,
        HTTPStatus.UNPROCESSABLE_ENTITY,
    }
)

_MEANINGS = {
    0x01: "the server does not take this SOP class or failed at it",
    0xA7: "the server is out of resources",
    0xA9: "the server finds that the object does not match its SOP class",
    0xC0: "the server cannot understand the object",
    0xC1: "the server cannot understand the object",
}
"""What the failure reasons mean by their first byte (PS3.18 table I.2-2)."""


@dataclass(frozen=True, slots=True)
class WebResult:
    """The outcome of sending one object, and the server's answer in a few words."""

    result: SendResult
    answer: str


class WebSender:
    """Sends objects to one server; it remembers the SOP classes that the server refuses."""

    def __init__(self, client: DicomwebClient) -> None:
        self._client = client
        self._refused: set[str] = set()

    def send(self, data: bytes, on_progress: Callable[[], object] = lambda: None) -> WebResult:
        """Send one object, a whole file, and classify the answer.

        A report is sent as the first SOP class of REPORT_CLASSES that the server does not refuse.
        Raises HttpError if the server as a whole fails or refuses this node.
        """
        while True:
            accepted = [uid for uid in REPORT_CLASSES if uid not in self._refused]
            try:
                sent = report_for_destination(data, accepted)
                header = read_header(sent)
            except NotDicomError as error:
                return WebResult(SendResult(None, Disposition.PARK, str(error)), "")
            found = self._store(bytes(sent), header, on_progress)
            if found.result.status != CLASS_NOT_SUPPORTED or header.sop_class_uid not in accepted:
                return found
            self._refused.add(header.sop_class_uid)

    def _store(self, data: bytes, header: Header, on_progress: Callable[[], object]) -> WebResult:
        try:
            answer = self._client.store(data, on_progress)
        except DicomwebError as error:
            return self._refused_object(error, header, on_progress)
        if answer.status in {None, PROCESSING_FAILURE} and self._is_held(header, on_progress):
            # Some servers answer a duplicate so.
            answer = StoreAnswer(answer.http_status, DUPLICATE)
        if answer.disposition is None:
            return WebResult(
                SendResult(
                    None,
                    Disposition.RETRY,
                    f"the answer does not name the object ({answer.text}); see the server's log",
                    is_unmatched=True,
                ),
                answer.text,
            )
        return _result(answer, header)

    def _refused_object(
        self, error: DicomwebError, header: Header, on_progress: Callable[[], object]
    ) -> WebResult:
        """Return the result of an HTTP status of failure. Raises `error` if it is not of this one.

        A server that is not there or does not know this node refuses every object.
        """
        status = error.status
        if status == HTTPStatus.CONFLICT and self._is_held(header, on_progress):
            return _result(StoreAnswer(status, DUPLICATE), header)
        if status in _OBJECT_STATUSES:
            return _result(StoreAnswer(status, _OBJECT_STATUSES[HTTPStatus(status)]), header)
        if status in _REFUSED_OBJECT:
            result = SendResult(None, Disposition.PARK, f"the server refuses the object: {error}")
            return WebResult(result, f"HTTP {status}")
        raise error

    def _is_held(self, header: Header, on_progress: Callable[[], object]) -> bool:
        """Return True if the server finds the object; False if it does not say."""
        try:
            return self._client.holds(
                header.study_instance_uid, header.sop_instance_uid, on_progress
            )
        except HttpError:
            return False


def _result(answer: StoreAnswer, header: Header) -> WebResult:
    status = SUCCESS if answer.status is None else answer.status
    disposition = classify(status)
    problem = "" if disposition is Disposition.DELIVERED else f": {_MEANINGS.get(status >> 8, '')}"
    return WebResult(
        SendResult(
            status,
            disposition,
            f"status 0x{status:04X} by STOW-RS{problem.rstrip(': ')}",
            header.sop_class_uid,
            header.sop_instance_uid,
            answer.coerced_uid,
        ),
        answer.text,
    )
