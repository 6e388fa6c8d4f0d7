"""Syslog servers on loopback that keep messages: UDP, TCP and TLS."""

import contextlib
import re
import select
import socket
import ssl
import subprocess
import threading
import time
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Self

from tests.tools.installed import require_tool
from tests.tools.ports import HOST

HEADER = re.compile(
    rb"<(\d+)>1 (\S+) (\S+) cxrd (\d+) DICOM\+RFC3881 - \xef\xbb\xbf(.*)", re.DOTALL
)


@dataclass(frozen=True)
class Received:
    """Parts of a syslog message."""

    priority: int
    at: str
    host: str
    xml: str

    @classmethod
    def of(cls, message: bytes) -> Self:
        found = HEADER.fullmatch(message)
        assert found, message
        priority, at, host, _, xml = found.groups()
        return cls(int(priority), at.decode(), host.decode(), xml.decode())


class _Server:
    """A server that keeps the messages that it receives."""

    def __init__(self) -> None:
        self.messages: list[bytes] = []
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._serve, daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._stop.set()
        self._thread.join(5)
        self._close()

    @property
    def received(self) -> list[Received]:
        return [Received.of(message) for message in self.messages]

    def _serve(self) -> None:
        raise NotImplementedError

    def _close(self) -> None:
        raise NotImplementedError


class DatagramServer(_Server):
    """UDP (RFC 5426): a datagram is a message."""

    def __init__(self) -> None:
        super().__init__()
        self._socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self._socket.bind((HOST, 0))
        self._socket.settimeout(0.05)

    @property
    def port(self) -> int:
        return int(self._socket.getsockname()[1])

    def _serve(self) -> None:
        while not self._stop.is_set():
            try:
                self.messages.append(self._socket.recv(65_535))
            except TimeoutError:
                continue

    def _close(self) -> None:
        self._socket.close()


class StreamServer(_Server):
    """TCP (RFC 6587) or TLS (RFC 5425): octets are counted. One connection at a time.

    After `hangs_up_after` messages the first connection is cut off. A TLS server takes
    `looks_seconds` to look at the client's certificate.
    """

    def __init__(
        self,
        tls: ssl.SSLContext | None = None,
        port: int = 0,
        hangs_up_after: int | None = None,
        looks_seconds: float = 0.0,
    ) -> None:
        super().__init__()
        self._tls = tls
        self._looks_seconds = looks_seconds
        self._hangs_up_after = hangs_up_after
        self.connections = 0
        self._socket = socket.create_server((HOST, port))
        self._socket.settimeout(0.05)

    @property
    def port(self) -> int:
        return int(self._socket.getsockname()[1])

    def _serve(self) -> None:
        while not self._stop.is_set():
            try:
                connection, _ = self._socket.accept()
            except TimeoutError:
                continue
            self.connections += 1
            with connection:
                connection.settimeout(5)
                try:
                    self._read(self._secured(self._tls, connection) if self._tls else connection)
                except (ssl.SSLError, OSError):
                    continue

    def _secured(self, tls: ssl.SSLContext, connection: socket.socket) -> ssl.SSLSocket:
        secured = tls.wrap_socket(connection, server_side=True, do_handshake_on_connect=False)
        select.select([secured], [], [], 5)
        secured.setblocking(False)
        with contextlib.suppress(ssl.SSLWantReadError):
            secured.do_handshake()
        time.sleep(self._looks_seconds)
        secured.settimeout(5)
        secured.do_handshake()
        return secured

    def _read(self, connection: socket.socket) -> None:
        connection.settimeout(0.05)
        buffer, count = b"", 0
        with connection:
            while not self._stop.is_set():
                try:
                    data = connection.recv(65_536)
                except TimeoutError:
                    continue
                if not data:
                    return
                buffer += data
                while (found := re.match(rb"(\d+) ", buffer)) and (
                    len(buffer) >= found.end() + int(found[1])
                ):
                    end = found.end() + int(found[1])
                    self.messages.append(buffer[found.end() : end])
                    buffer, count = buffer[end:], count + 1
                    if count == self._hangs_up_after and self.connections == 1:
                        return

    def _close(self) -> None:
        self._socket.close()


@dataclass(frozen=True)
class Certificate:
    """Files of a certificate that signs itself, and its key."""

    certificate: Path
    key: Path


def self_signed(folder: Path, name: str, address: str = HOST) -> Certificate:
    """Make a self-signed certificate for an address."""
    made = Certificate(folder / f"{name}.pem", folder / f"{name}.key")
    command = [require_tool("openssl"), "req", "-x509", "-newkey", "ec", "-nodes", "-days", "2"]
    subprocess.run(
        [
            *command,
            *("-pkeyopt", "ec_paramgen_curve:prime256v1", "-subj", f"/CN={name}"),
            *("-addext", f"subjectAltName=IP:{address}"),
            *("-keyout", str(made.key), "-out", str(made.certificate)),
        ],
        check=True,
        capture_output=True,
    )
    return made


def server_tls(own: Certificate, client: Certificate | None = None) -> ssl.SSLContext:
    """Return the TLS settings of a server; with `client`, only that client may connect."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(own.certificate, own.key)
    if client is not None:
        context.verify_mode = ssl.CERT_REQUIRED
        context.load_verify_locations(client.certificate)
    return context
