"""Kills of the processes of several hosts, at points and at random, while films pass."""

import contextlib
import os
import random
import re
import signal
import threading
import time
from collections import Counter
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, Self

from tests.faults.points import AFTER, BEFORE, FOLDER, FORKS, ROOT, armed_file
from tests.faults.site import is_alive
from tests.hosts.scenario import Clinic, start_together, unfinished
from tests.hosts.site import HostDaemon, HostsSite
from tests.tools.waiting import wait_until

READY = "cxrd is ready"
ROUND_SECONDS = 10.0
SHARED = ("commit", "S3", "send")
"""Points at what the hosts share; `tests/faults` has those at the files of one host."""

Kill = tuple[str, str, str]
"""A host, a point, and BEFORE or AFTER."""


class FaultyHost(HostDaemon):
    """A daemon of a host that dies at armed points."""

    module = "tests.faults.serve"

    def __init__(self, *arguments: Any) -> None:
        super().__init__(*arguments)
        self.faults = self.config.parent / "faults"
        (self.faults / "armed").mkdir(parents=True)
        self.log_path.touch()
        self.variables = {
            FOLDER: str(self.faults),
            ROOT: str(self.data.resolve()),
            FORKS: "1",
        }

    def arm(self, point: str, when: str) -> None:
        armed = armed_file(self.faults, point, when)
        ready = armed.with_suffix(".new")
        ready.write_text(str(int(signal.SIGKILL)))
        ready.replace(armed)

    def disarm(self) -> None:
        for path in (self.faults / "armed").iterdir():
            path.unlink(missing_ok=True)

    def passed(self) -> set[str]:
        return {line.split("\t")[1] for line in _lines(self.faults / "passed")}

    def killed(self) -> list[Kill]:
        found = [line.split("\t") for line in _lines(self.faults / "killed")]
        return [(self.host.name, line[1], line[2]) for line in found]

    def start(self) -> None:
        self._starts = self.log.count(READY)
        super().start()

    def revive(self) -> None:
        """Start the daemon if its supervisor is dead, until it runs."""
        while not self.is_running:
            with contextlib.suppress(AssertionError):
                self.start()

    def processes(self) -> list[tuple[str, int]]:
        """Return the living roles of the daemon with their processes."""
        found = dict(re.findall(r"(\w+) started, process (\d+)", self.log))
        living = [(role, int(process)) for role, process in found.items()]
        return [(role, process) for role, process in living if is_alive(process)]

    @property
    def supervisor(self) -> int:
        assert self._process is not None
        return self._process.pid


class Reviver:
    """Starts daemons whose supervisor was killed, until the block ends."""

    def __init__(self, daemons: Sequence[FaultyHost]) -> None:
        self._over = threading.Event()
        self._threads = [threading.Thread(target=self._watch, args=(one,)) for one in daemons]

    def _watch(self, daemon: FaultyHost) -> None:
        while not self._over.wait(0.1):
            daemon.revive()

    def __enter__(self) -> Self:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *error: object) -> None:
        self._over.set()
        for thread in self._threads:
            thread.join()


def faulty_hosts(site: HostsSite, at_first_start: Iterable[str] = ()) -> list[FaultyHost]:
    """Start a listener, and two hosts with an analyst and a courier each.

    The listener's host, which starts first, dies before and after each of the points.
    """
    site.changes = {
        "courier": {"retry_seconds": 0.2, "retry_max_seconds": 1},
        "analyst": {
            "lease_seconds": 6,
            "max_attempts": 100,
            "retry_seconds": 0.2,
            "workers": 2,
        },
    }
    roles = {"front": "listener", "north": "analyst,courier", "south": "analyst,courier"}
    daemons: list[FaultyHost] = []
    for host, names in roles.items():
        daemon = site.daemon(host, names, FaultyHost)
        assert isinstance(daemon, FaultyHost)
        daemons.append(daemon)
    for point in at_first_start:
        for when in (BEFORE, AFTER):
            daemons[0].arm(point, when)
    daemons[0].revive()
    start_together(daemons[1:])
    return daemons


def rounds(daemons: Sequence[FaultyHost]) -> list[list[Kill]]:
    """Group kills at all passed points of what the hosts share, one of each role in a round."""
    groups: list[list[Kill]] = []
    for daemon in daemons:
        by_role: dict[str, list[Kill]] = {}
        for point in sorted(daemon.passed()):
            if not point.partition(": ")[2].startswith(SHARED):
                continue
            kills = [(daemon.host.name, point, when) for when in (BEFORE, AFTER)]
            by_role.setdefault(point.partition(":")[0], []).extend(kills)
        groups += by_role.values()
    longest = max(map(len, groups))
    return [[group[turn] for group in groups if turn < len(group)] for turn in range(longest)]


def die_at(daemons: Sequence[FaultyHost], clinic: Clinic, kills: Iterable[Kill]) -> None:
    """Send films until the hosts have died at each point, or did not pass it in time."""
    by_name = {daemon.host.name: daemon for daemon in daemons}
    wanted = Counter(kills)
    before = sum(len(daemon.killed()) for daemon in daemons)
    for host, point, when in wanted:
        by_name[host].arm(point, when)
    deadline = time.monotonic() + ROUND_SECONDS
    while time.monotonic() < deadline:
        clinic.send(2)
        clinic.join()
        if sum(len(daemon.killed()) for daemon in daemons) - before >= wanted.total():
            break
    for daemon in daemons:
        daemon.disarm()


def kill_at_random(
    daemons: Sequence[FaultyHost], clinic: Clinic, count: int, seed: int
) -> Counter[str]:
    """Kill processes of all hosts at random times while films are sent."""
    rng = random.Random(seed)
    done: Counter[str] = Counter()
    while done.total() < count:
        if not clinic.is_busy:
            clinic.send(4)
        time.sleep(rng.uniform(0.05, 0.6))
        daemon = rng.choice(daemons)
        victims = daemon.processes()
        if not victims:
            continue
        role, process = rng.choice(victims)
        if rng.random() < 0.03:
            role, process = "supervisor", daemon.supervisor
        with contextlib.suppress(ProcessLookupError):
            os.kill(process, signal.SIGKILL)
            done[f"{daemon.host.name} {role}"] += 1
    clinic.join()
    return done


def settle(site: HostsSite, clinic: Clinic, seconds: float) -> None:
    """Wait until every study is reported and no work is left."""
    studies = set(clinic.acknowledged.values())
    wait_until(lambda: studies <= set(site.archive.first), "all is reported", seconds)
    wait_until(lambda: unfinished(site) == 0, "nothing is left to do", seconds)


def _lines(path: Path) -> list[str]:
    return path.read_text().splitlines() if path.exists() else []
