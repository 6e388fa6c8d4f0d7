"""What holds for every answer: who may ask, and what a browser may do with it.

A site elsewhere that gives its name this machine's address (DNS rebinding) would make a browser
ask here in its name; the Host header gives it away. A form elsewhere that posts here gives itself
away by its Origin.
"""

import ipaddress
from collections.abc import Collection
from urllib.parse import urlsplit

from starlette.datastructures import Headers, MutableHeaders
from starlette.responses import PlainTextResponse, Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from daemon.web.sessions import Access

HEADERS = {
    "Content-Security-Policy": (
        "default-src 'none'; style-src 'self'; base-uri 'none'; form-action 'self';"
        " frame-ancestors 'none'"
    ),
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    # Not `no-referrer`: with that, browsers leave the Origin out of what our own forms post.
    "Referrer-Policy": "same-origin",
    "Cache-Control": "no-store",
}

TLS_HEADERS = {"Strict-Transport-Security": "max-age=31536000"}

OPEN_PATHS = frozenset({"/healthz", "/login", "/style.css"})
"""Answered without a token; /healthz then gives no details."""

AUTHORIZED = "cxrd.authorized"
"""Key of the scope: whether the request came with the token or a session."""


class Guard:
    """The application behind the checks, its answers with `HEADERS`.

    `names` are allowed in a Host header beside those of this machine for itself; `refuse` answers
    a request without token or session.
    """

    def __init__(
        self, app: ASGIApp, access: Access, names: Collection[str], refuse: ASGIApp
    ) -> None:
        self._app = app
        self._access = access
        self._names = names
        self._refuse = refuse

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request (ASGI)."""
        added = {**HEADERS, **TLS_HEADERS} if scope["scheme"] == "https" else HEADERS

        async def send_with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                MutableHeaders(scope=message).update(added)
            await send(message)

        headers = Headers(scope=scope)
        scope[AUTHORIZED] = False
        answer: ASGIApp | None = self._stranger(scope, headers)
        if answer is None:
            scope[AUTHORIZED] = self._access.is_open_to(headers, host_of(scope))
            allowed = scope[AUTHORIZED] or scope["path"] in OPEN_PATHS
            answer = self._app if allowed else self._refuse
        await answer(scope, receive, send_with_headers)

    def _stranger(self, scope: Scope, headers: Headers) -> Response | None:
        """An answer for what no browser that reads our own page would send."""
        host = headers.get("host", "")
        if not names_this(host, self._names):
            return PlainTextResponse(
                "ask for this page by a name it knows: localhost, or one of web.allowed_hosts\n",
                400,
            )
        if scope["method"] == "POST" and not _is_own(headers, host):
            return PlainTextResponse("a form of another site may not be sent here\n", 403)
        return None


def host_of(scope: Scope) -> str:
    """The address that a request came from."""
    client = scope.get("client")
    return str(client[0]) if client else "unknown"


def names_this(host: str, names: Collection[str] = ()) -> bool:
    """Whether a Host header names this machine to itself, or holds one of the names."""
    try:
        name = urlsplit(f"//{host}").hostname or ""
        return name == "localhost" or name in names or ipaddress.ip_address(name).is_loopback
    except ValueError:
        return False


def _is_own(headers: Headers, host: str) -> bool:
    """Whether a form was sent from a page of this host; browsers name the origin of each."""
    if headers.get("sec-fetch-site", "same-origin") != "same-origin":
        return False
    try:
        return urlsplit(headers.get("origin", "")).netloc == host
    except ValueError:
        return False
