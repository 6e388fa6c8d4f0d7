"""`cxrd check`: finds faults of the setup before the first image is sent.

Each check gives one line, which names the remedy. A failed check does not stop the next. The checks
find what `cxrd serve` would refuse, and start nothing.
"""

from collections.abc import Callable, Collection, Iterator
from functools import partial

from daemon.config.settings import Config
from daemon.errors import ROOM_ERRORS
from daemon.preflight.all_hosts import check_hosts
from daemon.preflight.bucket import check_bucket
from daemon.preflight.host import (
    check_certificates,
    check_disk,
    check_listener,
    check_permissions,
    check_roles,
    check_stored,
    check_web,
)
from daemon.preflight.model import check_model
from daemon.preflight.peers import check_archive, check_destination, check_syslog, check_worklist
from daemon.preflight.result import CheckResult
from daemon.preflight.routes import check_routes
from daemon.worker.board import roles_here
from daemon.worker.listening import addresses_of
from daemon.worker.role import RoleName


def run_checks(config: Config, only: Collection[RoleName] | None = None) -> Iterator[CheckResult]:
    """Run all checks; the model's last, because it takes seconds and much memory.

    They are those of the roles `only`; else of the roles that a supervisor runs on this host; else
    of all roles.
    """
    yield from quick_checks(config, only)
    if RoleName.ANALYST in _roles(config, only):
        yield _guarded("model", lambda: check_model(config))


def quick_checks(config: Config, only: Collection[RoleName] | None = None) -> Iterator[CheckResult]:
    """Run the checks that do not load the network."""
    roles = _roles(config, only)
    yield _guarded("disk", lambda: check_disk(config))
    if config.spool_folder is None:
        yield _guarded("spool", lambda: check_bucket(config))
    yield _guarded("permissions", lambda: check_permissions(config))
    yield _guarded("store", lambda: check_stored(config))
    if any(section.credentials for section in (config.tls, config.web, config.syslog)):
        yield _guarded("certificates", lambda: check_certificates(config))
    if RoleName.LISTENER in roles:
        for address in addresses_of(config, RoleName.LISTENER):
            yield _guarded("listener", partial(check_listener, config, address))
    if RoleName.WEB in roles:
        for address in addresses_of(config, RoleName.WEB):
            yield _guarded("web", partial(check_web, config, address))
    yield from check_roles(config)
    yield from check_hosts(config, only or ())
    if RoleName.COURIER in roles and config.syslog.host is not None:
        yield _guarded("syslog", lambda: check_syslog(config.syslog))
    if config.syslog.shows_patients:
        yield CheckResult(
            "syslog",
            False,
            f"patient_ids is true, and {config.syslog.transport} sends them in clear:"
            " set transport to tls, or patient_ids to false",
        )
    yield from check_routes(config)
    if RoleName.COURIER in roles:
        for peer in config.receivers:
            yield _guarded(f"peer {peer.name}", partial(check_destination, config, peer))
        for peer in config.queried:
            yield _guarded(f"archive {peer.name}", partial(check_archive, config, peer))
        for worklist in config.worklists:
            yield _guarded(f"worklist {worklist.name}", partial(check_worklist, config, worklist))


def _roles(config: Config, only: Collection[RoleName] | None) -> Collection[RoleName]:
    return only or [status.role for status in roles_here(config)] or list(RoleName)


def _guarded(name: str, check: Callable[[], CheckResult]) -> CheckResult:
    try:
        return check()
    except ROOM_ERRORS as error:
        return CheckResult(name, False, str(error))
