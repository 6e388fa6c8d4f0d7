"""The roles of all hosts as the store shows them, compared with this host."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from itertools import groupby

from daemon.config.settings import Config
from daemon.hosts.agreement import differing, from_text
from daemon.hosts.presence import place_of
from daemon.worker.board import RoleState
from daemon.worker.role import RoleName
from storage.hosts.nodes import SeenRole
from storage.store import Store

SILENT = "silent"
NEEDED = (RoleName.LISTENER, RoleName.ANALYST, RoleName.COURIER)
"""The roles without which no film becomes a delivered result."""


@dataclass(frozen=True, slots=True)
class HostRole:
    """A role of a host.

    Attributes:
        state: starting, up, stopping or down, as its supervisor wrote; silent without a renewal.
        since: the time of its last change of state; if it is silent, the time when it was seen.
        seen_seconds: the time since its supervisor wrote last.
        detail: the end of its last process; of an analyst that works, its model.
        differs: the sections of the configuration in which its host differs from this one.
        is_here: True if it is a role of this host with this `data_dir`.
    """

    host: str
    role: str
    state: str
    version: str
    schema: str
    since: datetime
    seen_at: datetime
    seen_seconds: float
    detail: str
    differs: tuple[str, ...]
    is_here: bool

    @property
    def works(self) -> bool:
        """True if the role works, or will in a moment."""
        return self.state in (RoleState.UP, RoleState.STARTING)


@dataclass(frozen=True, slots=True)
class Host:
    """The roles of one host and one `data_dir`."""

    name: str
    roles: tuple[HostRole, ...]

    @property
    def is_here(self) -> bool:
        """True for this host."""
        return self.roles[0].is_here

    @property
    def versions(self) -> tuple[str, ...]:
        """The versions of its software: more than one only while it is being replaced."""
        return tuple(sorted({role.version for role in self.roles}))

    @property
    def seen_at(self) -> datetime:
        """The last time at which it was seen."""
        return max(role.seen_at for role in self.roles)

    @property
    def seen_seconds(self) -> float:
        """The time since it was seen."""
        return min(role.seen_seconds for role in self.roles)

    @property
    def is_silent(self) -> bool:
        """True if none of its roles was renewed."""
        return all(role.state == SILENT for role in self.roles)

    @property
    def differs(self) -> tuple[str, ...]:
        """The sections of the configuration in which it differs from this host."""
        return tuple(sorted({section for role in self.roles for section in role.differs}))

    def in_state(self, state: str) -> tuple[HostRole, ...]:
        """Return the roles in a state."""
        return tuple(role for role in self.roles if role.state == state)


@dataclass(frozen=True, slots=True)
class Survey:
    """All hosts of the store."""

    hosts: tuple[Host, ...]

    @property
    def roles(self) -> tuple[HostRole, ...]:
        """The roles of all hosts."""
        return tuple(role for host in self.hosts for role in host.roles)

    @property
    def others(self) -> tuple[Host, ...]:
        """The hosts that are not this one."""
        return tuple(host for host in self.hosts if not host.is_here)

    @property
    def missing(self) -> tuple[RoleName, ...]:
        """The needed roles that work on no host; none if no role works at all."""
        working = {role.role for role in self.roles if role.works}
        return tuple(role for role in NEEDED if working and role not in working)

    @property
    def versions(self) -> tuple[str, ...]:
        """The versions of all roles that are not silent."""
        return tuple(sorted({role.version for role in self.roles if role.state != SILENT}))


NO_HOSTS = Survey(())


def survey(config: Config, digests: Mapping[str, str], store: Store) -> Survey:
    """Return the hosts, compared with this one's digests. Raises StorageError."""
    place = place_of(config)
    seen = [_of_row(one, place, digests) for one in store.nodes.list()]
    return Survey(tuple(_hosts(seen)))


def _hosts(seen: Sequence[tuple[str, HostRole]]) -> Iterator[Host]:
    order = list(RoleName)
    ordered = sorted(seen, key=lambda one: (one[1].host, one[0]))
    for _, rows in groupby(ordered, key=lambda one: one[0]):
        roles = sorted(
            (role for _, role in rows),
            key=lambda one: order.index(RoleName(one.role)) if one.role in order else len(order),
        )
        yield Host(roles[0].host, tuple(roles))


def _of_row(one: SeenRole, here: str, digests: Mapping[str, str]) -> tuple[str, HostRole]:
    """Return the place of a role, and the role."""
    node = one.node
    place = ":".join(node.name.split(":")[:2])
    return place, HostRole(
        host=node.host,
        role=node.role,
        state=SILENT if one.is_silent else node.state,
        version=node.version,
        schema=node.schema,
        since=one.seen_at if one.is_silent else one.since,
        seen_at=one.seen_at,
        seen_seconds=one.age.total_seconds(),
        detail=node.detail,
        differs=differing(digests, from_text(node.config_digest)),
        is_here=node.name.startswith(here),
    )
