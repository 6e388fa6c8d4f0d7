"""Health checks for /healthz, /readyz, the page and the metrics.

The parts of this host: store, spool, and the roles that its supervisors run, with their ports and
certificates. The destinations are those of the configuration.
"""

import math
import os
import socket
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from enum import StrEnum
from pathlib import Path

from daemon.config.settings import Config
from daemon.config.tls import (
    OWN_SECTIONS,
    is_short_lived,
    own_certificate,
    own_credentials,
    remaining,
)
from daemon.hosts.agreement import section_digests
from daemon.hosts.survey import NO_HOSTS, Survey, survey
from daemon.worker.board import RoleState, RoleStatus, board_folder, roles_here
from daemon.worker.listening import Address, addresses_of, is_taken
from daemon.worker.logs.redaction import redact
from daemon.worker.role import RoleName
from dicom_io.errors import CertificateError
from dicom_io.peer.tls import Certificate
from storage.errors import StorageError
from storage.files.durable import storage_error
from storage.files.places import open_spool
from storage.files.spool import Spool
from storage.records import JobKind
from storage.store import Store

KEEP_SECONDS = 1.0
CERTIFICATE_SECONDS = 30.0
"""Time for which an examined certificate file is not read again."""

_SHOWN_BY = {"tls": RoleName.LISTENER, "web": RoleName.WEB}
"""The role that shows the certificate of a section to its callers."""


class Part(StrEnum):
    """The kinds of part that are checked."""

    STORE = "store"
    SPOOL = "spool"
    ROLE = "role"
    PORT = "port"
    CERTIFICATE = "certificate"
    DESTINATION = "destination"


class Level(StrEnum):
    """The result of a check, best first. A part that is `starting` or `stopping` has not failed."""

    OK = "ok"
    STARTING = "starting"
    STOPPING = "stopping"
    DEGRADED = "degraded"
    FAILING = "failing"


@dataclass(frozen=True, slots=True)
class Check:
    """The result of one check. `subject` is empty for the store and the spool."""

    part: Part
    subject: str
    level: Level
    detail: str = ""

    @property
    def name(self) -> str:
        """The part and its subject: `store`, `role listener`, `port 127.0.0.1:11112`."""
        return f"{self.part} {self.subject}".rstrip()


@dataclass(frozen=True, slots=True)
class HealthReport:
    """All checks, with the values behind them. `free_bytes` is None without a readable spool."""

    checks: tuple[Check, ...]
    roles: tuple[RoleStatus, ...]
    certificates: Mapping[str, Certificate]
    free_bytes: int | None
    hosts: Survey = NO_HOSTS
    """All hosts of the store. They change no level: a check is about this host."""

    @property
    def level(self) -> Level:
        """FAILING or DEGRADED if a check is, else OK."""
        levels = {check.level for check in self.checks}
        return next((one for one in (Level.FAILING, Level.DEGRADED) if one in levels), Level.OK)

    @property
    def is_ready(self) -> bool:
        """True if each role of this host is up and its ports are listened on."""
        serving = self.of(Part.ROLE, Part.PORT)
        return all(check.level is Level.OK for check in serving)

    @property
    def is_stopping(self) -> bool:
        """True if a role of this host was told to stop."""
        return any(check.level is Level.STOPPING for check in self.of(Part.ROLE))

    def at(self, level: Level) -> tuple[Check, ...]:
        """Return the checks with this result."""
        return tuple(check for check in self.checks if check.level == level)

    def of(self, *parts: Part) -> tuple[Check, ...]:
        """Return the checks of these parts."""
        return tuple(check for check in self.checks if check.part in parts)


class Health:
    """Runs the checks at most once in KEEP_SECONDS; thread-safe.

    A check writes a file, and /healthz needs no token.
    """

    def __init__(
        self,
        config: Config,
        store: Store,
        spool: Spool,
        clock: Callable[[], datetime],
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self._config = config
        self._store = store
        self._spool = spool
        self._certificates = OwnCertificates(config, monotonic)
        self._digests = section_digests(config)
        self._date = clock
        self._now = monotonic
        self._lock = threading.Lock()
        self._report: HealthReport | None = None
        self._until = -math.inf

    def report(self) -> HealthReport:
        """Return the results, which may be up to KEEP_SECONDS old."""
        with self._lock:
            if self._report is None or self._now() >= self._until:
                self._report = self._made()
                self._until = self._now() + KEEP_SECONDS
            return self._report

    def _made(self) -> HealthReport:
        roles = roles_here(self._config)
        free_bytes, spool = _check_spool(self._spool)
        return HealthReport(
            checks=(
                _check_store(self._store),
                spool,
                *_check_roles(self._config, roles),
                *_check_ports(self._config, roles),
                *self._certificates.checks(roles, self._date()),
                *_check_destinations(self._config, self._store),
            ),
            roles=roles,
            certificates=self._certificates.found,
            free_bytes=free_bytes,
            hosts=_look_at_hosts(self._config, self._digests, self._store),
        )


def report_once(config: Config, store: Store | StorageError, now: datetime) -> HealthReport:
    """Return the results for a command. No file is written.

    `store` is the error if the store cannot be opened.
    """
    roles = roles_here(config)
    certificates = OwnCertificates(config, time.monotonic)
    free_bytes, spool = _look_at_spool(config)
    hosts = NO_HOSTS
    if isinstance(store, Store):
        of_store, destinations = _check_store(store), tuple(_check_destinations(config, store))
        hosts = _look_at_hosts(config, section_digests(config), store)
    else:
        of_store, destinations = Check(Part.STORE, "", Level.FAILING, str(store)), ()
    # A host without a role may look at a node that works on other hosts.
    is_elsewhere = not roles and any(role.works for host in hosts.others for role in host.roles)
    return HealthReport(
        checks=(
            of_store,
            spool,
            *(() if is_elsewhere else _check_roles(config, roles)),
            *_check_ports(config, roles),
            *certificates.checks(roles, now),
            *destinations,
        ),
        roles=roles,
        certificates=certificates.found,
        free_bytes=free_bytes,
        hosts=hosts,
    )


def _look_at_hosts(config: Config, digests: Mapping[str, str], store: Store) -> Survey:
    try:
        return survey(config, digests, store)
    except StorageError:
        return NO_HOSTS  # The check of the store says so.


def _check_store(store: Store) -> Check:
    try:
        store.jobs.next_due((JobKind.ANALYSE,))
    except StorageError as error:
        return Check(Part.STORE, "", Level.FAILING, str(error))
    return Check(Part.STORE, "", Level.OK)


def _check_spool(spool: Spool) -> tuple[int | None, Check]:
    """Write a file. Return the free bytes, too."""
    free_bytes = None
    try:
        free_bytes = spool.free_bytes()
        spool.probe()
    except StorageError as error:
        return free_bytes, Check(Part.SPOOL, "", Level.FAILING, str(error))
    return free_bytes, Check(Part.SPOOL, "", Level.OK)


def _look_at_spool(config: Config) -> tuple[int | None, Check]:
    """Return the free bytes and the result of a check that reads only."""
    problem, free_bytes = "", None
    try:
        spool = open_spool(config.spool_place, config.spool.min_free_mb * 2**20)
        problem = spool.look()
        free_bytes = spool.free_bytes()
    except StorageError as error:
        problem = problem or str(error)
    return free_bytes, Check(Part.SPOOL, "", Level.FAILING if problem else Level.OK, problem)


def _check_roles(config: Config, roles: Sequence[RoleStatus]) -> Iterator[Check]:
    if not roles:
        folder = board_folder(config)
        detail = f"no supervisor of this host writes to {folder}: start `cxrd serve`"
        yield Check(Part.ROLE, "", Level.FAILING, _unreadable(folder) or detail)
    for status in roles:
        yield Check(Part.ROLE, status.role, _level_of(status), status.reason)


def _unreadable(folder: Path) -> str:
    """Return the reason that a folder cannot be read; empty if it can, or is missing."""
    try:
        os.scandir(folder).close()
    except FileNotFoundError:
        return ""
    except OSError as error:
        return str(storage_error(error, folder))
    return ""


def _level_of(status: RoleStatus) -> Level:
    if status.state is RoleState.UP:
        return Level.OK
    if status.state is RoleState.STARTING and not status.reason:
        return Level.STARTING
    if status.state is RoleState.STOPPING:
        return Level.STOPPING
    return Level.FAILING


def _check_ports(config: Config, roles: Sequence[RoleStatus]) -> Iterator[Check]:
    for status in roles:
        for address in addresses_of(config, status.role):
            level = _level_of(status)
            if level is not Level.OK:
                detail = "is stopping" if level is Level.STOPPING else "does not listen"
                yield Check(Part.PORT, str(address), level, f"the {status.role} {detail}")
            elif _is_listened_on(address):
                yield Check(Part.PORT, str(address), Level.OK)
            else:
                detail = f"the {status.role} is up and does not listen: the log says why"
                yield Check(Part.PORT, str(address), Level.FAILING, detail)


def _is_listened_on(address: Address) -> bool:
    try:
        return is_taken(replace(address, shared=False))
    except (PermissionError, socket.gaierror):
        return True  # The role works, and this process cannot look at its port.
    except OSError:
        return False


class OwnCertificates:
    """This node's certificates, read again every CERTIFICATE_SECONDS.

    An operator may replace a file; the roles show the certificate that they read at their start.
    """

    def __init__(self, config: Config, monotonic: Callable[[], float]) -> None:
        self._config = config
        self._now = monotonic
        self._until = -math.inf
        self._problems: dict[str, str] = {}
        self.found: dict[str, Certificate] = {}
        """The certificates by the section that names them."""
        self._read()
        self._first = self.found

    def checks(self, roles: Sequence[RoleStatus], now: datetime) -> Iterator[Check]:
        """Yield a check for each certificate; without a valid one its role fails its callers."""
        if self._now() >= self._until:
            self._read()
        starts = {status.role: status.since for status in roles}
        for section in OWN_SECTIONS:
            is_shown = section == "web" or (
                section == "tls" and self._config.listener.tls and RoleName.LISTENER in starts
            )
            worst = Level.FAILING if is_shown else Level.DEGRADED
            if section in self._problems:
                yield Check(Part.CERTIFICATE, section, Level.DEGRADED, self._problems[section])
            elif section in self.found:
                certificate = self.found[section]
                level, detail = Level.OK, ""
                if is_short_lived(certificate, now):
                    is_over = certificate.date_problem(now) is not None
                    level = worst if is_over else Level.DEGRADED
                    detail = remaining(certificate, now)
                elif self._is_replaced(section, starts):
                    level = Level.DEGRADED
                    detail = "the file was replaced: restart `cxrd serve` to show the new one"
                yield Check(Part.CERTIFICATE, section, level, detail)

    def _is_replaced(self, section: str, starts: Mapping[RoleName, datetime]) -> bool:
        """Return True if the role that shows it started before its file was replaced."""
        credentials = own_credentials(self._config, section)
        started = starts.get(_SHOWN_BY[section]) if section in _SHOWN_BY else None
        first = self._first.get(section)
        if credentials is None or started is None or first is None:
            return False
        is_other = first.sha256 != self.found[section].sha256
        return is_other and _changed_at(credentials.certificate) > started.timestamp()

    def _read(self) -> None:
        self._until = self._now() + CERTIFICATE_SECONDS
        found, problems = {}, {}
        for section in OWN_SECTIONS:
            try:
                certificate = own_certificate(self._config, section)
            except CertificateError as error:
                problems[section] = str(error)
            else:
                if certificate is not None:
                    found[section] = certificate
        self.found, self._problems = found, problems


def _changed_at(path: Path) -> float:
    try:
        return path.stat().st_ctime
    except OSError:
        return 0.0


def _check_destinations(config: Config, store: Store) -> Iterator[Check]:
    """Yield a check for each destination: one fails while unfinished work has an error."""
    names = [peer.name for peer in config.receivers]
    try:
        errors = store.status.lane_errors(names)
    except StorageError:
        return  # The check of the store says so.
    for name in names:
        if name in errors:
            yield Check(Part.DESTINATION, name, Level.DEGRADED, redact(errors[name].error))
        else:
            yield Check(Part.DESTINATION, name, Level.OK)
