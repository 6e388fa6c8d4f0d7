"""Request timeout and per-client connection limit of the web server; limits its warnings.

uvicorn waits for ever for an incomplete request, so a few such connections would block all other
clients. asyncio waits 60 s for a TLS handshake, and uvicorn cannot change that. One client must not
take all connections.
"""

import asyncio
import logging
import time
from collections.abc import Callable
from typing import Any

import h11
from starlette.responses import PlainTextResponse
from starlette.types import ASGIApp, Receive, Scope, Send
from uvicorn.protocols.http.h11_impl import H11Protocol

from daemon.audit.repeats import client_of
from daemon.config.sections.web import WebConfig
from daemon.web.access.guard import HEADERS
from daemon.web.access.identity import CERTIFICATE, PATIENCE, Patience
from daemon.web.access.proxies import Proxies
from dicom_io.peer.tls import peer_certificate

REQUEST_SECONDS = 20.0
"""Time in which a request must be complete, from the connection or the answer before it."""
ANSWER_SECONDS = 5.0
"""Interval at which a connection is checked while its response is being sent."""
MAX_CONNECTIONS = 64
"""Connections that are served; a further connection is told so."""
CONNECTIONS_PER_CLIENT = 32
CONNECTIONS_PER_PROXY = 56
"""Limit of a trusted proxy, behind which many clients are; it leaves room for a load balancer."""

REPEAT_SECONDS = 60.0
"""Time for which repeats of a warning are suppressed."""


class HandshakeTimeoutLoop(asyncio.SelectorEventLoop):
    """asyncio's event loop with REQUEST_SECONDS as the timeout of TLS handshakes."""

    async def create_server(self, *args: Any, **options: Any) -> asyncio.Server:
        """Create a server as the base class does."""
        if options.get("ssl") is not None:
            options["ssl_handshake_timeout"] = REQUEST_SECONDS
        return await super().create_server(*args, **options)


class LimitedProtocol(H11Protocol):
    """uvicorn's protocol with a request timeout and a limit of connections per client.

    `trusts` returns True for the address of a trusted proxy; `protocol_for` sets it.
    """

    trusts: Callable[[str], bool]

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Start the timeout; abort a connection beyond the client's limit."""
        super().connection_made(transport)
        self.patience = Patience()
        self.app = _introduced(self.app, self.patience, _certificate_of(transport))
        self._since = self.loop.time()
        self._timeout = self.loop.call_later(REQUEST_SECONDS, self._check_request)
        host = self.client[0] if self.client else ""
        self.client_key = client_of(host)
        limited = [
            each
            for each in self.connections
            if isinstance(each, LimitedProtocol) and not each.transport.is_closing()
        ]
        most = CONNECTIONS_PER_PROXY if self.trusts(host) else CONNECTIONS_PER_CLIENT
        if sum(each.client_key == self.client_key for each in limited) > most:
            transport.abort()
        elif len(limited) > MAX_CONNECTIONS:
            self.logger.warning("Too many connections.")
            self.app = _crowded

    def send_400_response(self, msg: str) -> None:
        """Answer a malformed request, with the headers of every answer."""
        headers = {"Content-Type": "text/plain; charset=utf-8", "Connection": "close", **HEADERS}
        parts = (
            h11.Response(status_code=400, headers=list(headers.items()), reason=b"Bad Request"),
            h11.Data(data=msg.encode("ascii")),
            h11.EndOfMessage(),
        )
        for part in parts:
            self.transport.write(self.conn.send(part))
        self.transport.close()

    def on_response_complete(self) -> None:
        """Give the next request its time."""
        self._since = self.loop.time()
        super().on_response_complete()

    def connection_lost(self, exc: Exception | None) -> None:
        """Cancel the timeout."""
        self._timeout.cancel()
        super().connection_lost(exc)

    def _check_request(self) -> None:
        left = self._since + REQUEST_SECONDS - self.loop.time()
        if self.conn.their_state is h11.DONE or self.patience.is_long:
            left = ANSWER_SECONDS
        if left > 0:
            self._timeout = self.loop.call_later(left, self._check_request)
        else:
            self.transport.abort()


def protocol_for(web: WebConfig) -> type[LimitedProtocol]:
    """Return the protocol that knows the proxies of a configuration."""

    class Protocol(LimitedProtocol):
        trusts = staticmethod(Proxies(web).trusts)

    return Protocol


def _introduced(app: ASGIApp, patience: Patience, certificate: str) -> ASGIApp:
    """Return the application, which then finds what is known of the connection in its scope."""

    async def introduced(scope: Scope, receive: Receive, send: Send) -> None:
        await app({**scope, PATIENCE: patience, CERTIFICATE: certificate}, receive, send)

    return introduced


def _certificate_of(transport: asyncio.Transport) -> str:
    """Return the SHA-256 of the verified certificate of the client; empty without one."""
    encrypted = transport.get_extra_info("ssl_object")
    certificate = peer_certificate(encrypted) if encrypted is not None else None
    return certificate.sha256 if certificate is not None else ""


async def _crowded(scope: Scope, receive: Receive, send: Send) -> None:
    """Answer a request on a connection beyond the limit (ASGI)."""
    headers = {"Connection": "close", "Retry-After": "5", **HEADERS}
    answer = PlainTextResponse("too many connections: try again in a few seconds\n", 503, headers)
    await answer(scope, receive, send)


class RepeatFilter(logging.Filter):
    """Passes each warning once in REPEAT_SECONDS, with the number suppressed, and every error."""

    def __init__(self, monotonic: Callable[[], float] = time.monotonic) -> None:
        super().__init__()
        self._now = monotonic
        self._seen: dict[str, tuple[float, int]] = {}

    def filter(self, record: logging.LogRecord) -> bool:
        """Return True if the record is to be logged."""
        if record.levelno >= logging.ERROR:
            return True
        now = self._now()
        until, suppressed = self._seen.get(record.msg, (now, 0))
        if now < until:
            self._seen[record.msg] = until, suppressed + 1
            return False
        self._seen[record.msg] = now + REPEAT_SECONDS, 0
        if suppressed:
            record.msg = f"{record.msg} ({suppressed} more before)"
        return True
