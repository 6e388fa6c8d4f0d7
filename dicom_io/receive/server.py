"""An accepted association: served message by message, and gone without a trace when it ends."""

import errno
import functools
import logging
import socket
import ssl
import threading
import time
from collections import Counter
from collections.abc import Callable
from datetime import datetime
from typing import Any, cast

from pynetdicom import AE, evt
from pynetdicom._globals import MODE_ACCEPTOR
from pynetdicom.dimse_primitives import C_ECHO, C_STORE, N_ACTION, N_EVENT_REPORT, DimseServiceType
from pynetdicom.presentation import build_context
from pynetdicom.service_class import ServiceClass, StorageServiceClass, VerificationServiceClass
from pynetdicom.service_class_n import StorageCommitmentServiceClass
from pynetdicom.sop_class import uid_to_service_class
from pynetdicom.transport import AddressInformation, RequestHandler, ThreadedAssociationServer

from dicom_io.peer.tls_handshake import Handshakes, TlsFault
from dicom_io.receive.limits import AbortReason, Limits, MemoryBudget, ReceivedData
from dicom_io.receive.negotiation import APPLICATION_CONTEXT, VERIFICATION_CLASS
from dicom_io.receive.upper_layer import ServedAssociation, UpperLayer, Wire

log = logging.getLogger(__name__)


class AcceptedAssociation(ServedAssociation):
    """An association, or a connection that may become one."""

    def __init__(self, entity: "BoundedEntity", connection: socket.socket) -> None:
        super().__init__(entity, MODE_ACCEPTOR)
        limits = entity.limits
        self.being_served = 0
        self._counting = threading.Lock()
        self._entity = entity
        self._connection = connection
        self.dul = UpperLayer(self, limits, entity.budget, functools.partial(_report, self))
        # The association's thread waits for its upper layer, which watches every time limit.
        self.acse_timeout = None
        self.network_timeout = limits.idle_seconds
        self.dul.artim_timer.timeout = limits.request_seconds
        self.set_socket(Wire(self, connection, limits.stall_seconds))

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


log = logging.getLogger(__name__)

_NO_LIMIT = 1_000_000

_OUT_OF_FILES_SECONDS = 0.2

OnAbort = Callable[[AbortReason | TlsFault, str, str, str], None]
"""Reason, calling and called AE title where known, host."""


class Gate:
    """Counts connections that have not asked for an association; thread-safe."""

    def __init__(self, limits: Limits) -> None:
        self._limits = limits
        self._lock = threading.Lock()
        self._waiting: dict[socket.socket, str] = {}
        self._hosts: Counter[str] = Counter()

    def admit(self, connection: socket.socket, host: str) -> bool:
        """Whether there is room for one more, which then counts until it leaves."""
        with self._lock:
            if (
                len(self._waiting) >= self._limits.max_waiting
                or self._hosts[host] >= self._limits.max_waiting_per_host
            ):
                return False
            self._waiting[connection] = host
            self._hosts[host] += 1
            return True

    def leave(self, connection: socket.socket) -> None:
        """It has asked, or is closed; may be called again."""
        with self._lock:
            host = self._waiting.pop(connection, None)
            if host is not None:
                self._hosts[host] -= 1
                if not self._hosts[host]:
                    del self._hosts[host]


class Capacity:
    """What one node, or several that share it, may hold together; thread-safe."""

    def __init__(self, limits: Limits, max_associations: int) -> None:
        self.budget = MemoryBudget(limits.max_receiving_bytes)
        self.gate = Gate(limits)
        self._max_associations = max_associations
        self._open: set[AcceptedAssociation] = set()
        self._lock = threading.Lock()

    def admit(self, association: AcceptedAssociation) -> bool:
        """Whether there is room for one more, which then counts until it has ended."""
        with self._lock:
            self._open = {one for one in self._open if one.is_alive()}
            if len(self._open) >= self._max_associations:
                return False
            self._open.add(association)
            return True


class _Handler(RequestHandler):
    """Makes the association of a connection."""

    server: "BoundedServer"

    def _create_association(self) -> AcceptedAssociation:
        entity = self.server.ae
        association = AcceptedAssociation(entity, cast(socket.socket, self.request))
        association._server = self.server
        # By this name pynetdicom finds the associations of a server.
        association.name = f"AcceptorThread@{datetime.now():%Y%m%d%H%M%S}"  # noqa: DTZ005
        association.requestor.address_info = self.remote
        acceptor = association.acceptor
        acceptor.address_info = self.local
        acceptor.ae_title = self.server.ae_title
        acceptor.maximum_length = entity.maximum_pdu_size
        acceptor.implementation_class_uid = entity.implementation_class_uid
        acceptor.implementation_version_name = entity.implementation_version_name
        # What is supported depends on who asks: the owner's handler of the request says it.
        acceptor.supported_contexts = [build_context(VERIFICATION_CLASS)]
        for event, bound in self.server._handlers.items():
            # One where an answer is expected, any number where not.
            for handler, arguments in [bound] if isinstance(bound, tuple) else bound:
                association.bind(event, handler, arguments)
        return association


class BoundedServer(ThreadedAssociationServer):
    """Accepts connections and never waits for one of them."""

    ae: "BoundedEntity"
    daemon_threads = True
    # socketserver's own queue of five makes a sixth at once wait a second for its retry.
    request_queue_size = 128

    def serve_forever(self, poll_interval: float = 0.1) -> None:
        """Accept connections until the server is shut down, which takes `poll_interval` seconds."""
        super().serve_forever(poll_interval)

    def get_request(self) -> tuple[socket.socket, Any]:
        """The next connection; a TLS handshake is left to its thread."""
        try:
            connection, address = cast(socket.socket, self.socket).accept()
        except OSError as error:
            if error.errno in (errno.EMFILE, errno.ENFILE):
                log.error("no more files can be opened: raise the limit (ulimit -n)")
                time.sleep(_OUT_OF_FILES_SECONDS)
            raise
        try:
            _keep_alive(connection, self.ae.limits.keepalive_seconds)
            if self.ssl_context is not None:
                connection = self.ssl_context.wrap_socket(
                    connection, server_side=True, do_handshake_on_connect=False
                )
        except OSError:
            # It is closed already.
            connection.close()
            raise
        return connection, address

    def verify_request(self, request: Any, client_address: Any) -> bool:
        """Whether one more connection may wait."""
        host = _host(client_address)
        if self.ae.gate.admit(request, host):
            return True
        self.ae.on_abort(AbortReason.TOO_MANY_CONNECTIONS, "", "", host)
        return False

    def process_request_thread(self, request: Any, client_address: Any) -> None:
        """Shake hands, then start the association's own threads."""
        try:
            host = _host(client_address)
            plain = not isinstance(request, ssl.SSLSocket)
            if plain or self.ae.handshakes.shake(request, host):
                self.finish_request(request, client_address)
                return
        except OSError as error:
            log.debug("a connection failed: %r", error)
        except RuntimeError as error:
            log.error("a connection gets no thread: %s", error)
        self.ae.gate.leave(request)
        self.shutdown_request(request)

    def handle_error(self, request: Any, client_address: Any) -> None:
        """One line: the connection could not even be given a thread."""
        log.error("a connection from %s could not be taken up", _host(client_address))
        self.ae.gate.leave(request)

    def _bind_defaults(self) -> None:
        for event in evt._INTERVENTION_EVENTS:
            self.bind(event, evt.get_default_handler(event))


class BoundedEntity(AE):
    """An application entity whose server and associations keep to `limits`."""

    def __init__(
        self, ae_title: str, limits: Limits, capacity: Capacity, on_abort: OnAbort
    ) -> None:
        super().__init__(ae_title)
        self.limits = limits
        self.budget = capacity.budget
        self.gate = capacity.gate
        self.on_abort = on_abort
        self.handshakes = Handshakes(limits.request_seconds, self._on_no_tls)
        # The one size that lets a sender use as large a PDU as it likes: several times faster.
        self.maximum_pdu_size = 0
        # pynetdicom counts bare connections too; the owner counts associations.
        self.maximum_associations = _NO_LIMIT

    def _on_no_tls(self, host: str, fault: TlsFault) -> None:
        self.on_abort(fault, "", "", host)

    def make_server(self, *arguments: Any, **options: Any) -> ThreadedAssociationServer:
        """The bounded server, whichever is asked for."""
        options |= {"server_class": BoundedServer, "request_handler": _Handler}
        return cast(ThreadedAssociationServer, super().make_server(*arguments, **options))


def _keep_alive(connection: socket.socket, seconds: int) -> None:
    """Let the system ask a silent peer whether it still exists, and give up on one that is gone."""
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    if hasattr(socket, "TCP_KEEPIDLE"):
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPIDLE, seconds)
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPINTVL, max(1, seconds // 4))
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPCNT, 4)


def _host(client_address: Any) -> str:
    return str(AddressInformation.from_tuple(client_address).address)
