"""Refuses work on a store that no daemon may use meanwhile."""

import socket

from daemon.config.settings import Config
from daemon.errors import RoleFailedError
from daemon.hosts.presence import place_of
from daemon.worker.board import RoleState, roles_here
from storage.transfer.workers import held_until, roles_at_work


def require_stopped(config: Config) -> None:
    """Raise RoleFailedError while a role of this or another host works on the store.

    A role of this host that was killed does not count, and neither does its lease on a job. Raises
    StorageError for a store that cannot be read.
    """
    here = roles_here(config)
    running = [status.role for status in here if status.state is not RoleState.DOWN]
    if running:
        raise RoleFailedError(
            f"cxrd runs here with the data_dir {config.data_dir} ({', '.join(running)}): stop it"
            " first"
        )
    place = place_of(config)
    others = [
        role
        for role in roles_at_work(config.resolved_database_url)
        if not role.node.name.startswith(place)
    ]
    if others:
        shown = ", ".join(
            f"{role.node.role} on {role.node.host}, seen {role.age.total_seconds():.0f} s ago"
            for role in others
        )
        raise RoleFailedError(
            f"cxrd runs on this store ({shown}): stop it on every host first; a killed one is"
            " forgotten after a minute"
        )
    _require_free(config)


def _require_free(config: Config) -> None:
    """Raise RoleFailedError if a worker of another host holds a job."""
    here = f"{socket.gethostname()}:"
    for worker, until in held_until(config.resolved_database_url).items():
        if not worker.startswith(here):
            raise RoleFailedError(
                f"the worker {worker} holds a job until {until:%H:%M:%S} UTC: stop cxrd on that"
                " host, or wait until then"
            )
