"""A worklist manager over DIMSE: the SCU of UPS Pull and UPS Watch (PS3.4 Annex CC)."""

import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from types import TracebackType
from typing import Any, Self, cast

from pydicom import Dataset
from pydicom.tag import Tag
from pynetdicom import build_context
from pynetdicom.association import Association

from dicom_io.errors import AssociationError, UnmatchedResponseError
from dicom_io.objects.classes import PLAIN_SYNTAXES, VERIFICATION
from dicom_io.send.association import Destination, accepted_syntaxes, associate
from dicom_io.ups import reading, statuses, writing
from dicom_io.ups.classes import (
    CHANGE_STATE,
    GLOBAL_SUBSCRIPTION,
    SUBSCRIBE,
    UNSPECIFIED_REASON,
    UNSUBSCRIBE,
    UPS_PULL,
    UPS_PUSH,
    UPS_WATCH,
)
from dicom_io.ups.errors import (
    AlreadyInProgressError,
    ManagerAnswerError,
    ManagerConfigurationError,
    ManagerUnreachableError,
    TransactionUidError,
    WorkitemClosedError,
    WorklistError,
)
from dicom_io.ups.messages import BoundedProvider
from dicom_io.ups.workitems import (
    Code,
    FoundWorkitem,
    Performed,
    StepState,
    WorkitemDetails,
    WorkitemFilter,
)

FIND_SECONDS = 120.0
"""Time in which a manager sends all answers to one query."""
_MOST_ANSWERS = 5000
"""Answers to one query, those included that do not match it."""
_PENDING = frozenset({0xFF00, 0xFF01})
_CANCELLED = 0xFE00
_DETAIL_TAGS = [Tag(keyword) for keyword in reading.DETAIL_KEYWORDS]


class DimseManager:
    """A `WorklistManager` at a DICOM node.

    The association is opened by the first request and again after it broke. Events are sent to
    `calling_ae_title` of the destination, at the address that the manager knows for it.
    """

    def __init__(self, destination: Destination, find_seconds: float = FIND_SECONDS) -> None:
        self.name = destination.name
        self._destination = destination
        self._find_seconds = find_seconds
        self._opened: Association | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        association, self._opened = self._opened, None
        if association is not None and association.is_established:
            association.release()

    def find(self, wanted: WorkitemFilter) -> list[FoundWorkitem]:
        """See `WorklistManager.find`; a manager that never ends its answers is cut off."""
        found: dict[str, FoundWorkitem] = {}
        for answer in self._answers(wanted):
            with self._named():
                workitem = reading.found_of(answer)
            if reading.is_wanted(workitem, wanted):
                found.setdefault(workitem.uid, workitem)
            if len(found) >= wanted.limit:
                # Answers on their way would meet the next request.
                self._end()
                break
        return list(found.values())

    def get(self, uid: str) -> WorkitemDetails:
        """See `WorklistManager.get`."""
        with self._exchange(UPS_PULL, "show a workitem") as association:
            status, ds = association.send_n_get(_DETAIL_TAGS, UPS_PUSH, uid, meta_uid=UPS_PULL)
        self._check(status, "show a workitem")
        with self._named():
            return reading.details_of(ds or Dataset(), uid)

    def claim(self, uid: str, transaction_uid: str) -> None:
        """See `WorklistManager.claim`.

        A manager may answer the repeat of a claim as if another performer had the workitem. A
        report of progress tells the two apart: only the holder may send one (PS3.4 CC.2.6.3).
        """
        action = "hand over a workitem"
        try:
            self._change_state(uid, transaction_uid, StepState.IN_PROGRESS, action)
        except TransactionUidError as error:
            raise AlreadyInProgressError(str(error), error.status, error.detail) from error
        except AlreadyInProgressError as error:
            try:
                self.progress(uid, transaction_uid, 0)
            except TransactionUidError:
                raise error from None

    def progress(
        self, uid: str, transaction_uid: str, percent: float, description: str = ""
    ) -> None:
        """See `WorklistManager.progress`."""
        change = writing.progress_change(transaction_uid, percent, description)
        self._set(uid, change, "take the progress of a workitem")

    def set_performed(self, uid: str, transaction_uid: str, performed: Performed) -> None:
        """See `WorklistManager.set_performed`."""
        change = writing.performed_change(transaction_uid, performed)
        self._set(uid, change, "take the results of a workitem")

    def complete(self, uid: str, transaction_uid: str) -> None:
        """See `WorklistManager.complete`."""
        self._change_state(uid, transaction_uid, StepState.COMPLETED, "complete a workitem")

    def cancel(
        self, uid: str, transaction_uid: str, reason_code: Code | None = None, reason: str = ""
    ) -> None:
        """See `WorklistManager.cancel`."""
        code = reason_code or UNSPECIFIED_REASON
        # A workitem that is cancelled already takes no reason, but the change of state is harmless.
        with suppress(WorkitemClosedError):
            change = writing.cancel_change(transaction_uid, code, reason)
            self._set(uid, change, "take the reason for a cancellation")
        self._change_state(uid, transaction_uid, StepState.CANCELED, "cancel a workitem")

    def subscribe(self, uid: str | None = None) -> None:
        """See `WorklistManager.subscribe`; no deletion lock is asked for."""
        ds = Dataset()
        ds.ReceivingAE = self._destination.calling_ae_title
        ds.DeletionLock = "FALSE"
        self._act(uid or GLOBAL_SUBSCRIPTION, ds, SUBSCRIBE, UPS_WATCH, "send events")

    def unsubscribe(self, uid: str | None = None) -> None:
        """See `WorklistManager.unsubscribe`."""
        ds = Dataset()
        ds.ReceivingAE = self._destination.calling_ae_title
        self._act(uid or GLOBAL_SUBSCRIPTION, ds, UNSUBSCRIBE, UPS_WATCH, "end its events")

    def probe(self) -> str:
        """See `WorklistManager.probe`."""
        association = self._association(UPS_PULL)
        watch = UPS_WATCH in accepted_syntaxes(association)
        return "offers UPS Pull" + (" and UPS Watch" if watch else ", but no UPS Watch (no events)")

    def _change_state(self, uid: str, transaction_uid: str, state: StepState, action: str) -> None:
        change = writing.state_change(state, transaction_uid)
        self._act(uid, change, CHANGE_STATE, UPS_PULL, action)

    def _act(self, uid: str, information: Dataset, kind: int, context: str, action: str) -> None:
        with self._exchange(context, action) as association:
            status, _ = association.send_n_action(
                information, kind, UPS_PUSH, uid, meta_uid=context
            )
        self._check(status, action)

    def _set(self, uid: str, change: Dataset, action: str) -> None:
        with self._exchange(UPS_PULL, action) as association:
            status, _ = association.send_n_set(change, UPS_PUSH, uid, meta_uid=UPS_PULL)
        self._check(status, action)

    def _answers(self, wanted: WorkitemFilter) -> Iterator[Dataset]:
        """Yield the answers to a query; each can be decoded."""
        action = "search for workitems"
        until = time.monotonic() + self._find_seconds
        count = 0
        with self._exchange(UPS_PULL, action) as association:
            provider = cast(BoundedProvider, association.dimse)
            provider.on_wait = lambda: self._check_time(until)
            for status, answer in association.send_c_find(writing.query_of(wanted), UPS_PULL):
                code = self._status(status)
                if code not in _PENDING:
                    if code != _CANCELLED:
                        self._check(status, action)
                    return
                self._check_time(until)
                count += 1
                if count > _MOST_ANSWERS:
                    self._end()
                    raise ManagerAnswerError(
                        self._at_fault(f"it gave more than {_MOST_ANSWERS} answers to one search")
                    )
                if answer is None:
                    self._end()
                    raise ManagerAnswerError(self._at_fault("it gave an answer that is no DICOM"))
                yield answer

    def _check_time(self, until: float) -> None:
        if time.monotonic() > until:
            self._end()
            raise ManagerUnreachableError(
                f"{self.name} is still answering a search after {self._find_seconds:.0f} s; look "
                "whether it is overloaded"
            )

    def _end(self) -> None:
        association, self._opened = self._opened, None
        if association is not None and association.is_established:
            association.abort()

    @contextmanager
    def _exchange(self, context: str, action: str) -> Iterator[Any]:
        """Give the association for one request; name what went wrong on it."""
        association = self._association(context)
        try:
            yield association
        except UnmatchedResponseError as error:
            self._end()
            raise ManagerAnswerError(str(error)) from error
        except AssociationError as error:
            self._end()
            raise ManagerUnreachableError(str(error)) from error
        except (RuntimeError, ValueError) as error:
            self._end()
            raise ManagerUnreachableError(
                f"{self.name} ended the association, or cannot be asked to {action}"
            ) from error

    @contextmanager
    def _named(self) -> Iterator[None]:
        """Name the manager in the fault of an answer."""
        try:
            yield
        except ManagerAnswerError as error:
            raise ManagerAnswerError(self._at_fault(str(error))) from error

    def _association(self, context: str) -> Association:
        if self._opened is None or not self._opened.is_established:
            self._opened = self._associate()
        accepted = accepted_syntaxes(self._opened)
        if context not in accepted:
            service = "UPS Watch" if context == UPS_WATCH else "UPS Pull"
            raise ManagerConfigurationError(
                f"{self.name} does not offer {service} to {self._destination.calling_ae_title}; "
                "allow it there"
            )
        return self._opened

    def _associate(self) -> Association:
        contexts = [
            build_context(uid, list(PLAIN_SYNTAXES)) for uid in (VERIFICATION, UPS_PULL, UPS_WATCH)
        ]
        try:
            return associate(self._destination, contexts, provider=BoundedProvider)
        except AssociationError as error:
            kind = ManagerUnreachableError if error.retryable else ManagerConfigurationError
            raise kind(str(error)) from error

    def _status(self, response: Dataset) -> int:
        if "Status" in response:
            return int(response.Status)
        raise self._no_answer()

    def _no_answer(self) -> WorklistError:
        provider = self._opened.dimse if self._opened is not None else None
        fault = provider.fault if isinstance(provider, BoundedProvider) else ""
        # pynetdicom notices the end of an association a moment after it reports no answer.
        self._end()
        if fault:
            return ManagerAnswerError(self._at_fault(f"it sends {fault}"))
        return ManagerUnreachableError(
            f"{self.name} gave no answer in time, or broke the association"
        )

    def _check(self, response: Dataset, action: str) -> None:
        status = self._status(response)
        if not statuses.is_success(status):
            comment = str(response.get("ErrorComment", "") or "")
            raise statuses.error_of(self.name, action, status, comment)

    def _at_fault(self, problem: str) -> str:
        return f"{self.name}: {problem}; tell the vendor of its software"
