"""An MLLP server with a thread for each connection, within limits of number, size and time.

The server reads blocks and sends the answers that its handler returns, in their order, one message
at a time for each connection. It does not look inside a block.
"""

import contextlib
import errno
import logging
import socket
import ssl
import threading
import time
from dataclasses import dataclass
from enum import StrEnum
from typing import Protocol

from daemon.errors import MllpError
from daemon.hl7.framing import BlockReader, block
from dicom_io.errors import PortInUseError
from dicom_io.peer.listening import listen_problem
from dicom_io.peer.tls import fingerprint
from dicom_io.peer.tls_handshake import Handshakes, TlsFault

log = logging.getLogger("hl7")

STOP_SECONDS = 5.0
"""Time for the messages in work when the server stops."""
_BACKLOG = 64
_CHUNK = 64 * 1024
_OUT_OF_FILES_SECONDS = 0.1


@dataclass(frozen=True, slots=True)
class MllpLimits:
    """Limits of a server: connections at once, bytes of a message, and times in seconds.

    A connection without a message is closed after `idle_seconds`; a message has to arrive, and its
    answer has to be taken, within `message_seconds`.
    """

    max_connections: int
    max_message_bytes: int
    idle_seconds: float
    message_seconds: float


@dataclass(frozen=True, slots=True)
class MllpCaller:
    """The other side of a connection; `certificate` is its fingerprint, None without one."""

    host: str
    tls: bool
    certificate: str | None


class Refused(StrEnum):
    """Reason for closing a connection."""

    NOT_LISTED = "the host is not one of a sender in hl7.senders"
    TOO_MANY = "too many connections at once"
    TLS_HANDSHAKE = "the TLS handshake failed"
    CERTIFICATE = "the client certificate is not one of a sender of this host"
    NO_BLOCK = "bytes that are no MLLP block"
    TOO_LARGE = "a message is larger than hl7.max_message_kb"
    TOO_SLOW = "a message did not arrive within hl7.message_seconds"


@dataclass(frozen=True, slots=True)
class Answer:
    """The answer to a message; None sends no answer. With `closes` the connection ends then."""

    data: bytes | None
    closes: bool = False


class Handler(Protocol):
    """The use that is made of connections and messages. Called in the thread of a connection."""

    def admits_host(self, host: str) -> bool:
        """Return True if a sender may call from this address."""

    def admits(self, caller: MllpCaller) -> bool:
        """Return True if a sender may use this connection."""

    def answer(self, message: bytes, caller: MllpCaller) -> Answer:
        """Return the answer to a message."""

    def refused(self, reason: Refused, host: str) -> None:
        """Note a connection that was closed. Returns at once."""


class MllpServer:
    """Listens at one address. `start` raises PortInUseError."""

    def __init__(
        self,
        host: str,
        port: int,
        handler: Handler,
        limits: MllpLimits,
        *,
        tls: ssl.SSLContext | None = None,
        reuse_port: bool = False,
    ) -> None:
        self._address = (host, port)
        self._handler = handler
        self._limits = limits
        self._tls = tls
        self._reuse_port = reuse_port
        self._handshakes = Handshakes(limits.message_seconds, self._handshake_failed)
        self._connections: dict[socket.socket, threading.Thread] = {}
        self._lock = threading.Lock()
        self._stopping = False
        self._listening: socket.socket | None = None

    def start(self) -> None:
        """Listen, and accept connections in a thread."""
        host, port = self._address
        try:
            family = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0][0]
            listening = socket.socket(family, socket.SOCK_STREAM)
        except OSError as error:
            raise PortInUseError(listen_problem("hl7", host, port, error)) from error
        try:
            listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            if self._reuse_port:
                listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
            listening.bind((host, port))
            listening.listen(_BACKLOG)
        except OSError as error:
            listening.close()
            raise PortInUseError(listen_problem("hl7", host, port, error)) from error
        self._listening = listening
        threading.Thread(target=self._accept, args=(listening,), name="hl7", daemon=True).start()

    def stop(self) -> None:
        """Accept no more, answer the messages in work, and close every connection."""
        with self._lock:
            self._stopping = True
            open_now = dict(self._connections)
        if self._listening is not None:
            # `close` alone does not wake the thread that accepts.
            _shut_down(self._listening, socket.SHUT_RDWR)
            self._listening.close()
        self._handshakes.stop()
        for connection in open_now:
            _shut_down(connection, socket.SHUT_RD)
        deadline = time.monotonic() + STOP_SECONDS
        for thread in open_now.values():
            thread.join(max(0.0, deadline - time.monotonic()))
        for connection in open_now:
            _shut_down(connection, socket.SHUT_RDWR)

    def _accept(self, listening: socket.socket) -> None:
        while not self._stopping:
            try:
                connection, address = listening.accept()
            except OSError as error:
                if error.errno in (errno.EMFILE, errno.ENFILE):
                    log.error("out of file descriptors: raise the limit (ulimit -n)")
                if not self._stopping:
                    time.sleep(_OUT_OF_FILES_SECONDS)
                continue
            self._begin(connection, str(address[0]))

    def _begin(self, connection: socket.socket, host: str) -> None:
        thread = threading.Thread(
            target=self._serve, args=(connection, host), name=f"hl7 {host}", daemon=True
        )
        with self._lock:
            is_full = len(self._connections) >= self._limits.max_connections
            if not is_full and not self._stopping:
                self._connections[connection] = thread
        if is_full:
            self._handler.refused(Refused.TOO_MANY, host)
            connection.close()
            return
        try:
            thread.start()
        except RuntimeError as error:
            log.error("no thread for a connection: %s", error)
            self._end(connection)

    def _serve(self, connection: socket.socket, host: str) -> None:
        try:
            if not self._handler.admits_host(host):
                self._handler.refused(Refused.NOT_LISTED, host)
                return
            caller = self._encrypted(connection, host)
            if caller is None:
                return
            used, found = caller
            with contextlib.closing(used):
                if self._handler.admits(found):
                    self._converse(used, found)
                else:
                    self._handler.refused(Refused.CERTIFICATE, host)
        except OSError as error:
            log.debug("a connection ended: %s", type(error).__name__)
        finally:
            self._end(connection)

    def _encrypted(
        self, connection: socket.socket, host: str
    ) -> tuple[socket.socket, MllpCaller] | None:
        """Return the connection after its TLS handshake, and its caller; None if that failed."""
        if self._tls is None:
            return connection, MllpCaller(host, False, None)
        # The duplicate leaves the first descriptor to `stop`, which shuts the connection down.
        wrapped = self._tls.wrap_socket(
            connection.dup(), server_side=True, do_handshake_on_connect=False
        )
        if not self._handshakes.perform(wrapped, host):
            wrapped.close()
            return None
        der = wrapped.getpeercert(binary_form=True)
        return wrapped, MllpCaller(host, True, fingerprint(der) if der else None)

    def _handshake_failed(self, host: str, fault: TlsFault) -> None:
        log.warning("TLS of an HL7 connection from %s failed: %s", host, fault)
        self._handler.refused(Refused.TLS_HANDSHAKE, host)

    def _converse(self, connection: socket.socket, caller: MllpCaller) -> None:
        """Answer messages until the caller closes, breaks a limit, or the server stops."""
        reader = BlockReader(self._limits.max_message_bytes)
        deadline = time.monotonic() + self._limits.idle_seconds
        while not self._stopping:
            inside = reader.is_inside
            connection.settimeout(max(0.001, deadline - time.monotonic()))
            try:
                data = connection.recv(_CHUNK)
            except TimeoutError:
                if inside:
                    self._handler.refused(Refused.TOO_SLOW, caller.host)
                return
            if not data:
                return
            answered = False
            try:
                for content in reader.feed(data):
                    answered = True
                    if not self._answer(connection, content, caller):
                        return
            except MllpError:
                too_large = reader.is_too_large
                self._handler.refused(
                    Refused.TOO_LARGE if too_large else Refused.NO_BLOCK, caller.host
                )
                return
            if not reader.is_inside:
                deadline = time.monotonic() + self._limits.idle_seconds
            elif answered or not inside:
                deadline = time.monotonic() + self._limits.message_seconds

    def _answer(self, connection: socket.socket, content: bytes, caller: MllpCaller) -> bool:
        """Send the answer to a message. Return False if the connection ends."""
        answer = self._handler.answer(content, caller)
        if answer.data is not None:
            connection.settimeout(self._limits.message_seconds)
            connection.sendall(block(answer.data))
        return not answer.closes

    def _end(self, connection: socket.socket) -> None:
        with self._lock:
            self._connections.pop(connection, None)
        connection.close()


def _shut_down(connection: socket.socket, how: int) -> None:
    with contextlib.suppress(OSError):
        connection.shutdown(how)
