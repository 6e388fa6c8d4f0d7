"""Handlers of the messages about workitems that peers send to this node (PS3.4 Annex CC).

A manager reports events (N-EVENT-REPORT). With a shelf, peers push workitems (N-CREATE), look at
them (N-GET, C-FIND) and ask to cancel them (N-ACTION), by UPS Push and UPS Query.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from io import BytesIO
from typing import Any

from pydicom import Dataset
from pydicom.uid import UID
from pynetdicom import evt

from dicom_io.commitment.messages import MessageStatus, status_response
from dicom_io.errors import MalformedMessageError, NotDicomError
from dicom_io.peer.peers import Caller
from dicom_io.peer.tls_handshake import tls_identity
from dicom_io.read.bounded_parser import refuse_oversized_sequences
from dicom_io.read.header import is_uid, read_information, text
from dicom_io.ups.classes import REQUEST_CANCEL, UPS_EVENT, UPS_PUSH, UPS_QUERY
from dicom_io.ups.events import read_event
from dicom_io.ups.reading import codes_of
from dicom_io.ups.scp.created import attributes_of, new_workitem
from dicom_io.ups.scp.matching import answer, matches
from dicom_io.ups.scp.shelf import (
    CancelRequest,
    ShelfRefusalError,
    ShelfStatus,
    WorkitemShelf,
)
from dicom_io.ups.workitems import WorkitemEvent

MOST_ANSWERS = 500
"""Workitems that one query returns."""

OnEvent = Callable[[WorkitemEvent, Caller], MessageStatus]


@dataclass(frozen=True, slots=True)
class WorkitemHandlers:
    """Callbacks for messages about workitems. An exception in one is answered with status 0x0110.

    `on_event` is called from several threads at once and must be quick, since a manager waits
    meanwhile. Without `shelf`, no workitems can be pushed to this node.
    """

    on_event: OnEvent
    shelf: WorkitemShelf | None = None

    @property
    def sop_classes(self) -> tuple[str, ...]:
        """The SOP classes that are offered."""
        return (UPS_EVENT,) if self.shelf is None else (UPS_EVENT, UPS_PUSH, UPS_QUERY)

    def bindings(self) -> list[tuple[Any, ...]]:
        """Return the event handlers of an acceptor for the messages of this service alone."""
        if self.shelf is None:
            return []
        return [
            (evt.EVT_N_CREATE, self._on_create),
            (evt.EVT_N_GET, self._on_get),
            (evt.EVT_C_FIND, self._on_find),
        ]

    def on_event_report(self, event: evt.Event) -> tuple[Dataset, None]:
        """Handle an `evt.EVT_N_EVENT_REPORT`."""
        message: Any = event.request
        try:
            received = read_event(
                str(message.AffectedSOPClassUID),
                str(message.AffectedSOPInstanceUID),
                message.EventTypeID,
                _information(event, message.EventInformation),
            )
        except MalformedMessageError as error:
            return status_response(MessageStatus(error.status), str(error)), None
        return status_response(self.on_event(received, _caller(event))), None

    def on_action(self, event: evt.Event) -> tuple[Dataset, None]:
        """Handle an `evt.EVT_N_ACTION`."""
        return self._answered(lambda: self._act(event)), None

    def _on_create(self, event: evt.Event) -> tuple[Dataset, None]:
        return self._answered(lambda: self._create(event)), None

    def _on_get(self, event: evt.Event) -> tuple[Dataset, Dataset | None]:
        found = Dataset()
        return self._answered(lambda: found.update(self._get(event))), found

    def _on_find(self, event: evt.Event) -> Iterator[tuple[Dataset, Dataset | None]]:
        found: list[Dataset] = []
        status = self._answered(lambda: found.extend(self._find(event)))
        for each in found:
            if event.is_cancelled:
                yield _status(0xFE00), None
                return
            yield _status(0xFF00), each
        yield status, None

    def _create(self, event: evt.Event) -> None:
        message: Any = event.request
        uid = str(message.AffectedSOPInstanceUID or "")
        if str(message.AffectedSOPClassUID) != UPS_PUSH:
            raise ShelfRefusalError(ShelfStatus.NO_SUCH_CLASS, "not the UPS Push SOP Class")
        if not is_uid(uid):
            raise ShelfRefusalError(ShelfStatus.INVALID_ARGUMENT, "no valid SOP Instance UID")
        new = new_workitem(uid, _information(event, message.AttributeList))
        self._shelf.create(new, _caller(event))

    def _get(self, event: evt.Event) -> Dataset:
        message: Any = event.request
        kept = self._shelf.get(str(message.RequestedSOPInstanceUID), _caller(event))
        if kept is None:
            raise ShelfRefusalError(ShelfStatus.UNKNOWN_WORKITEM)
        ds = attributes_of(kept)
        wanted = {int(tag) for tag in event.attribute_identifiers}
        for element in list(ds):
            if wanted and int(element.tag) not in wanted:
                del ds[element.tag]
        return ds

    def _find(self, event: evt.Event) -> list[Dataset]:
        query = _information(event, event.request.Identifier)  # type: ignore[union-attr]
        found = []
        for kept in self._shelf.kept(_caller(event), MOST_ANSWERS):
            ds = attributes_of(kept)
            if matches(ds, query):
                found.append(answer(ds, query))
        return found

    def _act(self, event: evt.Event) -> None:
        message: Any = event.request
        uid = str(message.RequestedSOPInstanceUID)
        information = _information(event, message.ActionInformation)
        caller = _caller(event)
        if message.ActionTypeID != REQUEST_CANCEL:
            # A change of state is for performers that pull; this node performs itself.
            raise ShelfRefusalError(ShelfStatus.NO_SUCH_ACTION)
        self._shelf.request_cancel(uid, _cancel_request(information), caller)

    @property
    def _shelf(self) -> WorkitemShelf:
        if self.shelf is None:
            raise ShelfRefusalError(ShelfStatus.NO_SUCH_CLASS, "no workitems are kept here")
        return self.shelf

    def _answered(self, act: Callable[[], object]) -> Dataset:
        """Return the response with the status of an act."""
        try:
            act()
        except ShelfRefusalError as error:
            return status_response(error.status, str(error))
        except MalformedMessageError as error:
            return status_response(MessageStatus(error.status), str(error))
        except NotDicomError:
            return status_response(ShelfStatus.PROCESSING_FAILURE, "the workitem is damaged")
        return status_response(ShelfStatus.SUCCESS)


def _cancel_request(information: Dataset) -> CancelRequest:
    codes = codes_of(information, "ProcedureStepDiscontinuationReasonCodeSequence")
    return CancelRequest(
        reason=text(information, "ReasonForCancellation"),
        reason_code=codes[0] if codes else None,
        contact=text(information, "ContactDisplayName") or text(information, "ContactURI"),
    )


def _status(value: int) -> Dataset:
    response = Dataset()
    response.Status = value
    return response


def _caller(event: evt.Event) -> Caller:
    association = event.assoc
    peer = association.requestor if association.is_acceptor else association.acceptor
    return Caller(str(peer.ae_title).strip(), str(peer.address), *tls_identity(association))


def _information(event: evt.Event, encoded: BytesIO | None) -> Dataset:
    """Return the data set of the message. Raises MalformedMessageError if it cannot be read."""
    syntax = UID(event.context.transfer_syntax)
    try:
        ds = read_information(
            encoded.getvalue() if encoded else b"",
            implicit_vr=syntax.is_implicit_VR,
            little_endian=syntax.is_little_endian,
        )
        refuse_oversized_sequences(ds)
        return ds
    except NotDicomError as error:
        raise MalformedMessageError(str(error), MessageStatus.INVALID_ARGUMENT) from error
