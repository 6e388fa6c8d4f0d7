"""The states of this host's roles, which each supervisor writes to `data_dir/run`.

    run/HOST-NUMBER.json   the states, replaced at each change and every BEAT_SECONDS
    run/HOST-NUMBER.lock   locked while the supervisor lives
    run/model-HOST         the model that the analyst of a host loaded last

The lock ends with its process, so that the states of a killed supervisor are known to be old. Where
the file system has no locks, only the age of the states shows it. Other hosts that share `data_dir`
write files of their own.
"""

import contextlib
import json
import logging
import math
import os
import socket
import time
import uuid
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from datetime import datetime
from enum import StrEnum
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from daemon.config.settings import Config
from daemon.worker.role import RoleName
from storage.files.durable import make_folder
from storage.files.lock import hold_lock, is_locked

log = logging.getLogger("supervisor")

BEAT_SECONDS = 5.0
STALE_SECONDS = 60.0
"""Age at which the states of a living supervisor are too old: it may be suspended."""
_LOCK_SECONDS = 5.0
_MODEL_PREFIX = "model-"
_LARGEST_MODEL = 64 * 1024
_FORGOTTEN_SECONDS = 86_400.0
"""Age at which the files of a killed supervisor of another host are removed."""


class RoleState(StrEnum):
    """The state of a role's process."""

    STARTING = "starting"
    UP = "up"
    STOPPING = "stopping"
    """The role was told to stop. It may still work, or have ended."""
    DOWN = "down"


@dataclass(frozen=True, slots=True)
class RoleStatus:
    """A role of this host: its state since a moment, restarts, and the addresses of its ports.

    `reason` is the end of the last process, empty once a later process works.
    """

    role: RoleName
    state: RoleState
    since: datetime
    restarts: int = 0
    reason: str = ""
    addresses: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class _Report:
    """The file of one supervisor."""

    path: Path
    host: str
    process: int
    beat: float
    roles: tuple[RoleStatus, ...]

    @property
    def is_alive(self) -> bool:
        try:
            return is_locked(_lock_of(self.path))
        except OSError:
            return not self.is_stale

    @property
    def age(self) -> float:
        return time.monotonic() - self.beat

    @property
    def is_stale(self) -> bool:
        # A report from before the machine's last start may have a beat in the future.
        return not 0 <= self.age <= STALE_SECONDS


def board_folder(config: Config) -> Path:
    """Return the folder of the states."""
    return config.data_dir / "run"


class Board:
    """Publishes the states of one supervisor's roles until the block ends."""

    def __init__(self, folder: Path, monotonic: Callable[[], float] = time.monotonic) -> None:
        self._folder = folder
        self._path = folder / f"{socket.gethostname()}-{uuid.uuid4().hex[:12]}.json"
        self._now = monotonic
        self._shown: tuple[RoleStatus, ...] = ()
        self._beat_at = -math.inf
        self._failed = False
        self._lock = contextlib.ExitStack()

    @property
    def supervisor(self) -> str:
        """The name of this supervisor among those that use the folder."""
        return self._path.stem

    def __enter__(self) -> Self:
        make_folder(self._folder)
        try:
            self._lock.enter_context(hold_lock(_lock_of(self._path), _LOCK_SECONDS))
        except OSError as error:
            log.warning("%s has no locks (%s)", self._folder, error.strerror)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        _remove(self._path)
        self._lock.close()

    def publish(self, roles: Sequence[RoleStatus]) -> None:
        """Write the states if they have changed or BEAT_SECONDS have passed.

        A disk that cannot take them is logged once; the old states then grow stale.
        """
        shown = tuple(roles)
        if shown == self._shown and self._now() < self._beat_at + BEAT_SECONDS:
            return
        if shown != self._shown:
            _remove_superseded(self._folder, {status.role for status in shown}, self._path)
        self._shown, self._beat_at = shown, self._now()
        content = {
            "host": socket.gethostname(),
            "process": os.getpid(),
            "beat": self._beat_at,
            "roles": [asdict(status) for status in shown],
        }
        part = self._path.with_suffix(".part")
        try:
            part.write_text(json.dumps(content, default=str), encoding="utf-8")
            part.replace(self._path)
        except OSError as error:
            if not self._failed:
                log.error("%s: the states of the roles cannot be written: %s", part, error.strerror)
            self._failed = True
        else:
            self._failed = False


def roles_here(config: Config) -> tuple[RoleStatus, ...]:
    """Return the status of each role that a supervisor of this host runs, in the order of start.

    A role of a supervisor that was killed, or that has been silent for STALE_SECONDS, is down. It
    is left out if a living supervisor runs the same role.
    """
    living: list[RoleStatus] = []
    dead: list[RoleStatus] = []
    for report in _reports(board_folder(config)):
        if report.host != socket.gethostname():
            continue
        if not report.is_alive:
            if not report.path.exists():
                continue  # its supervisor has just ended by itself
            reason = f"its supervisor (process {report.process}) was killed: start `cxrd serve`"
            dead += [replace(role, state=RoleState.DOWN, reason=reason) for role in report.roles]
        elif report.is_stale:
            reason = (
                f"its supervisor (process {report.process}) has been silent for"
                f" {report.age:.0f} s: is it suspended, or its disk full?"
            )
            living += [replace(role, state=RoleState.DOWN, reason=reason) for role in report.roles]
        else:
            living += report.roles
    supervised = {status.role for status in living}
    return one_each([*living, *(status for status in dead if status.role not in supervised)])


def living_supervisors(config: Config) -> frozenset[str]:
    """Return the names of the supervisors of this host that live."""
    return frozenset(
        report.path.stem
        for report in _reports(board_folder(config))
        if report.host == socket.gethostname() and report.is_alive
    )


def addresses_in_use(config: Config) -> frozenset[str]:
    """Return the addresses of the roles of this host that work, or start without a failure."""
    return frozenset(
        address
        for status in roles_here(config)
        if status.state is not RoleState.DOWN and not status.reason
        for address in status.addresses
    )


def one_each(found: Sequence[RoleStatus]) -> tuple[RoleStatus, ...]:
    """Return a status for each role: the worst, if several processes run the role."""
    worst = (RoleState.DOWN, RoleState.STARTING, RoleState.STOPPING, RoleState.UP)
    merged = []
    for role in RoleName:
        same = sorted(
            (status for status in found if status.role is role),
            key=lambda status: worst.index(status.state),
        )
        if same:
            addresses = dict.fromkeys(place for status in same for place in status.addresses)
            restarts = sum(status.restarts for status in same)
            merged.append(replace(same[0], restarts=restarts, addresses=tuple(addresses)))
    return tuple(merged)


def _reports(folder: Path) -> Iterable[_Report]:
    """Yield the readable files of the folder. A file that is replaced meanwhile is skipped."""
    for path in _found(folder, "*.json"):
        try:
            yield _parsed(path, json.loads(path.read_text(encoding="utf-8")))
        except (OSError, ValueError, LookupError, TypeError):
            continue


def _found(folder: Path, pattern: str) -> Sequence[Path]:
    """Return the files of a name; none if the folder cannot be read at present."""
    try:
        return sorted(folder.glob(pattern))
    except OSError:
        return ()


def _parsed(path: Path, content: Any) -> _Report:
    roles = tuple(
        RoleStatus(
            role=RoleName(entry["role"]),
            state=RoleState(entry["state"]),
            since=datetime.fromisoformat(entry["since"]),
            restarts=int(entry["restarts"]),
            reason=str(entry["reason"]),
            addresses=tuple(map(str, entry["addresses"])),
        )
        for entry in content["roles"]
    )
    process, beat = int(content["process"]), float(content["beat"])
    return _Report(path, str(content["host"]), process, beat, roles)


def _remove_superseded(folder: Path, roles: set[RoleName], own: Path) -> None:
    """Remove the files of killed supervisors whose roles this one runs, and of former hosts.

    A container has a new host name each time it is made.
    """
    for report in _reports(folder):
        if report.path == own or report.is_alive:
            continue
        if report.host == socket.gethostname():
            is_superseded = {status.role for status in report.roles} <= roles
        else:
            is_superseded = _file_age(report.path) > _FORGOTTEN_SECONDS
        if is_superseded:
            _remove(report.path)
    files = _found(folder, "*")
    supervised = {path.name.rpartition("-")[0] for path in files if path.suffix == ".json"}
    hosts = {socket.gethostname(), *supervised}
    for path in files:
        is_model = path.name.startswith(_MODEL_PREFIX) and path.suffix not in (".part", ".json")
        if is_model and path.name.removeprefix(_MODEL_PREFIX) not in hosts:
            with contextlib.suppress(OSError):
                path.unlink(missing_ok=True)


def _file_age(path: Path) -> float:
    """Return the seconds since a file was written; 0 if it has gone."""
    try:
        return time.time() - path.stat().st_mtime
    except OSError:
        return 0.0


def _remove(path: Path) -> None:
    for each in (path, path.with_suffix(".part"), _lock_of(path)):
        with contextlib.suppress(OSError):
            each.unlink(missing_ok=True)


def _lock_of(path: Path) -> Path:
    return path.with_suffix(".lock")


@dataclass(frozen=True, slots=True)
class ModelInUse:
    """The model of an analyst and its engine.

    `difference` is the largest difference of a logit for the reference film; None if the card
    records no outputs for it.
    """

    host: str
    name: str
    version: str
    sha256: str
    engine: str
    difference: float | None
    loaded_at: datetime


def publish_model(config: Config, model: ModelInUse) -> None:
    """Write the model of this host. A disk that cannot take it is logged."""
    path = board_folder(config) / f"{_MODEL_PREFIX}{socket.gethostname()}"
    # Each process of the analyst writes a file of its own first.
    part = path.with_name(f"{path.name}.{os.getpid()}.part")
    try:
        make_folder(path.parent)
        part.write_text(json.dumps(asdict(model), default=str), encoding="utf-8")
        part.replace(path)
    except OSError as error:
        log.error("%s: the model in use cannot be written: %s", part, error.strerror)


def models_in_use(config: Config) -> tuple[ModelInUse, ...]:
    """Return the model that the analyst of each host loaded last, in order of host."""
    return tuple(sorted(_models(config), key=lambda model: model.host))


def _models(config: Config) -> Iterator[ModelInUse]:
    for path in board_folder(config).glob(f"{_MODEL_PREFIX}*"):
        if path.suffix == ".part":
            continue
        try:
            with path.open(encoding="utf-8") as file:
                content = json.loads(file.read(_LARGEST_MODEL))
            moment = datetime.fromisoformat(content.pop("loaded_at"))
            yield ModelInUse(**content, loaded_at=moment)
        except (OSError, ValueError, TypeError, KeyError, AttributeError):
            continue  # a file that is being replaced, or of another version
