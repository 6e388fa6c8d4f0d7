"""The accepting side of pynetdicom, within limits: entity → server → handler → association.

pynetdicom makes its server, associations and upper layers itself and offers no hook to make
others; each class here replaces one of them. Beyond `upper_layer`: connections are counted before
they get a thread, a TLS handshake is done in that thread and in time, keepalive finds peers that
vanished, and messages that pynetdicom would take for something else are not served.
"""

import errno
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
from pynetdicom.presentation import build_context
from pynetdicom.transport import AddressInformation, RequestHandler, ThreadedAssociationServer

from dicom_io.accepted import AcceptedAssociation
from dicom_io.limits import AbortReason, Limits, MemoryBudget
from dicom_io.negotiation import VERIFICATION_CLASS
from dicom_io.tls_handshake import Handshakes, TlsFault

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
