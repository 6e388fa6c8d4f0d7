"""The overview, its JSON, and the question whether there is anything new."""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from urllib.parse import urlencode

from starlette.requests import Request
from starlette.responses import Response

from daemon.web.access.roles import Role
from daemon.web.entry import Entry, Parameter, Place
from daemon.web.health.checks import HealthReport
from daemon.web.overview.collect import Overview, collect_overview
from daemon.web.overview.faults import refusal_by_space
from daemon.web.overview.work import draw_hours
from daemon.web.problems import BadRequestError
from daemon.web.site import Site
from storage.audit.records import AuditKind
from storage.records import JobState

MOST_CHANGES = 1000
"""Number at which further changes are not counted."""
LOOKS = (
    AuditKind.LOGIN,
    AuditKind.STUDY_VIEWED,
    AuditKind.FILM_VIEWED,
    AuditKind.DATA_EXPORTED,
    AuditKind.AUDIT_EXPORTED,
)
"""Events that change nothing that the overview shows."""


@dataclass(frozen=True, slots=True)
class Changes:
    """The number of events since the page was made, and whether the health differs since."""

    at: datetime
    changes: int
    health_changed: bool


def overview_entries(site: Site) -> Sequence[Entry]:
    """Return the entries of the overview."""
    pages = _Pages(site)
    return [
        Entry("/", pages.page, Role.STATUS, summary="The overview."),
        Entry(
            "/api/overview",
            pages.document,
            Role.STATUS,
            summary="Faults, queue, destinations, work of the last hours, newest films.",
            view=Overview,
        ),
        Entry(
            "/api/overview/changed",
            pages.changed,
            Role.STATUS,
            summary="The number of events since an overview was made.",
            parameters=(
                Parameter("event", Place.QUERY, "integer", "`event` of the overview", True),
                Parameter("health", Place.QUERY, "string", "the digest that the page names"),
            ),
            view=Changes,
        ),
    ]


class _Pages:
    def __init__(self, site: Site) -> None:
        self._site = site

    def page(self, request: Request) -> Response:
        """Return the page."""
        site = self._site
        health = site.health.report()
        overview = self._collected(health)
        asked = urlencode({"event": overview.event, "health": _digest(health)})
        return site.render(
            request,
            "overview/overview.html",
            overview=overview,
            hours=draw_hours(overview.work),
            job_states=list(JobState),
            refusal_by_space=refusal_by_space(site.config),
            changes=f"api/overview/changed?{asked}",
        )

    def document(self, _request: Request) -> Response:
        """Return the same as JSON."""
        return self._site.json(self._collected(self._site.health.report()))

    def _collected(self, health: HealthReport) -> Overview:
        site = self._site
        totals = site.totals.totals()
        return collect_overview(site.config, site.store, health, totals, site.clock())

    def changed(self, request: Request) -> Response:
        """Return the number of events since the page was made."""
        event = request.query_params.get("event", "")
        if not event.isdecimal() or len(event) > 18:
            raise BadRequestError("event is the number that the overview has under this name")
        digest = request.query_params.get("health", "")
        return self._site.json(
            Changes(
                at=self._site.clock(),
                changes=self._site.store.audit_list.count_after(int(event), LOOKS, MOST_CHANGES),
                health_changed=bool(digest) and digest != _digest(self._site.health.report()),
            )
        )


def _digest(health: HealthReport) -> str:
    """Return a short name for the levels of all checks and the states of all hosts."""
    levels = [f"{check.name}: {check.level}" for check in health.checks]
    levels += [f"{role.host} {role.role}: {role.state}" for role in health.hosts.roles]
    return hashlib.sha256("\n".join(levels).encode()).hexdigest()[:16]
