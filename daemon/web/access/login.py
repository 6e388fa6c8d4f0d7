"""The login page, and the answers to callers without a login."""

import math
import re
from collections.abc import Mapping, Sequence
from urllib.parse import quote, unquote

from starlette.requests import Request
from starlette.responses import PlainTextResponse, RedirectResponse, Response

from daemon.audit.logins import LoginOutcome
from daemon.web.access.authenticator import Authenticator, Login
from daemon.web.access.identity import host_of
from daemon.web.access.sessions import COOKIE, SECURE_COOKIE
from daemon.web.entry import Entry, Parameter, Place
from daemon.web.problems import BusyError
from daemon.web.request_body import form_of, wants_json
from daemon.web.site import Site

LOGIN_PATH = "/login"
MOST_NEXT_CHARACTERS = 2000
_LOCAL = re.compile(r"/[!-\[\]-~]*")
"""A path with its query, in printable ASCII and without a backslash."""


def login_entries(site: Site, authenticator: Authenticator) -> Sequence[Entry]:
    """Return the entries of login and logout."""
    pages = LoginPages(site, authenticator)
    after = Parameter("next", Place.QUERY, "string", "The page to open after the login.")
    return [
        Entry(LOGIN_PATH, pages.show, None, summary="The login page.", parameters=(after,)),
        Entry(LOGIN_PATH, pages.log_in, None, "POST", summary="Open a session."),
        Entry("/logout", pages.log_out, None, "POST", summary="End the session."),
    ]


class LoginPages:
    """Opens and ends sessions; asks callers without a login for one."""

    def __init__(self, site: Site, authenticator: Authenticator) -> None:
        self._site = site
        self._authenticator = authenticator

    def refuse(self, request: Request) -> Response:
        """Answer a request without a login; a browser gets the login form."""
        answer: Response = PlainTextResponse("a token is needed: Authorization: Bearer …\n", 401)
        if wants_json(request):
            answer = self._site.json({"error": "a token is needed: Authorization: Bearer …"}, 401)
        elif "text/html" in request.headers.get("accept", ""):
            query = f"?{request.url.query}" if request.url.query else ""
            is_page = request.method == "GET"
            wanted = f"{quote(request.scope['path'])}{query}" if is_page else "/"
            answer = self._form(request, 401, local_path(wanted))
            fetched = request.headers.get("sec-fetch-site", "none")
            if is_page and fetched not in ("none", "same-origin"):
                # The link of another site leads here without the cookie (SameSite=Strict). The
                # browser sends it if this page itself asks again.
                answer.headers["Refresh"] = "0"
        answer.headers["WWW-Authenticate"] = 'Bearer realm="cxrd"'
        return answer

    def show(self, request: Request) -> Response:
        """Return the login page."""
        return self._form(request, 200, local_path(request.query_params.get("next", "/")))

    async def log_in(self, request: Request) -> Response:
        """Open a session if the form has the token, or name and password of an account."""
        form = form_of(request)
        wanted = local_path(_field(form, "next") or "/")
        try:
            login = await self._checked(form, host_of(request.scope))
        except BusyError as error:
            return self._form(request, error.status, wanted, str(error))
        if login.outcome is LoginOutcome.THROTTLED:
            seconds = max(1, math.ceil(login.wait_seconds))
            problem = f"Too many failed logins: try again in {seconds} s."
            answer: Response = self._form(request, 429, wanted, problem)
            answer.headers["Retry-After"] = str(seconds)
            return answer
        if login.outcome is not LoginOutcome.ACCEPTED:
            is_account = "password" in form
            problem = "Name and password do not fit." if is_account else "That is not the token."
            return self._form(request, 401, wanted, problem)
        await self._end_session(request)
        answer = RedirectResponse(f".{wanted}", 303)
        is_encrypted = _is_encrypted(request)
        answer.set_cookie(
            SECURE_COOKIE if is_encrypted else COOKIE,
            login.session,
            max_age=round(self._authenticator.sessions.lifetime_seconds),
            secure=is_encrypted,
            httponly=True,
            samesite="strict",
        )
        return answer

    async def log_out(self, request: Request) -> Response:
        """End the session."""
        await self._end_session(request)
        answer = RedirectResponse("./", 303)
        for name in (SECURE_COOKIE, COOKIE):
            if name in request.cookies:
                is_secure = name == SECURE_COOKIE
                answer.delete_cookie(name, secure=is_secure, httponly=True, samesite="strict")
        return answer

    async def _checked(self, form: Mapping[str, list[str]], host: str) -> Login:
        if "password" in form:
            name, password = _field(form, "name"), _field(form, "password")
            return await self._authenticator.log_in_by_password(name, password, host)
        return await self._authenticator.log_in(_field(form, "token"), host)

    async def _end_session(self, request: Request) -> None:
        is_encrypted = request.scope["scheme"] == "https"
        await self._authenticator.log_out(
            request.headers, host_of(request.scope), is_encrypted=is_encrypted
        )

    def _form(self, request: Request, status: int, wanted: str, problem: str = "") -> Response:
        return self._site.render(
            request,
            "access/login.html",
            status,
            problem=problem,
            wanted="" if wanted == "/" else wanted,
            has_accounts=bool(self._authenticator.accounts),
        )


def local_path(wanted: str) -> str:
    """Return a path of this site with its query; `/` for text that could lead to another site."""
    if len(wanted) > MOST_NEXT_CHARACTERS or not _LOCAL.fullmatch(wanted):
        return "/"
    path = wanted.partition("?")[0]
    decoded = unquote(unquote(path))
    if "//" in decoded or "\\" in decoded or not decoded.isprintable():
        return "/"
    if {".", ".."} & set(decoded.split("/")):
        return "/"
    return wanted


def _field(form: Mapping[str, list[str]], name: str) -> str:
    return form.get(name, [""])[0]


def _is_encrypted(request: Request) -> bool:
    """Return True if the browser uses TLS, to this server or to a proxy in front of it."""
    return "https" in (request.scope["scheme"], request.headers.get("origin", "").partition(":")[0])
