"""An accepted association: served message by message, and gone without a trace when it ends."""

import logging
import socket
import threading
from typing import TYPE_CHECKING, Any

from pynetdicom import evt
from pynetdicom._globals import MODE_ACCEPTOR
from pynetdicom.association import Association
from pynetdicom.dimse_primitives import C_ECHO, C_STORE, N_ACTION, N_EVENT_REPORT, DimseServiceType
from pynetdicom.service_class import ServiceClass, StorageServiceClass, VerificationServiceClass
from pynetdicom.service_class_n import StorageCommitmentServiceClass
from pynetdicom.sop_class import uid_to_service_class

from dicom_io.connection import Wire
from dicom_io.limits import AbortReason, ReceivedData
from dicom_io.negotiation import APPLICATION_CONTEXT
from dicom_io.upper_layer import UpperLayer

if TYPE_CHECKING:
    from dicom_io.acceptor import BoundedEntity

log = logging.getLogger(__name__)


class AcceptedAssociation(Association):
    """An association, or a connection that may become one."""

    dul: UpperLayer

    def __init__(self, entity: "BoundedEntity", connection: socket.socket) -> None:
        super().__init__(entity, MODE_ACCEPTOR)
        limits = entity.limits
        self.being_served = 0
        self._counting = threading.Lock()
        self._entity = entity
        self._connection = connection
        self.dul = UpperLayer(self, limits, entity.budget, _report)
        # The association's thread waits for its upper layer, which watches every time limit.
        self.acse_timeout = None
        self.network_timeout = limits.idle_seconds
        self.dul.artim_timer.timeout = limits.request_seconds
        self.set_socket(Wire(self, connection, limits.stall_seconds))

    @property
    def is_busy(self) -> bool:
        """Whether a message of the peer is being acted on."""
        return self.being_served > 0

    @property
    def entity(self) -> "BoundedEntity":
        """What accepted it."""
        return self._entity

    def has_asked(self) -> None:
        """Its request was heard: it no longer counts as a connection that waits."""
        self._entity.gate.leave(self._connection)

    def run_reactor(self) -> None:
        """Serve the association until it has ended; leave nothing behind."""
        try:
            super().run_reactor()
        except Exception as error:  # noqa: BLE001 - whatever a peer's bytes make pynetdicom raise
            log.debug("an association failed: %r", error)
            self.dul.refuse(AbortReason.MALFORMED)
            self.dul.join(self._entity.limits.request_seconds)
        finally:
            self.dul.kill_dul()
            self.has_asked()
            while not self.dimse.msg_queue.empty():
                _let_go(self.dimse.msg_queue.get_nowait()[1])

    def _bind_defaults(self) -> None:
        """Without the handlers that put every message into words for a log nobody keeps."""
        for event in evt._INTERVENTION_EVENTS:
            self.bind(event, evt.get_default_handler(event))

    def _serve_request(self, msg: DimseServiceType, context_id: int) -> None:
        with self._counting:
            self.being_served += 1
        try:
            if _is_served(msg):
                super()._serve_request(msg, context_id)
            else:
                self.dul.refuse(refusal_of(msg) or AbortReason.MALFORMED)
        finally:
            _let_go(msg)
            with self._counting:
                self.being_served -= 1


def _report(association: AcceptedAssociation, reason: AbortReason) -> None:
    request: Any = association.requestor.primitive
    calling = called = ""
    # Of what is not DICOM no title is told: it may be anything.
    if (
        request
        and association.dul.speaks_version_1
        and request.application_context_name == APPLICATION_CONTEXT
    ):
        calling = str(request.calling_ae_title).strip()
        called = str(request.called_ae_title).strip()
    association.entity.on_abort(reason, calling, called, str(association.requestor.address))


def refusal_of(message: "DimseServiceType") -> AbortReason | None:
    """Why the data set of a message was not held, if it was not."""
    data = message._dataset
    return data.refusal if isinstance(data, ReceivedData) else None


def forget_bytes(message: "DimseServiceType") -> None:
    """Free a data set of which there is a copy by now; it counts until the message is answered."""
    if isinstance(message._dataset, ReceivedData):
        message._dataset.forget()


def _is_served(message: DimseServiceType) -> bool:
    """Whether pynetdicom hands it to the service that it is meant for.

    It chooses the service by the SOP class alone, so that a C-STORE of the Verification class
    would be answered as a C-ECHO, with success.
    """
    if message.MessageIDBeingRespondedTo is not None:
        return True
    if not message.is_valid_request:
        return False
    if isinstance(message, C_STORE):
        # One that was too large is answered, too.
        return issubclass(_service(message.AffectedSOPClassUID), StorageServiceClass)
    if refusal_of(message) is not None:
        return False
    if isinstance(message, C_ECHO):
        return _service(message.AffectedSOPClassUID) is VerificationServiceClass
    if isinstance(message, N_EVENT_REPORT):
        return _service(message.AffectedSOPClassUID) is StorageCommitmentServiceClass
    return (
        isinstance(message, N_ACTION)
        and _service(message.RequestedSOPClassUID) is StorageCommitmentServiceClass
    )


def _service(sop_class_uid: str | None) -> type[ServiceClass]:
    return uid_to_service_class(str(sop_class_uid))


def _let_go(message: "DimseServiceType | None") -> None:
    if message is not None and isinstance(message._dataset, ReceivedData):
        message._dataset.let_go()
