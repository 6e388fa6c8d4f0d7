"""/healthz, /readyz and /metrics, for programs."""

from collections.abc import Iterable, Sequence

from prometheus_client import CONTENT_TYPE_LATEST
from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from daemon.web.access.identity import is_known
from daemon.web.access.roles import Role
from daemon.web.entry import Entry
from daemon.web.health.checks import Check, Level, Part
from daemon.web.health.metrics import render_metrics
from daemon.web.site import Site


def health_entries(site: Site) -> Sequence[Entry]:
    """Return the entries of health, readiness and metrics."""
    pages = _Pages(site)
    return [
        Entry("/healthz", pages.health, None, summary="Health of this host."),
        Entry("/readyz", pages.readiness, None, summary="Readiness of this host."),
        Entry("/metrics", pages.metrics, Role.METRICS, summary="Metrics for Prometheus."),
    ]


class _Pages:
    def __init__(self, site: Site) -> None:
        self._site = site

    def health(self, request: Request) -> Response:
        """Return 503 if a part of this host fails, else 200; with a login, all results."""
        report = self._site.health.report()
        answer: dict[str, object] = {"status": report.level}
        if is_known(request):
            answer["checks"] = _results(report.checks)
            for level in (Level.FAILING, Level.DEGRADED):
                answer[level] = [check.name for check in report.at(level)]
        return JSONResponse(answer, status_code=503 if report.level is Level.FAILING else 200)

    def readiness(self, request: Request) -> Response:
        """Return 200 if all roles and ports of this host work, else 503; with a login, each."""
        report = self._site.health.report()
        answer: dict[str, object] = {"status": "ready" if report.is_ready else "not ready"}
        if is_known(request):
            answer["checks"] = _results(report.of(Part.ROLE, Part.PORT))
        return JSONResponse(answer, status_code=200 if report.is_ready else 503)

    def metrics(self, _request: Request) -> Response:
        """Return the metrics in Prometheus' text format."""
        site = self._site
        text = render_metrics(site.store, site.clock, site.health.report())
        return Response(text, headers={"Content-Type": CONTENT_TYPE_LATEST})


def _results(checks: Iterable[Check]) -> dict[str, str]:
    """Return the result of each check by its name: `ok`, `starting`, or the problem."""
    return {check.name: check.detail or check.level for check in checks}
