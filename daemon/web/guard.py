"""What holds for every answer: who may ask, and what a browser may do with it.

The page has no login, so its only visitors are programs of this machine. A site elsewhere that
gives its name this machine's address (DNS rebinding) would make a browser here such a program;
the name in the Host header gives it away.
"""

import ipaddress
from urllib.parse import urlsplit

from starlette.datastructures import Headers, MutableHeaders
from starlette.responses import PlainTextResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

HEADERS = {
    "Content-Security-Policy": (
        "default-src 'none'; style-src 'self'; base-uri 'none'; form-action 'none';"
        " frame-ancestors 'none'"
    ),
    "Cross-Origin-Resource-Policy": "same-origin",
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "no-referrer",
    "Cache-Control": "no-store",
}


class Guard:
    """The application behind a check of the Host header, its answers with `HEADERS`."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request (ASGI)."""

        async def send_with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                MutableHeaders(scope=message).update(HEADERS)
            await send(message)

        app = self._app
        if not names_loopback(Headers(scope=scope).get("host", "")):
            app = PlainTextResponse("ask for this page as localhost or 127.0.0.1\n", 400)
        await app(scope, receive, send_with_headers)


def names_loopback(host: str) -> bool:
    """Whether a Host header names this machine to itself: an address, or localhost."""
    try:
        name = urlsplit(f"//{host}").hostname or ""
        return name == "localhost" or ipaddress.ip_address(name).is_loopback
    except ValueError:
        return False
