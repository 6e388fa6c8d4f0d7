"""/hosts: the roles of all hosts, and whether their settings agree."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from starlette.requests import Request
from starlette.responses import Response

from daemon.hosts.survey import HostRole
from daemon.web.access.roles import Role
from daemon.web.entry import Entry
from daemon.web.site import Site


@dataclass(frozen=True, slots=True)
class NodesView:
    """The roles of all hosts. `missing` are needed roles that work on no host."""

    at: datetime
    nodes: tuple[HostRole, ...]
    missing: tuple[str, ...]
    versions: tuple[str, ...]


def host_entries(site: Site) -> Sequence[Entry]:
    """Return the entries of the hosts."""

    def page(request: Request) -> Response:
        hosts = site.health.report().hosts
        return site.render(request, "administration/hosts.html", survey=hosts, now=site.clock())

    def document(_request: Request) -> Response:
        hosts = site.health.report().hosts
        missing = tuple(map(str, hosts.missing))
        return site.json(NodesView(site.clock(), hosts.roles, missing, hosts.versions))

    return [
        Entry("/hosts", page, Role.STATUS, summary="The roles of all hosts."),
        Entry(
            "/api/nodes",
            document,
            Role.STATUS,
            summary="The roles of all hosts: version, state, last sign of life, settings.",
            view=NodesView,
        ),
    ]
