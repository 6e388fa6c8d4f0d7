"""Checks of the other hosts of the store, by what they told it."""

from collections.abc import Collection, Iterator

from daemon.config.files.permissions import sqlite_file
from daemon.config.settings import Config
from daemon.hosts.agreement import section_digests
from daemon.hosts.at_start import clock_fault
from daemon.hosts.survey import SILENT, Host, Survey, survey
from daemon.preflight.result import CheckResult
from daemon.worker.board import RoleState
from daemon.worker.role import RoleName
from storage.errors import StorageError
from storage.store import Store


def check_hosts(config: Config, to_start: Collection[RoleName] = ()) -> Iterator[CheckResult]:
    """Yield a line for each other host, and one for each needed role that works on no host.

    Such a role is no fault if it is among those `to_start` on this host.
    """
    path = sqlite_file(config)
    if path is not None and not path.exists():
        return
    try:
        with Store.open(config.resolved_database_url, migrate=False) as store:
            found = survey(config, section_digests(config), store)
            fault = clock_fault(store)
    except StorageError:
        return  # The check of the store says so.
    if fault:
        yield CheckResult("clock", True, fault, warning=True)
    yield from results(found, to_start)


def results(found: Survey, to_start: Collection[RoleName] = ()) -> Iterator[CheckResult]:
    """Yield the lines of a survey."""
    for host in found.others:
        yield _check_host(host)
    for role in found.missing:
        detail = f"no {role} works on any host: start `cxrd serve` with the role on one"
        yield CheckResult("hosts", role in to_start, detail, warning=True)
    if len(found.versions) > 1:
        versions = ", ".join(found.versions)
        detail = f"they have different versions ({versions}): complete the upgrade of all hosts"
        yield CheckResult("hosts", True, detail, warning=True)


def _check_host(host: Host) -> CheckResult:
    roles = ", ".join(f"{role.role} {role.state}" for role in host.roles)
    detail = f"{roles}, version {', '.join(host.versions)}"
    name = f"host {host.name}"
    if host.in_state(SILENT):
        seen = f"{host.seen_at:%Y-%m-%d %H:%M:%S} UTC"
        detail += f", last seen at {seen}: start `cxrd serve` there, if it is not gone for good"
        return CheckResult(name, True, detail, warning=True)
    if down := host.in_state(RoleState.DOWN):
        return CheckResult(name, True, f"{detail}, a role is down: {down[0].detail}", warning=True)
    if host.differs:
        detail += f", other settings than here in {', '.join(host.differs)}: give both the same"
        return CheckResult(name, True, detail, warning=True)
    return CheckResult(name, True, f"{detail}, the same settings as here")
