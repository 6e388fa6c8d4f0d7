"""/healthz, /readyz and /metrics, for programs."""

from collections.abc import Iterable, Sequence

from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from daemon.statistics.counter import FilmCounter
from daemon.web.access.identity import is_known
from daemon.web.access.roles import Role
from daemon.web.entry import Entry
from daemon.web.health.checks import Check, Level, Part
from daemon.web.health.metrics.render import Metrics
from daemon.web.site import Site


def health_entries(site: Site, counter: FilmCounter) -> Sequence[Entry]:
    """Return the entries of health, readiness and metrics."""
    pages = _Pages(site, Metrics(site.config, site.store, site.clock, counter))
    return [
        Entry("/healthz", pages.health, None, summary="Health of this host."),
        Entry("/readyz", pages.readiness, None, summary="Readiness of this host."),
        Entry("/metrics", pages.metrics, Role.METRICS, summary="Metrics for Prometheus."),
    ]


class _Pages:
    def __init__(self, site: Site, metrics: Metrics) -> None:
        self._site = site
        self._metrics = metrics

    def health(self, request: Request) -> Response:
        """Return 503 if a part of this host fails, else 200; with a login, all results."""
        report = self._site.health.report()
        answer: dict[str, object] = {"status": report.level}
        if is_known(request):
            answer["checks"] = _results(report.checks)
            for level in (Level.FAILING, Level.DEGRADED):
                answer[level] = [check.name for check in report.at(level)]
            answer["hosts"] = [
                {"host": role.host, "role": role.role, "state": role.state}
                for role in report.hosts.roles
            ]
        return JSONResponse(answer, status_code=503 if report.level is Level.FAILING else 200)

    def readiness(self, request: Request) -> Response:
        """Return 200 if all roles and ports of this host work, else 503; with a login, each."""
        report = self._site.health.report()
        not_ready = Level.STOPPING if report.is_stopping else "not ready"
        answer: dict[str, object] = {"status": "ready" if report.is_ready else not_ready}
        if is_known(request):
            answer["checks"] = _results(report.of(Part.ROLE, Part.PORT))
        return JSONResponse(answer, status_code=200 if report.is_ready else 503)

    def metrics(self, request: Request) -> Response:
        """Return the metrics as Prometheus' text, or as OpenMetrics to a caller that asks so."""
        accept = request.headers.get("accept", "")
        text, content_type = self._metrics.render(self._site.health.report(), accept)
        return Response(text, headers={"Content-Type": content_type})


def _results(checks: Iterable[Check]) -> dict[str, str]:
    """Return the result of each check by its name: `ok`, `starting`, or the problem."""
    return {check.name: check.detail or check.level for check in checks}
