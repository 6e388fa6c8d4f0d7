"""Roles that are forked from a process with all imports done, instead of started anew."""

import contextlib
import multiprocessing
from collections.abc import Iterator
from multiprocessing import forkserver
from typing import Any

ROLES = ["daemon.analyst", "daemon.courier", "daemon.listener", "daemon.web.server"]


@contextlib.contextmanager
def forked_roles() -> Iterator[None]:
    """Fork the roles that the supervisor of this process starts in the block.

    A start then takes a tenth of a second, and the start of a daemon half of its work.
    """
    from daemon.supervise import child

    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(ROLES)
    child.SPAWN = context  # type: ignore[assignment]
    try:
        yield
    finally:
        # It ends when the last role has, and its work then counts as work of this process.
        server: Any = forkserver._forkserver
        server._stop()
