"""The web application: read-only pages, and the login form.

No request can change the node's work.
"""

from collections.abc import Callable, Iterable
from datetime import datetime, timedelta
from urllib.parse import parse_qs

from jinja2 import Environment, PackageLoader, StrictUndefined
from prometheus_client import CONTENT_TYPE_LATEST
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import (
    HTMLResponse,
    JSONResponse,
    PlainTextResponse,
    RedirectResponse,
    Response,
)
from starlette.routing import Route
from starlette.types import ASGIApp, Receive, Scope, Send

from daemon.audit.logins import LoginOutcome
from daemon.config.settings import Config
from daemon.web.health import Check, Health, Level, Part
from daemon.web.metrics import render_metrics
from daemon.web.middleware import AUTHORIZED, Guard, host_of
from daemon.web.sessions import COOKIE, SESSION_SECONDS, Authenticator
from daemon.web.status_page import collect_overview
from storage.errors import StorageError
from storage.files.spool import Spool
from storage.records import JobState
from storage.store import Store, utc_now

REFRESH_SECONDS = 10
MAX_FORM_BYTES = 4096


def build_app(
    config: Config,
    store: Store,
    spool: Spool,
    authenticator: Authenticator,
    clock: Callable[[], datetime] = utc_now,
) -> ASGIApp:
    """Build the application: / is the page; /healthz, /readyz and /metrics are for programs."""
    site = _Site(config, store, spool, authenticator, clock)
    routes = [
        Route("/", site.page),
        Route("/style.css", site.style),
        Route("/healthz", site.health),
        Route("/readyz", site.readiness),
        Route("/metrics", site.metrics),
        Route("/login", site.log_in, methods=["POST"]),
        Route("/logout", site.log_out, methods=["POST"]),
    ]
    app = Starlette(routes=routes, exception_handlers={StorageError: _unavailable})
    return Guard(app, authenticator, config.web.names, site.refuse)


class _Site:
    """The endpoints. Starlette runs each in a thread, because they wait for the store."""

    def __init__(
        self,
        config: Config,
        store: Store,
        spool: Spool,
        authenticator: Authenticator,
        clock: Callable[[], datetime],
    ) -> None:
        self._config = config
        self._authenticator = authenticator
        self._store = store
        self._spool = spool
        self._health = Health(config, store, spool, clock)
        self._now = clock
        templates = Environment(
            loader=PackageLoader("daemon.web"),
            autoescape=True,
            undefined=StrictUndefined,
            trim_blocks=True,
            lstrip_blocks=True,
        )
        templates.filters.update(moment=_moment, span=_span, size=_size)
        self._login = templates.get_template("login.html")
        self._page = templates.get_template("status.html")
        self._style = templates.get_template("style.css").render()

    def page(self, _request: Request) -> Response:
        """Return the status page."""
        report = self._health.report()
        overview = collect_overview(self._config, self._store, report, self._now())
        html = self._page.render(
            overview=overview,
            ae_title=self._config.listener.ae_title,
            job_states=list(JobState),
            min_free_mb=self._config.spool.min_free_mb,
            refresh_seconds=REFRESH_SECONDS,
        )
        return HTMLResponse(html)

    async def refuse(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Refuse a request without token or session; a browser gets the login form."""
        answer: Response = PlainTextResponse("a token is needed: Authorization: Bearer …\n", 401)
        if "text/html" in Request(scope).headers.get("accept", ""):
            answer = self._form(401)
        answer.headers["WWW-Authenticate"] = 'Bearer realm="cxrd"'
        await answer(scope, receive, send)

    async def log_in(self, request: Request) -> Response:
        """Open a session if the form contains the token."""
        body = b""
        async for chunk in request.stream():
            body += chunk
            if len(body) > MAX_FORM_BYTES:
                return PlainTextResponse("too long for a token\n", 413)
        (offered, *_) = parse_qs(body.decode("utf-8", "replace")).get("token", [""])
        outcome, session = self._authenticator.log_in(offered, host_of(request.scope))
        if outcome is LoginOutcome.THROTTLED:
            return self._form(429, "Too many wrong tokens: wait a minute.")
        if outcome is not LoginOutcome.ACCEPTED:
            return self._form(401, "That is not the token.")
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

    def _form(self, status: int, problem: str = "") -> Response:
        html = self._login.render(ae_title=self._config.listener.ae_title, problem=problem)
        return HTMLResponse(html, status)

    def style(self, _request: Request) -> Response:
        """Return the style sheet; as a resource of its own it allows no inline styles."""
        return Response(self._style, media_type="text/css")

    def health(self, request: Request) -> Response:
        """Return 503 if a part of this host fails, else 200; with the token, all results."""
        report = self._health.report()
        answer: dict[str, object] = {"status": report.level}
        if request.scope[AUTHORIZED]:
            answer["checks"] = _results(report.checks)
            for level in (Level.FAILING, Level.DEGRADED):
                answer[level] = [check.name for check in report.at(level)]
        return JSONResponse(answer, status_code=503 if report.level is Level.FAILING else 200)

    def readiness(self, request: Request) -> Response:
        """Return 200 if all roles and ports of this host work, else 503; with the token, each."""
        report = self._health.report()
        answer: dict[str, object] = {"status": "ready" if report.is_ready else "not ready"}
        if request.scope[AUTHORIZED]:
            answer["checks"] = _results(report.of(Part.ROLE, Part.PORT))
        return JSONResponse(answer, status_code=200 if report.is_ready else 503)

    def metrics(self, _request: Request) -> Response:
        """Return the metrics in Prometheus' text format."""
        text = render_metrics(self._store, self._now, self._health.report())
        return Response(text, headers={"Content-Type": CONTENT_TYPE_LATEST})


def _results(checks: Iterable[Check]) -> dict[str, str]:
    """Return the result of each check by its name: `ok`, `starting`, or the problem."""
    return {check.name: check.detail or check.level for check in checks}


def _is_encrypted(request: Request) -> bool:
    """Return True if the browser uses TLS, to this server or to a proxy in front of it."""
    return "https" in (request.url.scheme, request.headers.get("origin", "").partition(":")[0])


def _unavailable(_request: Request, error: Exception) -> Response:
    """Report that the store or the spool is unavailable; a browser then reloads the page."""
    return PlainTextResponse(
        f"cxrd: {error}\n", status_code=503, headers={"Refresh": str(REFRESH_SECONDS)}
    )


def _moment(value: datetime) -> str:
    return f"{value:%Y-%m-%d %H:%M:%S}"


def _span(value: timedelta) -> str:
    """Format a duration in the largest unit of which it has at least two."""
    seconds = value.total_seconds()
    for length, unit in ((86_400, "d"), (3_600, "h"), (60, "min")):
        if seconds >= 2 * length:
            return f"{seconds / length:.0f} {unit}"
    return f"{seconds:.0f} s"


def _size(count: int) -> str:
    """Format a number of bytes in decimal units, as on a disk's label."""
    for length, unit in ((10**12, "TB"), (10**9, "GB"), (10**6, "MB")):
        if count >= length:
            return f"{count / length:.1f} {unit}"
    return f"{count} bytes"
