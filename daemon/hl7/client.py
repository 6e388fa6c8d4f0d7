"""A connection to an MLLP server: one message out, one acknowledgement back."""

import socket
import ssl
import time
from collections.abc import Callable
from types import TracebackType
from typing import Self

from daemon.errors import MllpError
from daemon.hl7.framing import BlockReader, block
from dicom_io.peer.tls_probe import problem_of

MAX_ANSWER_BYTES = 64 * 1024
"""The largest acknowledgement that is read; usual ones have some hundred bytes."""
_LOOK_SECONDS = 1.0
"""Time between two calls of `on_progress` while the answer is waited for."""
_CHUNK = 16 * 1024


class MllpClient:
    """A connection to one server, opened by entering; MllpError if that fails.

    `seconds` limits the connection with its TLS handshake, and each exchange as a whole. After an
    error the connection is closed: an answer that comes late must not be taken for the next one.
    """

    def __init__(
        self, host: str, port: int, tls: ssl.SSLContext | None = None, *, seconds: float = 30.0
    ) -> None:
        self._host = host
        self._port = port
        self._tls = tls
        self._seconds = seconds
        self._socket: socket.socket | None = None

    def __enter__(self) -> Self:
        deadline = time.monotonic() + self._seconds
        try:
            plain = socket.create_connection((self._host, self._port), self._seconds)
        except TimeoutError:
            raise MllpError(f"no connection within {self._seconds:.0f} s; see its host") from None
        except OSError as error:
            raise MllpError(
                f"the connection failed ({error.strerror or error}); check host and port, and"
                " that its MLLP server runs"
            ) from None
        try:
            self._socket = self._encrypted(plain, deadline)
        except OSError as error:
            plain.close()
            raise MllpError(problem_of(error, self._host, self._seconds)) from None
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    @property
    def is_open(self) -> bool:
        """True while the server keeps the connection open and has sent no unasked byte."""
        if self._socket is None:
            return False
        self._socket.settimeout(0)
        try:
            # Between two exchanges only a close can be read, or an answer to no message.
            self._socket.recv(1)
        except (BlockingIOError, ssl.SSLWantReadError):
            return True
        except OSError:
            return False
        return False

    def close(self) -> None:
        """Close the connection, if there is one."""
        if self._socket is not None:
            self._socket.close()
            self._socket = None

    def exchange(self, message: bytes, on_progress: Callable[[], object]) -> bytes:
        """Send a message and return the content of the next block.

        `on_progress` is called about once a second while the answer is waited for. Raises
        MllpError if the connection breaks, or if no complete answer comes in time.
        """
        connection = self._socket
        if connection is None:
            raise MllpError("the connection is no longer open")
        deadline = time.monotonic() + self._seconds
        try:
            self._send(connection, block(message), deadline, on_progress)
            return self._answer(connection, deadline, on_progress)
        except MllpError:
            self.close()
            raise
        except OSError as error:
            self.close()
            raise MllpError(f"it broke the connection ({error.strerror or error})") from None

    def _encrypted(self, plain: socket.socket, deadline: float) -> socket.socket:
        if self._tls is None:
            return plain
        plain.settimeout(max(0.001, deadline - time.monotonic()))
        return self._tls.wrap_socket(plain, server_hostname=self._host)

    def _send(
        self,
        connection: socket.socket,
        data: bytes,
        deadline: float,
        on_progress: Callable[[], object],
    ) -> None:
        late = f"it does not read the message within {self._seconds:.0f} s"
        rest = memoryview(data)
        while rest:
            connection.settimeout(self._wait(deadline, late))
            try:
                rest = rest[connection.send(rest[:_CHUNK]) :]
            except TimeoutError:
                on_progress()

    def _answer(
        self, connection: socket.socket, deadline: float, on_progress: Callable[[], object]
    ) -> bytes:
        late = f"no acknowledgement within {self._seconds:.0f} s"
        reader = BlockReader(MAX_ANSWER_BYTES)
        while True:
            connection.settimeout(self._wait(deadline, late))
            try:
                data = connection.recv(_CHUNK)
            except TimeoutError:
                on_progress()
                continue
            if not data:
                raise MllpError("it closed the connection without an acknowledgement")
            try:
                content = next(reader.feed(data), None)
            except MllpError as error:
                raise MllpError(f"its answer is no acknowledgement: {error}") from None
            if content is not None:
                if reader.is_inside:
                    # It sent more than the answer: what follows belongs to no message.
                    self.close()
                return content

    def _wait(self, deadline: float, problem: str) -> float:
        left = deadline - time.monotonic()
        if left <= 0:
            raise MllpError(problem)
        return min(left, _LOOK_SECONDS)
