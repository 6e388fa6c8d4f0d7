"""The TLS handshake of each caller, in the thread of its own connection.

pynetdicom does the handshake in the thread that accepts connections, where one silent client would
block the rest.
"""

import logging
import socket
import ssl
import threading
import time
from collections.abc import Callable
from enum import StrEnum

from pynetdicom.association import Association

from dicom_io.peer.tls import fingerprint

log = logging.getLogger(__name__)

_TLS_RECORD = b"\x16"
"""The first byte of a ClientHello's record (RFC 8446 5.1); a PDU of DICOM begins with 01."""
_MIN_SECONDS = 0.001


class TlsFault(StrEnum):
    """Reason for a failed handshake; the names are those of `RejectReason`."""

    PLAIN_CONNECTION = "the connection is plain"
    NO_CERTIFICATE = "the client showed no certificate"
    WRONG_CERTIFICATE = "the client's certificate is not trusted"
    TLS_HANDSHAKE = "no common protocol version or cipher suite"


class Handshakes:
    """Handshakes of at most `seconds` each; `on_failed` is called with host and fault of a failure.

    A connection that is closed without a byte, as by a port probe, is not reported.
    """

    def __init__(self, seconds: float, on_failed: Callable[[str, TlsFault], None]) -> None:
        self._seconds = seconds
        self._on_failed = on_failed
        self._running: set[socket.socket] = set()
        self._lock = threading.Lock()
        self._stopped = False

    def perform(self, client: ssl.SSLSocket, host: str) -> bool:
        """Return True if the connection is encrypted now. If False, the caller must close it."""
        with self._lock:
            if self._stopped:
                return False
            self._running.add(client)
        deadline = time.monotonic() + self._seconds
        try:
            client.settimeout(self._seconds)
            first = socket.socket.recv(client, 1, socket.MSG_PEEK)
            if not first:
                return False
            if first != _TLS_RECORD:
                self._on_failed(host, TlsFault.PLAIN_CONNECTION)
                return False
            # A timeout of zero would make the socket non-blocking.
            client.settimeout(max(_MIN_SECONDS, deadline - time.monotonic()))
            client.do_handshake()
            client.settimeout(None)
        except OSError as error:
            if not self._stopped:
                self._on_failed(host, _fault(error))
            return False
        finally:
            with self._lock:
                self._running.discard(client)
        return True

    def stop(self) -> None:
        """End the running handshakes, so that no thread waits for a silent client."""
        with self._lock:
            self._stopped = True
            for client in self._running:
                _shut_down(client)


def tls_identity(association: Association) -> tuple[bool, str | None]:
    """Return True for a TLS connection, and the fingerprint of the peer's certificate."""
    connection = association.dul.socket
    client = connection.socket if connection is not None else None
    if not isinstance(client, ssl.SSLSocket):
        return False, None
    der = client.getpeercert(binary_form=True)
    return True, fingerprint(der) if der else None


def _fault(error: OSError) -> TlsFault:
    if isinstance(error, ssl.SSLCertVerificationError):
        return TlsFault.WRONG_CERTIFICATE
    if isinstance(error, ssl.SSLError) and error.reason == "PEER_DID_NOT_RETURN_A_CERTIFICATE":
        return TlsFault.NO_CERTIFICATE
    return TlsFault.TLS_HANDSHAKE


def _shut_down(client: socket.socket) -> None:
    try:
        socket.socket.shutdown(client, socket.SHUT_RDWR)
    except OSError:
        log.debug("the connection was closed already")
