"""The server of a node: it accepts connections within limits and serves their associations."""

import contextlib
import errno
import functools
import logging
import socket
import ssl
import threading
import time
from collections import Counter
from collections.abc import Callable, Sequence
from datetime import datetime
from typing import Any, cast

from pynetdicom import AE, evt
from pynetdicom._globals import APPLICATION_CONTEXT_NAME, MODE_ACCEPTOR
from pynetdicom.association import Association
from pynetdicom.dimse_primitives import (
    C_ECHO,
    C_FIND,
    C_STORE,
    N_ACTION,
    N_CREATE,
    N_EVENT_REPORT,
    N_GET,
    DimseServiceType,
)
from pynetdicom.presentation import build_context
from pynetdicom.service_class import ServiceClass, StorageServiceClass, VerificationServiceClass
from pynetdicom.service_class_n import (
    StorageCommitmentServiceClass,
    UnifiedProcedureStepServiceClass,
)
from pynetdicom.sop_class import uid_to_service_class
from pynetdicom.transport import AddressInformation, RequestHandler, ThreadedAssociationServer

from dicom_io.objects.classes import VERIFICATION
from dicom_io.peer.tls_handshake import Handshakes, TlsFault
from dicom_io.receive.events import RejectReason
from dicom_io.receive.limits import AbortReason, Limits, MemoryBudget, ReceivedData
from dicom_io.receive.store_request import StoreStatus
from dicom_io.receive.upper_layer import BoundedSocket, UpperLayer

log = logging.getLogger(__name__)

_NO_LIMIT = 1_000_000
_OUT_OF_FILES_SECONDS = 0.2
_ESTABLISHED_POLL_SECONDS = 0.01

_LOG_EVENTS = (evt.EVT_DIMSE_RECV, evt.EVT_DIMSE_SENT, evt.EVT_PDU_RECV, evt.EVT_PDU_SENT)
"""Events to which pynetdicom binds handlers of its own, which format each message for the log."""

_NOTIFYING = (StorageCommitmentServiceClass, UnifiedProcedureStepServiceClass)
"""Services whose messages are N-ACTION and N-EVENT-REPORT."""

OnAbort = Callable[[AbortReason | TlsFault, str, str, str, str], None]
"""Called with reason, calling and called AE title (empty if unknown), host and detail."""


class PendingConnections:
    """Counts the connections that have not requested an association; thread-safe."""

    def __init__(self, limits: Limits) -> None:
        self._limits = limits
        self._lock = threading.Lock()
        self._pending: dict[socket.socket, str] = {}
        self._hosts: Counter[str] = Counter()

    def add(self, connection: socket.socket, host: str) -> bool:
        """Count one more connection. Returns False, and does not count it, at a limit."""
        with self._lock:
            if (
                len(self._pending) >= self._limits.max_waiting
                or self._hosts[host] >= self._limits.max_waiting_per_host
            ):
                return False
            self._pending[connection] = host
            self._hosts[host] += 1
            return True

    def remove(self, connection: socket.socket) -> None:
        """Count a connection no longer: it requested an association or is closed.

        May be called again.
        """
        with self._lock:
            host = self._pending.pop(connection, None)
            if host is not None:
                self._hosts[host] -= 1
                if not self._hosts[host]:
                    del self._hosts[host]

    @property
    def is_empty(self) -> bool:
        """True if each open connection has requested an association."""
        return not self._pending


class Capacity:
    """Memory, connections and associations of a node, or of several that share it; thread-safe."""

    def __init__(self, limits: Limits, max_associations: int) -> None:
        self.budget = MemoryBudget(limits.max_receiving_bytes)
        self.pending = PendingConnections(limits)
        self._max_associations = max_associations
        self._max_echoes = limits.max_echoes
        self._open: set[AcceptedAssociation] = set()
        self._lock = threading.Lock()

    def add(self, association: "AcceptedAssociation") -> bool:
        """Count one more association until it has ended. Returns False at the limit.

        Associations for C-ECHO of callers that are no peers have a limit of their own.
        """
        most = self._max_echoes if association.is_echo_only else self._max_associations
        with self._lock:
            self._open = {counted for counted in self._open if counted.is_alive()}
            alike = [each for each in self._open if each.is_echo_only is association.is_echo_only]
            if len(alike) >= most:
                return False
            self._open.add(association)
            return True


class AcceptedAssociation(Association):
    """An association, or a connection that may become one.

    `is_echo_only` is True for that of a caller that is not a peer.
    """

    dul: UpperLayer

    def __init__(self, entity: "BoundedEntity", connection: socket.socket) -> None:
        super().__init__(entity, MODE_ACCEPTOR)
        limits = entity.limits
        self._entity = entity
        self._connection = connection
        self.is_echo_only = False
        self._in_service = 0
        self._counting = threading.Lock()
        self.dul = UpperLayer(
            self,
            limits,
            entity.capacity.budget,
            functools.partial(_report_abort, self, entity.on_abort),
            lambda: self._in_service,
        )
        # The association's thread waits for the upper layer, which has all the timeouts.
        self.acse_timeout = None
        self.network_timeout = limits.idle_seconds
        self.dul.artim_timer.timeout = limits.request_seconds
        self.set_socket(BoundedSocket(self, connection, limits.stall_seconds))
        for event in _LOG_EVENTS:
            for handler, _ in cast(list[Any], self.get_handlers(event)):
                self.unbind(event, handler)

    @property
    def protocol_fault(self) -> RejectReason | None:
        """Return the reason if the request is not a DICOM association request (PS3.8 9.3.2).

        AE titles in such a request may be anything, and are not reported.
        """
        if self.dul.request is None or not self.dul.request.is_version_1:
            return RejectReason.PROTOCOL_VERSION
        request: Any = self.requestor.primitive
        if request.application_context_name != APPLICATION_CONTEXT_NAME:
            return RejectReason.APPLICATION_CONTEXT
        return None

    def request_received(self) -> None:
        """Count the connection no longer as one without an association request."""
        self._entity.capacity.pending.remove(self._connection)

    def serve_echo_only(self) -> None:
        """Give the association the short time of a caller that is not a peer."""
        self.is_echo_only = True
        self.network_timeout = self._entity.limits.echo_idle_seconds
        self.dul.end_after(self._entity.limits.echo_seconds)

    def run_reactor(self) -> None:
        """Serve the association until it has ended, then free its memory and its connection."""
        try:
            super().run_reactor()
        except Exception as error:  # noqa: BLE001 - a peer's bytes can make pynetdicom raise any
            log.debug("an association failed: %s", type(error).__name__)
            self.dul.abort(AbortReason.MALFORMED)
            self.dul.join(self._entity.limits.request_seconds)
        finally:
            self.dul.kill_dul()
            self.request_received()
            while not self.dimse.msg_queue.empty():
                _release_data(self.dimse.msg_queue.get_nowait()[1])

    def _serve_request(self, msg: DimseServiceType, context_id: int) -> None:
        with self._counting:
            self._in_service += 1
        try:
            if isinstance(msg, N_EVENT_REPORT) and msg.MessageIDBeingRespondedTo is not None:
                # An AnswerChannel has read the response. pynetdicom would warn about it.
                return
            if isinstance(msg, N_EVENT_REPORT):
                self._wait_until_established()
            fault = _store_fault(msg)
            if fault:
                self.dimse.send_msg(_store_failure(msg, fault), context_id)
            elif _is_served(msg) and self._is_in_its_context(msg, context_id):
                super()._serve_request(msg, context_id)
            else:
                name = f"{type(msg).__name__.replace('_', '-')} request"
                self.dul.abort(refusal_of(msg) or AbortReason.MALFORMED, name)
        finally:
            _release_data(msg)
            with self._counting:
                self._in_service -= 1

    def _wait_until_established(self) -> None:
        """Wait until the handlers of the acceptance are done.

        pynetdicom serves an N-EVENT-REPORT in a thread of its own, maybe before that, and would
        send no response.
        """
        deadline = time.monotonic() + self._entity.limits.request_seconds
        while not self.is_established and self.is_alive() and time.monotonic() < deadline:
            time.sleep(_ESTABLISHED_POLL_SECONDS)

    def _is_in_its_context(self, message: DimseServiceType, context_id: int) -> bool:
        """Return False for a message about workitems in a context of another service."""
        named = _service(_class_uid(message))
        return named is not UnifiedProcedureStepServiceClass or any(
            context.context_id == context_id and _service(context.abstract_syntax) is named
            for context in self.accepted_contexts
        )


class _Handler(RequestHandler):
    """Starts the association of one connection."""

    server: "BoundedServer"

    def handle(self) -> None:
        """Create the association, bind the entity's handlers to it and start its threads."""
        entity = self.server.ae
        association = AcceptedAssociation(entity, cast(socket.socket, self.request))
        association._server = self.server
        # pynetdicom finds the associations of a server by this name.
        association.name = f"AcceptorThread@{datetime.now():%Y%m%d%H%M%S}"  # noqa: DTZ005
        association.requestor.address_info = self.remote
        acceptor = association.acceptor
        acceptor.address_info = self.local
        acceptor.ae_title = self.server.ae_title
        acceptor.maximum_length = entity.maximum_pdu_size
        acceptor.implementation_class_uid = entity.implementation_class_uid
        acceptor.implementation_version_name = entity.implementation_version_name
        # The handler of EVT_REQUESTED replaces these by the contexts that the caller may use.
        acceptor.supported_contexts = [build_context(VERIFICATION)]
        for binding in entity.handlers:
            association.bind(*binding)
        association.start()


class BoundedServer(ThreadedAssociationServer):
    """Accepts connections; the accepting thread never waits for a peer."""

    ae: "BoundedEntity"
    daemon_threads = True
    # With socketserver's five, a sixth simultaneous connection waits a second for its retry.
    request_queue_size = 128

    def serve_forever(self, poll_interval: float = 0.1) -> None:
        """Accept connections until the server is shut down, which takes `poll_interval` seconds."""
        super().serve_forever(poll_interval)

    def server_bind(self) -> None:
        """Bind the socket; with `reuse_port` other processes may bind the same address, too."""
        if self.ae.reuse_port:
            cast(socket.socket, self.socket).setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        super().server_bind()

    def server_close(self) -> None:
        """Accept the connections that the system has accepted already, then close the socket.

        The system would reset them: their peers are connected and may have sent a request.
        """
        cast(socket.socket, self.socket).setblocking(False)
        with contextlib.suppress(OSError):
            for _ in range(2 * self.request_queue_size):
                request, address = self.get_request()
                if self.verify_request(request, address):
                    self.process_request(request, address)
                else:
                    self.shutdown_request(request)
        super().server_close()

    def get_request(self) -> tuple[socket.socket, Any]:
        """Return the next connection; the thread of the connection does the TLS handshake."""
        try:
            connection, address = cast(socket.socket, self.socket).accept()
        except OSError as error:
            if error.errno in (errno.EMFILE, errno.ENFILE):
                log.error("out of file descriptors: raise the limit (ulimit -n)")
                time.sleep(_OUT_OF_FILES_SECONDS)
            raise
        try:
            _set_keepalive(connection, self.ae.limits.keepalive_seconds)
            if self.ssl_context is not None:
                connection = self.ssl_context.wrap_socket(
                    connection, server_side=True, do_handshake_on_connect=False
                )
        except OSError:
            # The peer has closed the connection already.
            connection.close()
            raise
        return connection, address

    def verify_request(self, request: Any, client_address: Any) -> bool:
        """Return True, and count the connection as pending, if one more is allowed."""
        host = _host(client_address)
        if self.ae.capacity.pending.add(request, host):
            return True
        self.ae.on_abort(AbortReason.TOO_MANY_CONNECTIONS, "", "", host, "")
        return False

    def process_request_thread(self, request: Any, client_address: Any) -> None:
        """Do the TLS handshake, then start the threads of the association."""
        try:
            host = _host(client_address)
            is_plain = not isinstance(request, ssl.SSLSocket)
            if is_plain or self.ae.handshakes.perform(request, host):
                self.finish_request(request, client_address)
                return
        except OSError as error:
            log.debug("a connection failed: %s", type(error).__name__)
        except RuntimeError as error:
            log.error("no thread for a connection: %s", error)
        self.ae.capacity.pending.remove(request)
        self.shutdown_request(request)

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Log one line: no thread could be started for the connection."""
        log.error("no thread for a connection from %s", _host(client_address))
        self.ae.capacity.pending.remove(request)


class BoundedEntity(AE):
    """An application entity whose server and associations keep to `limits`.

    `handlers` are (event, function) or (event, function, arguments) to bind to each association.
    """

    def __init__(
        self,
        ae_title: str,
        limits: Limits,
        capacity: Capacity,
        on_abort: OnAbort,
        handlers: Sequence[tuple[Any, ...]] = (),
        *,
        reuse_port: bool = False,
    ) -> None:
        super().__init__(ae_title)
        self.reuse_port = reuse_port
        self.limits = limits
        self.capacity = capacity
        self.on_abort = on_abort
        self.handlers = handlers
        self.handshakes = Handshakes(
            limits.request_seconds, lambda host, fault: on_abort(fault, "", "", host, "")
        )
        # 0 allows PDUs of any size, which makes large objects several times faster.
        self.maximum_pdu_size = 0
        # pynetdicom would count connections without an association too. `capacity` has the limit.
        self.maximum_associations = _NO_LIMIT

    def make_server(self, *arguments: Any, **options: Any) -> ThreadedAssociationServer:
        """Return a BoundedServer, whatever server class is asked for."""
        options |= {"server_class": BoundedServer, "request_handler": _Handler}
        return cast(ThreadedAssociationServer, super().make_server(*arguments, **options))


def refusal_of(message: DimseServiceType) -> AbortReason | None:
    """Return the limit for which the data set of a message was dropped, or None."""
    data = _received_data(message)
    return data.refusal if data is not None else None


def free_data(message: DimseServiceType) -> None:
    """Free the data set of a message that was copied; it stays in the budget until the answer."""
    data = _received_data(message)
    if data is not None:
        data.free()


def _release_data(message: "DimseServiceType | None") -> None:
    data = _received_data(message) if message is not None else None
    if data is not None:
        data.release()


def _received_data(message: DimseServiceType) -> ReceivedData | None:
    data = message._dataset
    return data if isinstance(data, ReceivedData) else None


def _report_abort(
    association: AcceptedAssociation, report: OnAbort, reason: AbortReason, detail: str
) -> None:
    request: Any = association.requestor.primitive
    calling = called = ""
    if request and association.protocol_fault is None:
        calling = str(request.calling_ae_title).strip()
        called = str(request.called_ae_title).strip()
    report(reason, calling, called, str(association.requestor.address), detail)


def _is_served(message: DimseServiceType) -> bool:
    """Return True if pynetdicom passes the message to the service that its command belongs to.

    pynetdicom chooses the service by the SOP class alone. A C-STORE of another class than those of
    storage has a `_store_fault`.
    """
    if message.MessageIDBeingRespondedTo is not None:
        return True
    if not message.is_valid_request:
        return False
    if isinstance(message, C_STORE):
        # A C-STORE that was too large is served, too: its answer is a failure.
        return True
    if refusal_of(message) is not None:
        return False
    service = _service(_class_uid(message))
    if isinstance(message, C_ECHO):
        return service is VerificationServiceClass
    if isinstance(message, C_FIND | N_CREATE | N_GET):
        return service is UnifiedProcedureStepServiceClass
    return isinstance(message, N_EVENT_REPORT | N_ACTION) and service in _NOTIFYING


def _class_uid(message: DimseServiceType) -> str | None:
    """Return the SOP class that a request names (PS3.7 9.1 and 10.1)."""
    named: Any = message
    if isinstance(message, N_GET | N_ACTION):
        return cast("str | None", named.RequestedSOPClassUID)
    return cast("str | None", named.AffectedSOPClassUID)


def _store_fault(message: DimseServiceType) -> str:
    """Return the fault for which a C-STORE is answered without a look at its object, or ''.

    pynetdicom would answer a C-STORE of the Verification class as a C-ECHO, with success.
    """
    if not isinstance(message, C_STORE) or not message.is_valid_request:
        return ""
    data = _received_data(message)
    if data is not None and data.command_fault:
        return data.command_fault
    is_storage = issubclass(_service(message.AffectedSOPClassUID), StorageServiceClass)
    return "" if is_storage else "SOP Class UID (0000,0002) is not a storage class"


def _store_failure(request: DimseServiceType, comment: str) -> C_STORE:
    """Return a response without UIDs, which may repeat those of the request alone (PS3.7 9.3.1)."""
    response: Any = C_STORE()
    response.MessageIDBeingRespondedTo = request.MessageID
    response.Status = int(StoreStatus.CANNOT_UNDERSTAND)
    response.ErrorComment = comment
    return cast(C_STORE, response)


def _service(sop_class_uid: str | None) -> type[ServiceClass]:
    return uid_to_service_class(str(sop_class_uid))


def _set_keepalive(connection: socket.socket, seconds: int) -> None:
    """Let the system probe a silent peer and end the connection to one that is gone."""
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    if hasattr(socket, "TCP_KEEPIDLE"):
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPIDLE, seconds)
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPINTVL, max(1, seconds // 4))
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPCNT, 4)


def _host(client_address: Any) -> str:
    return str(AddressInformation.from_tuple(client_address).address)
