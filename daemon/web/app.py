"""The answers: GET and HEAD only, and nothing that changes anything."""

from collections.abc import Callable
from datetime import datetime, timedelta

from jinja2 import Environment, PackageLoader, StrictUndefined
from prometheus_client import CONTENT_TYPE_LATEST
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import HTMLResponse, JSONResponse, PlainTextResponse, Response
from starlette.routing import Route
from starlette.types import ASGIApp

from daemon.config import Config
from daemon.web.guard import Guard
from daemon.web.health import check_health
from daemon.web.metrics import render_metrics
from daemon.web.overview import gather
from storage.errors import StorageError
from storage.records import JobState
from storage.spool import Spool
from storage.store import Store, utc_now

REFRESH_SECONDS = 10


def build_app(
    config: Config, store: Store, spool: Spool, clock: Callable[[], datetime] = utc_now
) -> ASGIApp:
    """The application: / is the page; /healthz and /metrics are for programs."""
    site = _Site(config, store, spool, clock)
    return Guard(
        Starlette(
            routes=[
                Route("/", site.page),
                Route("/style.css", site.style),
                Route("/healthz", site.health),
                Route("/metrics", site.metrics),
            ],
            exception_handlers={StorageError: _unavailable},
        )
    )


class _Site:
    """The endpoints. They wait for the store, so Starlette runs each in a thread."""

    def __init__(
        self, config: Config, store: Store, spool: Spool, clock: Callable[[], datetime]
    ) -> None:
        self._config = config
        self._store = store
        self._spool = spool
        self._now = clock
        templates = Environment(
            loader=PackageLoader("daemon.web"),
            autoescape=True,
            undefined=StrictUndefined,
            trim_blocks=True,
            lstrip_blocks=True,
        )
        templates.filters.update(moment=_moment, span=_span, size=_size)
        self._page = templates.get_template("status.html")
        self._style = templates.get_template("style.css").render()

    def page(self, _request: Request) -> Response:
        """The status page."""
        overview = gather(self._config, self._store, self._spool, self._now())
        html = self._page.render(
            overview=overview,
            ae_title=self._config.listener.ae_title,
            job_states=list(JobState),
            min_free_mb=self._config.spool.min_free_mb,
            refresh_seconds=REFRESH_SECONDS,
        )
        return HTMLResponse(html)

    def style(self, _request: Request) -> Response:
        """The page's style sheet: a resource of its own lets the policy forbid inline styles."""
        return Response(self._style, media_type="text/css")

    def health(self, _request: Request) -> Response:
        """200 when an image could be kept now, else 503; which check failed and why."""
        checks = check_health(self._store, self._spool)
        well = all(check.problem is None for check in checks)
        return JSONResponse(
            {
                "status": "ok" if well else "failing",
                "checks": {check.name: check.problem or "ok" for check in checks},
            },
            status_code=200 if well else 503,
        )

    def metrics(self, _request: Request) -> Response:
        """Prometheus' text format."""
        text = render_metrics(self._store, self._spool, self._now)
        return Response(text, headers={"Content-Type": CONTENT_TYPE_LATEST})


def _unavailable(_request: Request, error: Exception) -> Response:
    """The store or the spool does not answer: say so, and let a browser try again."""
    return PlainTextResponse(
        f"cxrd: {error}\n", status_code=503, headers={"Refresh": str(REFRESH_SECONDS)}
    )


def _moment(value: datetime) -> str:
    return f"{value:%Y-%m-%d %H:%M:%S}"


def _span(value: timedelta) -> str:
    """A duration as a person says it, in its largest unit that is not less than two."""
    seconds = value.total_seconds()
    for length, unit in ((86_400, "d"), (3_600, "h"), (60, "min")):
        if seconds >= 2 * length:
            return f"{seconds / length:.0f} {unit}"
    return f"{seconds:.0f} s"


def _size(count: int) -> str:
    """A number of bytes in decimal units, as disks are sold."""
    for length, unit in ((10**12, "TB"), (10**9, "GB"), (10**6, "MB")):
        if count >= length:
            return f"{count / length:.1f} {unit}"
    return f"{count} bytes"
