"""Announces the roles of one supervisor to all hosts, by rows in the store."""

import hashlib
import logging
import math
import socket
import time
from collections.abc import Callable, Sequence
from pathlib import Path

from daemon.config.settings import Config
from daemon.hosts.agreement import as_text, section_digests
from daemon.version import own_version
from daemon.worker.board import RoleStatus
from daemon.worker.role import RoleName
from storage.errors import StorageError
from storage.hosts.nodes import NodeRole, Nodes
from storage.tables.upgrade import head_revision

log = logging.getLogger("supervisor")
_PLACE_CHARACTERS = 12


def node_name(config: Config, role: RoleName) -> str:
    """Return the key of a role of this host: the same after each start with this `data_dir`."""
    place = hashlib.sha256(str(Path(config.data_dir).resolve()).encode()).hexdigest()
    return f"{socket.gethostname()}:{role}:{place[:_PLACE_CHARACTERS]}"


class Presence:
    """Renews the rows of the roles of this host. An error is logged once, until it has passed."""

    def __init__(
        self, config: Config, nodes: Nodes, monotonic: Callable[[], float] = time.monotonic
    ) -> None:
        # Found once: a look at files fails while this process is at its limit of open files.
        self._names = {role: node_name(config, role) for role in RoleName}
        self._version, self._schema = own_version(), head_revision()
        self._nodes = nodes
        self._now = monotonic
        self._digest = as_text(section_digests(config))
        self._shown: list[NodeRole] = []
        self._due = -math.inf
        self._failed = False

    def begin(self) -> None:
        """Forget the roles of hosts that are gone for long. Raises StorageError."""
        self._nodes.forget()

    def renew(self, roles: Sequence[RoleStatus]) -> None:
        """Write the rows if a state has changed or it is time."""
        shown = [self._row(status) for status in roles]
        if shown == self._shown and self._now() < self._due:
            return
        self._shown, self._due = shown, self._now() + self._nodes.renew_seconds
        try:
            self._nodes.renew(shown)
        except StorageError as error:
            self._tell(error)
        else:
            self._failed = False

    def end(self) -> None:
        """Remove the rows: the roles have stopped."""
        try:
            self._nodes.remove([row.name for row in self._shown])
        except StorageError as error:
            self._tell(error)

    def _row(self, status: RoleStatus) -> NodeRole:
        return NodeRole(
            name=self._names[status.role],
            host=socket.gethostname(),
            role=status.role,
            version=self._version,
            schema=self._schema,
            config_digest=self._digest,
            state=status.state,
            detail=status.reason,
        )

    def _tell(self, error: StorageError) -> None:
        if not self._failed:
            log.error("the other hosts do not see the roles of this host: %s", error)
        self._failed = True
