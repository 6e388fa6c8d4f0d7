"""A worklist manager over the web: the user agent of UPS-RS (PS3.18 chapter 11).

Events come over a WebSocket there (PS3.18 8.10), which this node does not open: it polls.
"""

import json
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from http import HTTPStatus
from types import TracebackType
from typing import Self, TypeVar

from pydicom import Dataset

from dicom_io.dicomweb.dicom_json import objects_of_json
from dicom_io.dicomweb.multipart import DICOM_JSON
from dicom_io.errors import DicomwebError, HttpError
from dicom_io.http.client import Endpoint, HttpClient, Reply
from dicom_io.read.warnings_off import suppressed_warnings
from dicom_io.ups import reading, writing
from dicom_io.ups.classes import UNSPECIFIED_REASON
from dicom_io.ups.errors import (
    AlreadyInProgressError,
    FinalStateError,
    ManagerAnswerError,
    ManagerConfigurationError,
    ManagerUnreachableError,
    NotInProgressError,
    TransactionUidError,
    UnknownWorkitemError,
    WorkitemClosedError,
    WorkitemRefusedError,
    WorklistError,
)
from dicom_io.ups.workitems import (
    Code,
    FoundWorkitem,
    Performed,
    Readiness,
    StepState,
    WorkitemDetails,
    WorkitemFilter,
)

LONGEST_ANSWER = 8 << 20
"""Bytes of one answer: a workitem, or one page of a search."""
_PAGE = 100
_MOST_ANSWERS = 5000
"""Answers to one search, those included that do not match it."""

_DONE = frozenset({HTTPStatus.OK, HTTPStatus.CREATED, HTTPStatus.ACCEPTED, HTTPStatus.NO_CONTENT})
_CONFLICTS = frozenset({HTTPStatus.BAD_REQUEST, HTTPStatus.CONFLICT})
_GONE = frozenset({HTTPStatus.NOT_FOUND, HTTPStatus.GONE})
_LATER = frozenset({HTTPStatus.REQUEST_TIMEOUT, HTTPStatus.TOO_EARLY, HTTPStatus.TOO_MANY_REQUESTS})
_SEARCH = "search for workitems"
_CLAIM, _COMPLETE, _CANCEL = "hand over a workitem", "complete a workitem", "cancel a workitem"


_Value = TypeVar("_Value")


class WebManager:
    """A `WorklistManager` at a DICOMweb origin server; `endpoint.url` is the root of its service.

    Entering opens nothing. Raises ManagerConfigurationError for a malformed URL or token.
    """

    def __init__(self, endpoint: Endpoint) -> None:
        self.name = endpoint.name
        with _named():
            self._http = HttpClient(endpoint)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._http.__exit__(kind, error, trace)

    def find(self, wanted: WorkitemFilter) -> list[FoundWorkitem]:
        """See `WorklistManager.find` (PS3.18 11.9)."""
        found: dict[str, FoundWorkitem] = {}
        seen: set[str] = set()
        while len(found) < wanted.limit:
            page = [self._read(reading.found_of, ds) for ds in self._page(wanted, len(seen))]
            new = [workitem for workitem in page if workitem.uid not in seen]
            seen.update(workitem.uid for workitem in new)
            found |= {each.uid: each for each in new if reading.is_wanted(each, wanted)}
            if not new or len(page) < _PAGE:
                # Nothing is left, or the server does not know offset and has sent all before.
                break
            if len(seen) > _MOST_ANSWERS:
                raise ManagerAnswerError(
                    f"{self._http.where} gave more than {_MOST_ANSWERS} answers to one search"
                )
        return list(found.values())[: wanted.limit]

    def get(self, uid: str) -> WorkitemDetails:
        """See `WorklistManager.get` (PS3.18 11.5)."""
        action = "show a workitem"
        found = self._ask("GET", f"workitems/{uid}", action)
        if len(found) != 1:
            raise ManagerAnswerError(f"{self._http.where} gave {len(found)} workitems for one")
        return self._read(lambda ds: reading.details_of(ds, uid), found[0])

    def claim(self, uid: str, transaction_uid: str) -> None:
        """See `WorklistManager.claim` (PS3.18 11.7).

        A report of progress tells the repeat of a claim from a claim of another performer.
        """
        try:
            self._change_state(uid, transaction_uid, StepState.IN_PROGRESS, _CLAIM)
        except (TransactionUidError, AlreadyInProgressError) as error:
            try:
                self.progress(uid, transaction_uid, 0)
            except TransactionUidError:
                raise AlreadyInProgressError(str(error), error.status, error.detail) from None

    def progress(
        self, uid: str, transaction_uid: str, percent: float, description: str = ""
    ) -> None:
        """See `WorklistManager.progress` (PS3.18 11.6)."""
        change = writing.progress_change(transaction_uid, percent, description)
        self._update(uid, change, "take the progress of a workitem")

    def set_performed(self, uid: str, transaction_uid: str, performed: Performed) -> None:
        """See `WorklistManager.set_performed` (PS3.18 11.6)."""
        change = writing.performed_change(transaction_uid, performed)
        self._update(uid, change, "take the results of a workitem")

    def complete(self, uid: str, transaction_uid: str) -> None:
        """See `WorklistManager.complete` (PS3.18 11.7)."""
        self._change_state(uid, transaction_uid, StepState.COMPLETED, _COMPLETE)

    def cancel(
        self, uid: str, transaction_uid: str, reason_code: Code | None = None, reason: str = ""
    ) -> None:
        """See `WorklistManager.cancel` (PS3.18 11.6 and 11.7)."""
        # A workitem that is cancelled already takes no reason, but the change of state is harmless.
        with suppress(WorkitemClosedError):
            change = writing.cancel_change(
                transaction_uid, reason_code or UNSPECIFIED_REASON, reason
            )
            self._update(uid, change, "take the reason for a cancellation")
        self._change_state(uid, transaction_uid, StepState.CANCELED, _CANCEL)

    def subscribe(self, uid: str | None = None) -> None:
        """Raise ManagerConfigurationError: events over the web are not received."""
        raise ManagerConfigurationError(
            f"{self.name} is asked over the web, where this node receives no events; search it"
            " often enough instead"
        )

    def unsubscribe(self, uid: str | None = None) -> None:
        """Do nothing: there is no subscription to end."""

    def probe(self) -> str:
        """See `WorklistManager.probe`: a search for one workitem."""
        self._ask("GET", "workitems", _SEARCH, [("limit", "1")])
        return "offers UPS-RS"

    def _page(self, wanted: WorkitemFilter, offset: int) -> list[Dataset]:
        params = [*_keys(wanted), ("limit", str(_PAGE)), ("offset", str(offset))]
        return self._ask("GET", "workitems", _SEARCH, params)

    def _change_state(self, uid: str, transaction_uid: str, state: StepState, action: str) -> None:
        change = writing.state_change(state, transaction_uid)
        self._ask("PUT", f"workitems/{uid}/state", action, change=change, uid=uid)

    def _update(self, uid: str, change: Dataset, action: str) -> None:
        # The Transaction UID is in the query (PS3.18 11.6.1) and, as of N-SET, in the payload.
        params = [("transaction-uid", str(change.TransactionUID))]
        self._ask("POST", f"workitems/{uid}", action, params, change=change, uid=uid)

    def _ask(
        self,
        method: str,
        path: str,
        action: str,
        params: Sequence[tuple[str, str]] = (),
        *,
        change: Dataset | None = None,
        uid: str = "",
    ) -> list[Dataset]:
        """Send a request and return the data sets of the answer."""
        headers = {"Accept": DICOM_JSON}
        content = None
        if change is not None:
            headers["Content-Type"] = DICOM_JSON
            content = json.dumps([change.to_json_dict()]).encode()
        with (
            _named(),
            self._http.request(
                method, path, params=params, headers=headers, content=content
            ) as reply,
        ):
            if reply.status not in _DONE and reply.status != HTTPStatus.PARTIAL_CONTENT:
                refusal = self._refusal(reply, action)
            elif change is not None or reply.status == HTTPStatus.NO_CONTENT:
                return []
            else:
                return self._datasets(reply.read(LONGEST_ANSWER))
        if type(refusal) is WorkitemRefusedError and uid:
            raise self._by_state(refusal, uid, action)
        raise refusal

    def _datasets(self, body: bytes) -> list[Dataset]:
        found = []
        for each in objects_of_json(body, self._http.where):
            try:
                with suppressed_warnings():
                    found.append(Dataset.from_json(dict(each)))
            except Exception as error:
                # pydicom raises any exception for values of a wrong type.
                raise ManagerAnswerError(
                    f"{self._http.where} sent a workitem that is not DICOM JSON; tell the vendor "
                    "of its software"
                ) from error
        return found

    def _read(self, read: Callable[[Dataset], _Value], ds: Dataset) -> _Value:
        try:
            return read(ds)
        except ManagerAnswerError as error:
            raise ManagerAnswerError(
                f"{self._http.where}: {error}; tell the vendor of its software"
            ) from error

    def _refusal(self, reply: Reply, action: str) -> WorklistError:
        """Return the error for a status of failure; `Warning` may say more (PS3.18 11.7.3.2)."""
        status, where = reply.status, self._http.where
        warning = reply.header("warning").lower()
        message = f"{where} refused to {action} (HTTP {status})"
        if status in (HTTPStatus.UNAUTHORIZED, HTTPStatus.FORBIDDEN):
            return ManagerConfigurationError(f"{message}; allow it for this token or certificate")
        if status in _GONE:
            if action == _SEARCH:
                return ManagerConfigurationError(f"{message}; check the path in url")
            return UnknownWorkitemError(f"{message}: it has no such workitem", status)
        if status in _LATER or status >= HTTPStatus.INTERNAL_SERVER_ERROR:
            return ManagerUnreachableError(f"{message}; see its log if this goes on")
        if status not in _CONFLICTS:
            return ManagerConfigurationError(f"{message}; check that it offers UPS-RS")
        if "transaction uid" in warning:
            return TransactionUidError(f"{message}: another Transaction UID", status)
        return WorkitemRefusedError(message, status)

    def _by_state(self, refusal: WorkitemRefusedError, uid: str, action: str) -> WorklistError:
        """Return the error for a conflict, which the state of the workitem explains."""
        state = self.get(uid).state
        if state.is_final:
            kind: type[WorkitemRefusedError] = WorkitemClosedError
        elif state is StepState.SCHEDULED:
            kind = WorkitemRefusedError if action == _CLAIM else NotInProgressError
        elif action == _CLAIM:
            kind = AlreadyInProgressError
        else:
            kind = FinalStateError if action in (_COMPLETE, _CANCEL) else TransactionUidError
        return kind(f"{refusal}: the workitem is {state.value}", refusal.status, refusal.detail)


def _keys(wanted: WorkitemFilter) -> list[tuple[str, str]]:
    """Return the query parameters of a search; one code of a kind is a key."""
    keys = {
        "ProcedureStepState": wanted.state.value,
        "WorklistLabel": wanted.worklist_label,
        "PatientID": wanted.patient_id,
        "InputReadinessState": Readiness.READY.value if wanted.ready_only else "",
        "ReferencedRequestSequence.AccessionNumber": wanted.accession_number,
        "ScheduledProcedureStepStartDateTime": f"-{wanted.until}" if wanted.until else "",
    }
    for name, codes in (
        ("ScheduledWorkitemCodeSequence", wanted.codes),
        ("ScheduledStationNameCodeSequence", wanted.station_names),
    ):
        if len(codes) == 1:
            keys[f"{name}.CodeValue"] = codes[0].value
            keys[f"{name}.CodingSchemeDesignator"] = codes[0].scheme
    fields = (
        "ScheduledProcedureStepPriority",
        "ScheduledWorkitemCodeSequence",
        "ScheduledStationNameCodeSequence",
        "ScheduledProcedureStepStartDateTime",
        "InputReadinessState",
        "WorklistLabel",
        "ProcedureStepState",
        "PatientID",
    )
    return [
        *((key, value) for key, value in keys.items() if value),
        *(("includefield", field) for field in fields),
    ]


@contextmanager
def _named() -> Iterator[None]:
    """Give the errors of HTTP the names of a manager's errors."""
    try:
        yield
    except HttpError as error:
        is_answer = isinstance(error, DicomwebError) or error.status is not None
        if error.retryable:
            kind = ManagerAnswerError if is_answer else ManagerUnreachableError
            raise kind(str(error)) from error
        raise ManagerConfigurationError(str(error)) from error
