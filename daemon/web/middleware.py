"""Checks every request for the token or a session, and sets the headers of every response.

Another site may resolve its own name to this machine's address (DNS rebinding), so that a browser
sends requests here in the site's name: the Host header reveals that. The Origin header reveals a
form that another site posts here. A request with two lengths ends its connection.
"""

import ipaddress
from collections.abc import Collection
from urllib.parse import urlsplit

from starlette.datastructures import Headers, MutableHeaders
from starlette.responses import PlainTextResponse, Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from daemon.web.sessions import Authenticator

HEADERS = {
    "Content-Security-Policy": (
        "default-src 'none'; style-src 'self'; base-uri 'none'; form-action 'self';"
        " frame-ancestors 'none'"
    ),
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    # Not `no-referrer`: it makes browsers omit the Origin of our own forms.
    "Referrer-Policy": "same-origin",
    "Cache-Control": "no-store",
}
TLS_HEADERS = {"Strict-Transport-Security": "max-age=31536000"}

OPEN_PATHS = frozenset({"/healthz", "/readyz", "/login", "/style.css"})
"""Paths that need no token; without it, /healthz and /readyz give no details."""
AUTHORIZED = "cxrd.authorized"
"""Key of the scope; its value is True if the request has the token or a session."""


class Guard:
    """The application behind the checks; adds `HEADERS` to its responses.

    A Host header may contain one of `names` or a loopback name. `refuse` answers a request without
    token or session.
    """

    def __init__(
        self, app: ASGIApp, authenticator: Authenticator, names: Collection[str], refuse: ASGIApp
    ) -> None:
        self._app = app
        self._authenticator = authenticator
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
        answer: ASGIApp | None = self._rejection(scope, headers)
        if answer is None:
            scope[AUTHORIZED] = self._authenticator.accepts(headers, host_of(scope))
            allowed = scope[AUTHORIZED] or scope["path"] in OPEN_PATHS
            answer = self._app if allowed else self._refuse
        await answer(scope, receive, send_with_headers)

    def _rejection(self, scope: Scope, headers: Headers) -> Response | None:
        """Return an error response if the request does not belong to a page of this server."""
        if "transfer-encoding" in headers and "content-length" in headers:
            # A proxy in front may have read another end of this request (RFC 9112 6.1).
            return PlainTextResponse(
                "Content-Length and Transfer-Encoding in one request\n",
                400,
                headers={"Connection": "close"},
            )
        host = headers.get("host", "")
        if not is_own_name(host, self._names):
            return PlainTextResponse(
                "unknown Host header: use localhost, or a name listed in web.allowed_hosts\n",
                400,
            )
        if scope["method"] == "POST" and not _is_same_origin(headers, host):
            return PlainTextResponse("cross-site form submission rejected\n", 403)
        return None


def host_of(scope: Scope) -> str:
    """Return the client's address of a request."""
    client = scope.get("client")
    return str(client[0]) if client else "unknown"


def is_own_name(host: str, names: Collection[str] = ()) -> bool:
    """Return True if a Host header contains a loopback name, or one of `names`."""
    try:
        name = urlsplit(f"//{host}").hostname or ""
        return name == "localhost" or name in names or ipaddress.ip_address(name).is_loopback
    except ValueError:
        return False


def _is_same_origin(headers: Headers, host: str) -> bool:
    """Return True if a page of this host sent the form; browsers name the origin of a form."""
    if headers.get("sec-fetch-site", "same-origin") != "same-origin":
        return False
    try:
        return urlsplit(headers.get("origin", "")).netloc == host
    except ValueError:
        return False
