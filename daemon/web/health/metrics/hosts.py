"""Metrics of all hosts of the store."""

from collections.abc import Iterator

from prometheus_client.core import GaugeMetricFamily, Metric

from daemon.hosts.survey import Survey
from daemon.worker.board import RoleState
from daemon.worker.role import RoleName

_OF_A_ROLE = ("host", "role")


def host_families(hosts: Survey) -> Iterator[Metric]:
    """Yield the families; several rows of one host and role are one sample, the best of them."""
    up = GaugeMetricFamily(
        "cxrd_node_up", "1 if the role works on the host, as it told the store.", labels=_OF_A_ROLE
    )
    seen = GaugeMetricFamily(
        "cxrd_node_seen_seconds",
        "Time since the host last told the store about the role.",
        labels=_OF_A_ROLE,
    )
    same = GaugeMetricFamily(
        "cxrd_node_config_same",
        "1 if the settings that hosts must share are those of the host that answers.",
        labels=_OF_A_ROLE,
    )
    info = GaugeMetricFamily(
        "cxrd_node_info",
        "1; the version of the software of a role, and the revision of the tables it knows.",
        labels=(*_OF_A_ROLE, "version", "schema"),
    )
    by_role = sorted({(role.host, role.role) for role in hosts.roles})
    for key in by_role:
        rows = [role for role in hosts.roles if (role.host, role.role) == key]
        best = min(rows, key=lambda role: (role.state != RoleState.UP, role.seen_seconds))
        up.add_metric(key, best.state == RoleState.UP)
        seen.add_metric(key, best.seen_seconds)
        same.add_metric(key, not best.differs)
        info.add_metric([*key, best.version, best.schema], 1)
    yield from (up, seen, same, info)
    working = GaugeMetricFamily(
        "cxrd_nodes", "Hosts on which the role works, or starts.", labels=["role"]
    )
    for name in RoleName:
        working.add_metric([name], sum(role.works for role in hosts.roles if role.role == name))
    yield working
