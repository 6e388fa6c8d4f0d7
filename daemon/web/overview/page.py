"""The overview page."""

from collections.abc import Sequence

from starlette.requests import Request
from starlette.responses import Response

from daemon.web.access.roles import Role
from daemon.web.entry import Entry
from daemon.web.overview.collect import collect_overview
from daemon.web.site import Site
from storage.records import JobState


def overview_entries(site: Site) -> Sequence[Entry]:
    """Return the entries of the overview."""

    def page(request: Request) -> Response:
        overview = collect_overview(site.config, site.store, site.health.report(), site.clock())
        return site.render(
            request,
            "overview/overview.html",
            overview=overview,
            job_states=list(JobState),
            min_free_mb=site.config.spool.min_free_mb,
        )

    return [Entry("/", page, Role.STATUS, summary="The overview.")]
