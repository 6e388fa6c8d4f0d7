"""HTTP connections that are given a time for what they ask, and so many to a host.

uvicorn waits without end for a request that never becomes whole: enough such connections, and
nobody else is answered. For a TLS handshake asyncio waits 60 s, and uvicorn has no say in it. One
host alone may not take all connections that there are.
"""

import asyncio
import logging
import time
from collections.abc import Callable
from typing import Any

import h11
from uvicorn.protocols.http.h11_impl import H11Protocol

from daemon.audit.repeats import one_host

REQUEST_SECONDS = 20.0
"""How old a connection may become while its request is still on its way."""

ANSWER_SECONDS = 5.0
"""When one whose answer is under way is looked at again."""

CONNECTIONS_OF_ONE = 32
"""Of one host at once; half of what all may have."""


class PatientLoop(asyncio.SelectorEventLoop):
    """asyncio's event loop, whose servers wait as long for a handshake as for a request."""

    async def create_server(self, *args: Any, **options: Any) -> asyncio.Server:
        """As the base class does."""
        if options.get("ssl") is not None:
            options["ssl_handshake_timeout"] = REQUEST_SECONDS
        return await super().create_server(*args, **options)


class PatientProtocol(H11Protocol):
    """uvicorn's protocol, which also ends connections that do not ask, or are too many."""

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Begin to wait."""
        super().connection_made(transport)
        self._patience = self.loop.call_later(REQUEST_SECONDS, self._look)
        self.host = one_host(self.client[0]) if self.client else ""
        ours = [one for one in self.connections if isinstance(one, PatientProtocol)]
        if sum(one.host == self.host for one in ours) > CONNECTIONS_OF_ONE:
            transport.abort()

    def connection_lost(self, exc: Exception | None) -> None:
        """Wait no more."""
        self._patience.cancel()
        super().connection_lost(exc)

    def _look(self) -> None:
        if self.conn.their_state is h11.DONE:
            self._patience = self.loop.call_later(ANSWER_SECONDS, self._look)
        else:
            self.transport.abort()


SAY_SECONDS = 60.0


class Seldom(logging.Filter):
    """Lets a warning through once in SAY_SECONDS, with how many were left out, and every error."""

    def __init__(self, monotonic: Callable[[], float] = time.monotonic) -> None:
        super().__init__()
        self._now = monotonic
        self._said: dict[str, tuple[float, int]] = {}

    def filter(self, record: logging.LogRecord) -> bool:
        """Whether this one is said."""
        if record.levelno >= logging.ERROR:
            return True
        now = self._now()
        until, left_out = self._said.get(record.msg, (now, 0))
        if now < until:
            self._said[record.msg] = until, left_out + 1
            return False
        self._said[record.msg] = now + SAY_SECONDS, 0
        if left_out:
            record.msg = f"{record.msg} ({left_out} more before)"
        return True
