"""Announces the roles of one supervisor to all hosts, by rows in the store."""

import hashlib
import logging
import math
import socket
import time
from collections.abc import Callable, Sequence

from daemon.config.settings import Config
from daemon.hosts.agreement import as_text, section_digests
from daemon.version import own_version
from daemon.worker.board import RoleStatus, living_supervisors, models_in_use
from daemon.worker.role import RoleName
from storage.errors import StorageError
from storage.hosts.nodes import NodeRole, Nodes
from storage.tables.upgrade import head_revision

log = logging.getLogger("supervisor")
_PLACE_CHARACTERS = 12
_SHOWN_SHA256 = 12


def place_of(config: Config) -> str:
    """Return the begin of the keys of this host's roles with this `data_dir`."""
    place = hashlib.sha256(str(config.data_dir.resolve()).encode()).hexdigest()
    return f"{socket.gethostname()}:{place[:_PLACE_CHARACTERS]}:"


class Presence:
    """Renews the rows of the roles of this host. An error is logged once, until it has passed."""

    def __init__(
        self, config: Config, nodes: Nodes, monotonic: Callable[[], float] = time.monotonic
    ) -> None:
        self._config = config
        self._nodes = nodes
        self._now = monotonic
        # Found once: a look at files fails while this process is at its limit of open files.
        self._place = place_of(config)
        self._version, self._schema = own_version(), head_revision()
        self._digest = as_text(section_digests(config))
        self._supervisor = self._model = ""
        self._shown: list[NodeRole] = []
        self._due = -math.inf
        self._failed = False

    def begin(self, supervisor: str) -> None:
        """Take this name of the supervisor; forget roles of dead supervisors, and old ones."""
        self._supervisor = supervisor
        living = living_supervisors(self._config) | {supervisor}
        try:
            self._nodes.forget()
            here = [
                one.node.name for one in self._nodes.list() if one.node.name.startswith(self._place)
            ]
            dead = [name for name in here if name.rpartition(":")[2] not in living]
            if dead:
                self._nodes.remove(dead)
        except StorageError as error:
            self._tell(error)

    def renew(self, roles: Sequence[RoleStatus]) -> None:
        """Write the rows if a state has changed or it is time."""
        if self._now() >= self._due:
            self._model = _model_here(self._config)
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
            name=f"{self._place}{status.role}:{self._supervisor}",
            host=socket.gethostname(),
            role=status.role,
            version=self._version,
            schema=self._schema,
            config_digest=self._digest,
            state=status.state,
            detail=status.reason or (self._model if status.role is RoleName.ANALYST else ""),
        )

    def _tell(self, error: StorageError) -> None:
        if not self._failed:
            log.error("the other hosts do not see the roles of this host: %s", error)
        self._failed = True


def _model_here(config: Config) -> str:
    """Return the model that the analyst of this host loaded last, in words; empty without one."""
    here = [model for model in models_in_use(config) if model.host == socket.gethostname()]
    if not here:
        return ""
    model = here[0]
    return f"{model.name} {model.version}, sha256 {model.sha256[:_SHOWN_SHA256]}…, {model.engine}"
