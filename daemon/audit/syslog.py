"""Syslog (RFC 5424) over UDP (RFC 5426), TCP (RFC 6587, octet counting) and TLS (RFC 5425).

The protocol has no response. Over TCP and TLS `flush` returns after the other machine has
acknowledged all octets and the server has kept the connection open; a later loss in the server is
not visible here. Over UDP the loss of a message is never visible.
"""

import fcntl
import os
import re
import select
import socket
import ssl
import struct
import termios
import time
from contextlib import suppress
from datetime import datetime
from typing import Self

from daemon.config.fields import SyslogConfig, SyslogTransport
from daemon.errors import SyslogError
from dicom_io.errors import CertificateError
from dicom_io.peer.tls import client_context

_FACILITY = 10  # security and authorisation messages (PS3.15 A.6, A.7)
NOTICE, WARNING = 5, 4
_MESSAGE_ID = "DICOM+RFC3881"
_BOM = b"\xef\xbb\xbf"
_NOT_PRINTABLE = re.compile(r"[^\x21-\x7e]")
_POLL_SECONDS = 0.02

_HANGUP_SECONDS = 0.5
"""Time in which a server closes the connection of a malformed message or an unwanted client."""
_READ_BYTES = 4096


def frame(text: str, *, severity: int, at: datetime, host: str) -> bytes:
    """Return one syslog message (RFC 5424 section 6) that contains an audit message."""
    header = " ".join(
        (
            f"<{8 * _FACILITY + severity}>1",
            at.isoformat(timespec="microseconds"),
            _NOT_PRINTABLE.sub("_", host)[:255] or "-",
            "cxrd",
            str(os.getpid()),
            _MESSAGE_ID,
            "-",
        )
    )
    return header.encode("ascii") + b" " + _BOM + text.encode()


def reader_of(config: SyslogConfig) -> str:
    """Return the name under which the store keeps the place of a server in the audit trail.

    A place belongs to one server: another server starts at the first row.
    """
    return f"syslog {config.transport} {config.host}:{config.port}"


class SyslogConnection:
    """A connection to one server; a context manager. Raises SyslogError if it cannot be opened."""

    def __init__(self, config: SyslogConfig, timeout_seconds: float) -> None:
        self._config = config
        self._timeout = timeout_seconds
        self._is_datagram = config.transport is SyslogTransport.UDP
        self._name = f"syslog server {config.host}:{config.port} ({config.transport})"
        try:
            self._socket = self._open()
        except TimeoutError as error:
            raise SyslogError(
                f"{self._name} gave no answer within {timeout_seconds:g} s: check syslog.host, port"
                " and transport, and the firewall between"
            ) from error
        except (OSError, ValueError) as error:
            reason = getattr(error, "strerror", None) or error
            raise SyslogError(
                f"{self._name} cannot be reached ({reason}): check syslog.host, port and transport,"
                " that it runs, and the firewall between"
            ) from error
        except CertificateError as error:
            raise SyslogError(f"{self._name} cannot be reached: {error}") from error

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """End the connection."""
        with suppress(OSError):
            self._socket.close()

    def send(self, message: bytes) -> None:
        """Send one message. It has arrived when `flush` returns."""
        try:
            if self._is_datagram:
                self._socket.send(message)
            else:
                self._socket.sendall(b"%d %b" % (len(message), message))
        except OSError as error:
            raise SyslogError(f"{self._name} did not accept a message: {error}") from error

    def flush(self) -> None:
        """Wait for the acknowledgement of all octets, then for a hangup that does not come.

        Returns at once over UDP. Raises SyslogError on a timeout or a hangup.
        """
        if self._is_datagram:
            return
        deadline = time.monotonic() + self._timeout
        while self._unacknowledged():
            if time.monotonic() > deadline:
                raise SyslogError(f"{self._name} does not take in what is sent")
            time.sleep(_POLL_SECONDS)
        if self.is_closed(_HANGUP_SECONDS):
            raise SyslogError(
                f"{self._name} closed the connection: does it take this transport, and want a"
                " client certificate? see its log"
            )

    def is_closed(self, within: float = 0.0) -> bool:
        """Return True if the server hangs up within seconds. Data from the server is ignored."""
        if self._is_datagram:
            return False
        deadline = time.monotonic() + within
        self._socket.settimeout(_POLL_SECONDS)
        try:
            while self._is_readable(deadline - time.monotonic()):
                # A TLS record may hold no data, such as a session ticket.
                with suppress(TimeoutError, ssl.SSLWantReadError):
                    if not self._socket.recv(_READ_BYTES):
                        return True
                if time.monotonic() > deadline + _POLL_SECONDS:
                    break
            return False
        except OSError:
            return True
        finally:
            self._socket.settimeout(self._timeout)

    def _is_readable(self, seconds: float) -> bool:
        return bool(select.select([self._socket], [], [], max(0.0, seconds))[0])

    def _open(self) -> socket.socket:
        config = self._config
        host = config.host or ""
        if self._is_datagram:
            family, kind, protocol, _, address = socket.getaddrinfo(
                host, config.port, type=socket.SOCK_DGRAM
            )[0]
            datagrams = socket.socket(family, kind, protocol)
            datagrams.connect(address)
            return datagrams
        plain = socket.create_connection((host, config.port), self._timeout)
        if config.transport is SyslogTransport.TCP:
            return plain
        try:
            context = client_context(config.ca, config.credentials)
            return context.wrap_socket(plain, server_hostname=host)
        except BaseException:
            plain.close()
            raise

    def _unacknowledged(self) -> int:
        """Return the number of unacknowledged octets (Linux: SIOCOUTQ, see tcp(7))."""
        try:
            answer = fcntl.ioctl(self._socket.fileno(), termios.TIOCOUTQ, b"\0\0\0\0")
        except OSError as error:
            raise SyslogError(f"{self._name} is gone: {error}") from error
        return int(struct.unpack("i", answer)[0])
