"""Connections with a limit for a whole exchange, which HTTP libraries have for single waits only.

A server that sends one byte in each wait would otherwise hold a request open without end.
"""

import ssl
import time
from collections.abc import Callable, Iterable
from typing import Any

import httpcore
import httpx

_POLL_SECONDS = 1.0
_SHORTEST_SECONDS = 0.001  # A timeout of zero would make a socket non-blocking.
_PIECE = 1 << 16
_KEEP_SECONDS = 5.0
"""The time for which an idle connection is kept for the next request."""


class HandshakeError(httpcore.ConnectError):
    """The TLS handshake failed, for the reason in `cause`."""

    def __init__(self, cause: OSError) -> None:
        super().__init__(str(cause))
        self.cause = cause


class Watch:
    """The time limit of the exchange in progress, and a callable to report progress to.

    `on_progress` is called about once a second, in the thread of the exchange; an exception in it
    ends the exchange and is raised.
    """

    def __init__(self) -> None:
        self._ends = float("inf")
        self._on_progress: Callable[[], object] = lambda: None
        self._next = 0.0

    def begin(self, seconds: float, on_progress: Callable[[], object]) -> None:
        """Start an exchange that may last so many seconds."""
        now = time.monotonic()
        self._ends, self._on_progress, self._next = now + seconds, on_progress, now + _POLL_SECONDS

    def left(self, ends: float) -> float:
        """Report progress when it is time. Return the seconds left until `ends`, at most one.

        `ends` is a monotonic time, the end of one wait. Raises httpcore.TimeoutException after the
        end of the exchange.
        """
        now = time.monotonic()
        if now >= self._next:
            self._next = now + _POLL_SECONDS
            self._on_progress()
        if now >= self._ends:
            raise httpcore.TimeoutException("the exchange lasts too long")
        return max(_SHORTEST_SECONDS, min(_POLL_SECONDS, self._ends - now, ends - now))


def _end(timeout: float | None) -> float:
    return float("inf") if timeout is None else time.monotonic() + timeout


class _WatchedStream(httpcore.NetworkStream):
    def __init__(self, stream: httpcore.NetworkStream, watch: Watch) -> None:
        self._stream = stream
        self._watch = watch

    def read(self, max_bytes: int, timeout: float | None = None) -> bytes:
        ends = _end(timeout)
        while True:
            try:
                return self._stream.read(max_bytes, self._watch.left(ends))
            except httpcore.ReadTimeout:
                if time.monotonic() >= ends:
                    raise

    def write(self, buffer: bytes, timeout: float | None = None) -> None:
        connection = self._stream.get_extra_info("socket")
        rest, ends = memoryview(buffer), _end(timeout)
        while rest:
            connection.settimeout(self._watch.left(ends))
            try:
                # TLS requires the same piece again after a timeout (SSL_write).
                sent = connection.send(rest[:_PIECE])
            except TimeoutError as error:
                if time.monotonic() >= ends:
                    raise httpcore.WriteTimeout(str(error)) from error
            except OSError as error:
                raise httpcore.WriteError(str(error)) from error
            else:
                rest, ends = rest[sent:], _end(timeout)

    def close(self) -> None:
        self._stream.close()

    def start_tls(
        self,
        ssl_context: ssl.SSLContext,
        server_hostname: str | None = None,
        timeout: float | None = None,
    ) -> httpcore.NetworkStream:
        try:
            stream = self._stream.start_tls(ssl_context, server_hostname, timeout)
        except (httpcore.ConnectError, httpcore.ConnectTimeout) as error:
            cause = error.__cause__
            raise HandshakeError(cause if isinstance(cause, OSError) else TimeoutError()) from error
        return _WatchedStream(stream, self._watch)

    def get_extra_info(self, info: str) -> Any:
        return self._stream.get_extra_info(info)


class _WatchedBackend(httpcore.NetworkBackend):
    def __init__(self, watch: Watch) -> None:
        self._backend = httpcore.SyncBackend()
        self._watch = watch

    def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,
        local_address: str | None = None,
        socket_options: Iterable[Any] | None = None,
    ) -> httpcore.NetworkStream:
        stream = self._backend.connect_tcp(
            host, port, timeout, local_address, list(socket_options or ())
        )
        return _WatchedStream(stream, self._watch)


class _Body(httpx.SyncByteStream):
    def __init__(self, stream: Any) -> None:
        self._stream = stream

    def __iter__(self) -> Any:
        return iter(self._stream)

    def close(self) -> None:
        self._stream.close()


class WatchedTransport(httpx.BaseTransport):
    """The transport of one client; its exchanges follow one another. Raises errors of httpcore."""

    def __init__(self, tls: ssl.SSLContext | None, watch: Watch) -> None:
        self._pool = httpcore.ConnectionPool(
            ssl_context=tls,
            max_connections=1,
            keepalive_expiry=_KEEP_SECONDS,
            network_backend=_WatchedBackend(watch),
        )

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        """Send a request and return its answer, whose body is not read yet."""
        url = request.url
        answer = self._pool.handle_request(
            httpcore.Request(
                request.method,
                httpcore.URL(
                    scheme=url.raw_scheme, host=url.raw_host, port=url.port, target=url.raw_path
                ),
                headers=request.headers.raw,
                content=request.stream,
                extensions=request.extensions,
            )
        )
        return httpx.Response(
            answer.status,
            headers=answer.headers,
            stream=_Body(answer.stream),
            extensions=answer.extensions,
        )

    def close(self) -> None:
        """Close the connection."""
        self._pool.close()
