"""The TLS handshake of each caller, in the thread of its own connection.

pynetdicom would do it where it accepts connections: one silent client, and nobody else gets in.
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

_LEAST_SECONDS = 0.001


class TlsFault(StrEnum):
    """Why a caller got no encrypted connection; the names are those of `RejectReason`."""

    PLAIN_CONNECTION = "it spoke no TLS"
    NO_CERTIFICATE = "it showed no certificate"
    WRONG_CERTIFICATE = "its certificate is not one to be trusted"
    TLS_HANDSHAKE = "the two sides could not agree"


class Handshakes:
    """Handshakes of at most `seconds` each; `on_failed` hears the host of each that fails, and why.

    A connection that is closed without a byte, as port probes do, is not reported.
    """

    def __init__(self, seconds: float, on_failed: Callable[[str, TlsFault], None]) -> None:
        self._seconds = seconds
        self._on_failed = on_failed
        self._under_way: set[socket.socket] = set()
        self._lock = threading.Lock()
        self._stopped = False

    def shake(self, client: ssl.SSLSocket, host: str) -> bool:
        """Whether the connection is encrypted now; otherwise it is to be closed."""
        with self._lock:
            if self._stopped:
                return False
            self._under_way.add(client)
        deadline = time.monotonic() + self._seconds
        try:
            client.settimeout(self._seconds)
            first = socket.socket.recv(client, 1, socket.MSG_PEEK)
            if not first:
                return False
            if first != _TLS_RECORD:
                self._on_failed(host, TlsFault.PLAIN_CONNECTION)
                return False
            # A time limit of zero would mean not to wait at all.
            client.settimeout(max(_LEAST_SECONDS, deadline - time.monotonic()))
            client.do_handshake()
            client.settimeout(None)
        except OSError as error:
            if not self._stopped:
                self._on_failed(host, _fault(error))
            return False
        finally:
            with self._lock:
                self._under_way.discard(client)
        return True

    def stop(self) -> None:
        """Cut off the handshakes under way, so that nobody waits for a silent client."""
        with self._lock:
            self._stopped = True
            for client in self._under_way:
                _shut(client)


def shown_by(association: Association) -> tuple[bool, str | None]:
    """Whether the caller came over TLS, and the fingerprint of the certificate it showed."""
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


def _shut(client: socket.socket) -> None:
    try:
        socket.socket.shutdown(client, socket.SHUT_RDWR)
    except OSError:
        log.debug("a connection ended by itself")
