"""Checks every request for a login and its role, and sets the headers of every response.

Another site may resolve its own name to this machine's address (DNS rebinding), so that a browser
sends requests here in the site's name: the Host header reveals that. The Origin header reveals a
form that another site posts here. A request with two lengths ends its connection.
"""

import hmac
import ipaddress
from collections.abc import Collection
from typing import TypeGuard
from urllib.parse import urlsplit

from starlette.datastructures import Headers, MutableHeaders
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from daemon.web.access.identity import PRINCIPAL, Principal, host_of
from daemon.web.access.login import LoginPages
from daemon.web.access.sessions import Authenticator
from daemon.web.entry import Entry, EntryTable
from daemon.web.request_body import MAX_BODY_BYTES, BodyTooLongError, form_of, read_body
from daemon.web.site import Site

HEADERS = {
    "Content-Security-Policy": (
        "default-src 'none'; style-src 'self'; script-src 'self'; img-src 'self';"
        " connect-src 'self'; base-uri 'none'; form-action 'self'; frame-ancestors 'none'"
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

_READING = frozenset({"GET", "HEAD", "OPTIONS"})
CSRF_HEADER = "x-csrf-token"
MAX_LOGIN_BYTES = 4096
"""Limit of the body of a caller without a login."""


class Guard:
    """The application behind the checks; adds `HEADERS` to its responses.

    A Host header may contain one of `web.allowed_hosts` or a loopback name. A request reaches the
    endpoint of its entry if the caller has the entry's role. A change by a browser's session needs
    the session's secret, in the field `csrf` of the form or in the header `X-CSRF-Token`.
    """

    def __init__(
        self,
        app: ASGIApp,
        table: EntryTable,
        authenticator: Authenticator,
        site: Site,
        login: LoginPages,
    ) -> None:
        self._app = app
        self._table = table
        self._authenticator = authenticator
        self._names = site.config.web.names
        self._site = site
        self._login = login

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request (ASGI)."""
        added = {**HEADERS, **TLS_HEADERS} if scope["scheme"] == "https" else HEADERS

        async def send_with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                MutableHeaders(scope=message).update(added)
            await send(message)

        headers = Headers(scope=scope)
        scope[PRINCIPAL] = None
        answer: ASGIApp | None = self._rejection(scope, headers)
        if answer is None:
            scope[PRINCIPAL] = self._authenticator.accepts(headers, host_of(scope))
            answer = await self._denial(Request(scope, receive)) or self._app
        await answer(scope, receive, send_with_headers)

    async def _denial(self, request: Request) -> Response | None:
        """Return an error response if the caller may not make the request."""
        entry = self._table.find(request.scope)
        caller: Principal | None = request.scope[PRINCIPAL]
        is_open = entry is not None and entry.role is None
        if caller is None and not is_open:
            return self._login.refuse(request)
        if caller is not None and _exceeds(entry, caller):
            message = f"Your role, {caller.role}, does not allow this: it needs {entry.role}."
            return self._site.error(request, 403, message)
        if entry is None or request.method in _READING:
            return None
        try:
            await read_body(request, MAX_BODY_BYTES if caller else MAX_LOGIN_BYTES)
        except BodyTooLongError:
            return self._site.error(request, 413, "The request is too long.")
        if caller is not None and caller.csrf and not _has_secret(request, caller.csrf):
            message = "The form is of another session: open the page again and repeat the step."
            return self._site.error(request, 403, message)
        return None

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
        if scope["method"] not in _READING and not _is_same_origin(headers, host):
            return PlainTextResponse("cross-site form submission rejected\n", 403)
        return None


def _exceeds(entry: Entry | None, caller: Principal) -> TypeGuard[Entry]:
    """Return True if the entry needs a higher role than the caller's."""
    return entry is not None and entry.role is not None and caller.role < entry.role


def _has_secret(request: Request, secret: str) -> bool:
    offered = request.headers.get(CSRF_HEADER) or form_of(request).get("csrf", [""])[0]
    return hmac.compare_digest(offered.encode(), secret.encode())


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
