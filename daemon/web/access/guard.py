"""Checks every request for a login and its role, and sets the headers of every response.

Another site may resolve its own name to this machine's address (DNS rebinding), so that a browser
sends requests here in the site's name: the Host header reveals that. The Origin header reveals a
form that another site posts here. A request with two lengths ends its connection.
"""

import hmac
import ipaddress
import re
from collections.abc import Collection, Mapping
from types import MappingProxyType
from typing import TypeGuard
from urllib.parse import urlsplit

from starlette.datastructures import Headers, MutableHeaders
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from daemon.web.access.authenticator import Authenticator
from daemon.web.access.identity import PREFIX, PRINCIPAL, Principal, host_of
from daemon.web.access.login import LOGIN_PATH, LoginPages
from daemon.web.access.proxies import IdentityError, Proxies
from daemon.web.access.roles import Role
from daemon.web.entry import Entry, EntryTable
from daemon.web.request_body import MAX_BODY_BYTES, BodyTooLongError, form_of, read_body
from daemon.web.site import Site
from daemon.web.static_files import STATIC_PATH
from storage.errors import StorageError

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
    "Permissions-Policy": (
        "camera=(), display-capture=(), geolocation=(), microphone=(), midi=(), payment=(), usb=()"
    ),
}
TLS_HEADERS = {"Strict-Transport-Security": "max-age=31536000"}

_READING = frozenset({"GET", "HEAD", "OPTIONS"})
_HOST = re.compile(r"[A-Za-z0-9._-]+(:\d*)?|\[[0-9A-Fa-f:.]+\](:\d*)?")
CSRF_HEADER = "x-csrf-token"
MAX_LOGIN_BYTES = 4096
"""Limit of the body of a caller without a login."""


class Guard:
    """The application behind the checks; adds `HEADERS` to its responses.

    A Host header may contain one of `web.allowed_hosts` or a loopback name. A request reaches the
    endpoint of its entry if the caller has the entry's role. A change by a browser, which has a
    session here or at a proxy, must come from a page of this node and needs the session's secret,
    in the field `csrf` of the form or in the header `X-CSRF-Token`.
    """

    def __init__(
        self,
        app: ASGIApp,
        table: EntryTable,
        authenticator: Authenticator,
        site: Site,
        login: LoginPages,
        services: Mapping[str, ASGIApp] = MappingProxyType({}),
    ) -> None:
        """`services` are applications below a path that know their own callers."""
        self._app = app
        self._services = services
        self._table = table
        self._authenticator = authenticator
        self._proxies = Proxies(site.config.web)
        self._names = site.config.web.names
        self._site = site
        self._login = login

    async def __call__(self, received: Scope, receive: Receive, send: Send) -> None:
        """Answer one request (ASGI)."""
        scope = self._proxies.forwarded(received)
        added = {**HEADERS, **TLS_HEADERS} if scope["scheme"] == "https" else HEADERS

        async def send_with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                MutableHeaders(scope=message).update(added)
            await send(message)

        scope[PRINCIPAL] = None
        answer: ASGIApp | None = self._rejection(Headers(scope=scope))
        if answer is None:
            answer = self._service_of(received, scope)
        if answer is None:
            answer = await self._denial(received, Request(scope, receive)) or self._app
        await answer(scope, receive, send_with_headers)

    def _service_of(self, received: Scope, scope: Scope) -> ASGIApp | None:
        """Return the service of a path, with the prefix of a proxy in its scope, or None."""
        path = str(scope["path"])
        for root, service in self._services.items():
            if path == root or path.startswith(f"{root}/"):
                scope[PREFIX] = str(received["path"]).removesuffix(path)
                return service
        return None

    async def _denial(self, received: Scope, request: Request) -> Response | None:
        """Return an error response if the caller may not make the request."""
        entry = self._table.find(request.scope)
        is_open = entry is not None and entry.role is None
        caller: Principal | None = None
        try:
            if entry is None or entry.path != STATIC_PATH:
                caller = await self._caller(received, request)
        except IdentityError as error:
            if not is_open:
                return self._site.error(request, error.status, str(error))
        except StorageError as error:
            if not is_open:
                return self._site.unavailable(request, error)
        request.scope[PRINCIPAL] = caller
        if caller is None and not is_open:
            return self._login.refuse(request)
        if caller is not None and _exceeds(entry, caller):
            return self._site.error(request, 403, _too_low(entry, caller))
        if entry is None:
            return None
        if request.method in _READING:
            return self._foreign_look(request, caller)
        return await self._foreign_change(request, caller)

    async def _caller(self, received: Scope, request: Request) -> Principal | None:
        """Return the caller; a user whom a trusted proxy names comes before all else.

        Raises IdentityError for a proxy's user without a role, or named unclearly, and StorageError
        if a session cannot be looked up.
        """
        user = self._proxies.user(received)
        host = host_of(request.scope)
        if user is not None:
            return self._authenticator.accepts_user(user, host)
        is_encrypted = request.scope["scheme"] == "https"
        return await self._authenticator.accepts(request.headers, host, is_encrypted=is_encrypted)

    def _foreign_look(self, request: Request, caller: Principal | None) -> Response | None:
        """Return an error response if a page of another site embeds a page or picture.

        A link of another site may be followed. A browser without Sec-Fetch headers is held off by
        the cookie, which it sends to pages of this node only.
        """
        fetched = request.headers.get("sec-fetch-site", "none")
        if caller is None or not caller.csrf or fetched in ("none", "same-origin"):
            return None
        is_followed = request.headers.get("sec-fetch-mode") == "navigate"
        if is_followed and request.headers.get("sec-fetch-dest") == "document":
            return None
        return self._site.error(request, 403, "Another site may link to this page, not embed it.")

    async def _foreign_change(self, request: Request, caller: Principal | None) -> Response | None:
        """Return an error response if the change is not from a page that this caller was given.

        A token in the request itself proves enough: no other site can make a browser send it.
        """
        by_program = caller is not None and not caller.csrf
        if not by_program and not _is_same_origin(request):
            message = "The form was sent by a page of another site."
            return self._site.error(request, 403, message)
        try:
            await read_body(request, MAX_BODY_BYTES if caller else MAX_LOGIN_BYTES)
        except BodyTooLongError:
            return self._site.error(request, 413, "The request is too long.")
        # A login page may be older than the session. Its form proves the user by itself.
        secret = caller.csrf if caller is not None and request.scope["path"] != LOGIN_PATH else ""
        if secret and not _has_secret(request, secret):
            message = "The form is of another session: open the page again and repeat the step."
            return self._site.error(request, 403, message)
        return None

    def _rejection(self, headers: Headers) -> Response | None:
        """Return an error response if the request is not to this server."""
        if "transfer-encoding" in headers and "content-length" in headers:
            # A proxy in front may have read another end of this request (RFC 9112 6.1).
            return PlainTextResponse(
                "Content-Length and Transfer-Encoding in one request\n",
                400,
                headers={"Connection": "close"},
            )
        if not is_own_name(headers.get("host", ""), self._names):
            return PlainTextResponse(
                "unknown Host header: use localhost, or a name listed in web.allowed_hosts\n",
                400,
            )
        return None


def _exceeds(entry: Entry | None, caller: Principal) -> TypeGuard[Entry]:
    """Return True if the entry needs a higher role than the caller's."""
    return entry is not None and entry.role is not None and caller.role < entry.role


def _too_low(entry: Entry, caller: Principal) -> str:
    # A user cannot be given the reach of an old token, so the next role is named in its place.
    needed = Role.VIEWER if entry.role is Role.STATUS else entry.role
    message = f"Your role, {caller.role}, does not allow this: it needs {needed}."
    if caller.role is Role.STATUS:
        message += (
            " This token is from before there were roles: an administrator can give it one by"
            " web.token_role in the configuration."
        )
    return message


def _has_secret(request: Request, secret: str) -> bool:
    offered = request.headers.get(CSRF_HEADER) or form_of(request).get("csrf", [""])[0]
    return hmac.compare_digest(offered.encode(), secret.encode())


def is_own_name(host: str, names: Collection[str] = ()) -> bool:
    """Return True if a Host header contains a loopback name, or one of `names`."""
    if not _HOST.fullmatch(host):
        return False
    try:
        name = urlsplit(f"//{host}").hostname or ""
        return name == "localhost" or name in names or ipaddress.ip_address(name).is_loopback
    except ValueError:
        return False


def _is_same_origin(request: Request) -> bool:
    """Return True if a page of this host sent the form; browsers name the origin of a form."""
    if request.headers.get("sec-fetch-site", "same-origin") != "same-origin":
        return False
    try:
        origin = urlsplit(request.headers.get("origin", ""))
    except ValueError:
        return False
    # Behind a proxy that is not trusted, this node does not see that the browser uses TLS.
    schemes = ("https",) if request.scope["scheme"] == "https" else ("http", "https")
    return origin.scheme in schemes and origin.netloc == request.headers.get("host", "")
