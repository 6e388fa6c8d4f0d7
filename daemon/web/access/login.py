"""The login page, and the answers to callers without a login or with too little reach."""

from collections.abc import Sequence

from starlette.requests import Request
from starlette.responses import PlainTextResponse, RedirectResponse, Response

from daemon.audit.logins import LoginOutcome
from daemon.web.access.identity import host_of
from daemon.web.access.sessions import COOKIE, SESSION_SECONDS, Authenticator
from daemon.web.entry import Entry
from daemon.web.request_body import form_of, wants_json
from daemon.web.site import Site


def login_entries(site: Site, authenticator: Authenticator) -> Sequence[Entry]:
    """Return the entries of login and logout."""
    pages = LoginPages(site, authenticator)
    return [
        Entry("/login", pages.log_in, None, "POST", summary="Open a session."),
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
            answer = self._form(request, 401)
        answer.headers["WWW-Authenticate"] = 'Bearer realm="cxrd"'
        return answer

    async def log_in(self, request: Request) -> Response:
        """Open a session if the form contains the token."""
        offered = form_of(request).get("token", [""])[0]
        outcome, session = self._authenticator.log_in(offered, host_of(request.scope))
        if outcome is LoginOutcome.THROTTLED:
            return self._form(request, 429, "Too many wrong tokens: wait a minute.")
        if outcome is not LoginOutcome.ACCEPTED:
            return self._form(request, 401, "That is not the token.")
        answer = RedirectResponse("./", 303)
        answer.set_cookie(
            COOKIE,
            session,
            max_age=SESSION_SECONDS,
            secure=_is_encrypted(request),
            httponly=True,
            samesite="strict",
        )
        return answer

    async def log_out(self, request: Request) -> Response:
        """End the session."""
        self._authenticator.log_out(request.headers, host_of(request.scope))
        answer = RedirectResponse("./", 303)
        answer.delete_cookie(
            COOKIE, secure=_is_encrypted(request), httponly=True, samesite="strict"
        )
        return answer

    def _form(self, request: Request, status: int, problem: str = "") -> Response:
        return self._site.render(request, "access/login.html", status, problem=problem)


def _is_encrypted(request: Request) -> bool:
    """Return True if the browser uses TLS, to this server or to a proxy in front of it."""
    return "https" in (request.url.scheme, request.headers.get("origin", "").partition(":")[0])
