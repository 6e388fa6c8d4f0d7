"""An MLLP server of raw sockets that does what a test says, for bad, slow and partial answers."""

import socket
import ssl
import threading
from collections.abc import Callable
from types import TracebackType
from typing import Self

from tests.tools.ports import HOST

Act = Callable[[socket.socket, bytes], None]
"""What is done with a connection after a complete block was read."""


class ScriptedMllp:
    """Reads a block, then does the next act; the last act is repeated. Keeps what it received."""

    def __init__(self, *acts: Act, tls: ssl.SSLContext | None = None) -> None:
        self._acts = list(acts)
        self._tls = tls
        self._listening = socket.create_server((HOST, 0))
        self.port: int = self._listening.getsockname()[1]
        self.received: list[bytes] = []
        self.connections = 0
        self.released = threading.Event()

    def __enter__(self) -> Self:
        threading.Thread(target=self._accept, daemon=True).start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.released.set()
        # `close` alone does not wake the thread that accepts.
        self._listening.shutdown(socket.SHUT_RDWR)
        self._listening.close()

    def _accept(self) -> None:
        while True:
            try:
                connection, _ = self._listening.accept()
            except OSError:
                return
            self.connections += 1
            threading.Thread(target=self._serve, args=(connection,), daemon=True).start()

    def _serve(self, connection: socket.socket) -> None:
        with connection:
            try:
                if self._tls is None:
                    self._converse(connection)
                else:
                    with self._tls.wrap_socket(connection, server_side=True) as encrypted:
                        self._converse(encrypted)
            except OSError:
                return

    def _converse(self, connection: socket.socket) -> None:
        buffer = b""
        while data := connection.recv(65536):
            buffer += data
            while b"\x1c\r" in buffer:
                message, _, buffer = buffer.partition(b"\x1c\r")
                self.received.append(message.removeprefix(b"\x0b"))
                act = self._acts.pop(0) if len(self._acts) > 1 else self._acts[0]
                act(connection, self.received[-1])


def framed(content: bytes) -> bytes:
    return b"\x0b" + content + b"\x1c\r"


def control_id(message: bytes) -> bytes:
    return message.split(b"\r")[0].split(b"|")[9]


def acknowledge(code: bytes = b"AA", error: bytes = b"", of: bytes | None = None) -> Act:
    """Return the act that sends an ACK; `error` is an ERR segment, `of` another control ID."""

    def act(connection: socket.socket, message: bytes) -> None:
        segments = [
            b"MSH|^~\\&|RIS|HOSP|CXRD||20261127101500||ACK^R01^ACK|4711|P|2.5.1",
            b"MSA|" + code + b"|" + (control_id(message) if of is None else of),
            error,
        ]
        connection.sendall(framed(b"\r".join(one for one in segments if one) + b"\r"))

    return act


def send(data: bytes) -> Act:
    """Return the act that sends these bytes."""
    return lambda connection, _: connection.sendall(data)


def close(connection: socket.socket, _: bytes) -> None:
    """Close the connection."""
    connection.close()


def silence(connection: socket.socket, _: bytes) -> None:
    """Send nothing, and keep the connection open."""
