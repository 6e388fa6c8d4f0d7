"""Starting: the help of the command, the listener's first association, and all roles at work.

Modules are compiled by a first start that is not counted, as they are on a user's machine.
"""

import contextlib
import socket
import statistics
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from contextlib import AbstractContextManager
from functools import partial

from pynetdicom import AE

from tests.benchmarks.results import Fact, Measure, Part, at_most
from tests.benchmarks.setting import PeerMissingError, Setting
from tests.benchmarks.sides.programs import Serve, emptied, orthanc, storescp
from tests.benchmarks.timing import in_turn, seconds
from tests.tools.cli import environment
from tests.tools.ports import HOST
from tests.tools.waiting import wait_until

HELP, PYTHON = "cxrd --help", "python -c pass"
NODE, STORESCP, ORTHANC = "cxrd serve", "storescp", "Orthanc"
VERIFICATION = "1.2.840.10008.1.1"


def run(setting: Setting) -> Part:
    """Measure the help and the starts of the daemon beside those of other programs."""
    part = Part("start", "Starting")
    helping = in_turn(
        setting.pick(15, 3),
        **{
            HELP: partial(_command_seconds, [sys.executable, "-m", "daemon", "--help"]),
            PYTHON: partial(_command_seconds, [sys.executable, "-c", "pass"]),
        },
    )
    starts = _Starts(setting)
    accepting = in_turn(setting.pick(9, 2), **starts.sides(part))
    ready = starts.ready[1:]
    part.measures += [
        Measure("a command that only prints", "s", helping),
        Measure("start of a node with an empty store, to its first association", "s", accepting),
        Measure("start of cxrd, to all roles ready", "s", {NODE: ready}),
    ]
    part.facts += [
        Fact(HELP, statistics.median(helping[HELP]), "s", at_most(0.25)),
        Fact(
            "cxrd serve, to its first association",
            statistics.median(accepting[NODE]),
            "s",
            at_most(1.5),
        ),
        Fact("cxrd serve, to all roles ready", statistics.median(ready), "s", at_most(4)),
    ]
    return part


def _command_seconds(command: list[str]) -> float:
    action = partial(
        subprocess.run, command, env=environment(), capture_output=True, check=True, cwd="/"
    )
    return seconds(action)


class _Starts:
    """Starts of cxrd and of its peers, each in an empty folder."""

    def __init__(self, setting: Setting) -> None:
        self._folder = setting.folder / "run"
        self.ready: list[float] = []

    def sides(self, part: Part) -> dict[str, Callable[[], float]]:
        """Return the sides whose programs are installed; the others are noted."""
        sides = {NODE: self._cxrd}
        peers: dict[str, Callable[[], AbstractContextManager[int]]] = {
            STORESCP: lambda: storescp(self._folder),
            ORTHANC: lambda: orthanc(self._folder),
        }
        for name, peer in peers.items():
            try:
                self._peer(peer)
            except PeerMissingError as error:
                part.notes.append(str(error))
            else:
                sides[name] = partial(self._peer, peer)
        return sides

    def _peer(self, peer: Callable[[], AbstractContextManager[int]]) -> float:
        try:
            started = time.perf_counter()
            with peer():
                return time.perf_counter() - started
        finally:
            emptied(self._folder)

    def _cxrd(self) -> float:
        """Return the seconds to the first association; keep those until all roles are ready."""
        daemon = Serve(self._folder)
        accepted: list[float] = []
        started = time.perf_counter()

        def associate() -> None:
            _wait_for_association(daemon.port)
            accepted.append(time.perf_counter() - started)

        caller = threading.Thread(target=associate)
        caller.start()
        try:
            with daemon:
                self.ready.append(time.perf_counter() - started)
                caller.join()
        finally:
            emptied(self._folder)
        return accepted[0]


def _wait_for_association(port: int) -> None:
    """Return when a node on this port accepts an association."""
    wait_until(partial(_connects, port), "the listener takes connections")
    ae = AE(ae_title="STORESCU")
    ae.add_requested_context(VERIFICATION)
    while not (association := ae.associate(HOST, port)).is_established:
        time.sleep(0.01)
    association.release()


def _connects(port: int) -> bool:
    with contextlib.suppress(OSError), socket.create_connection((HOST, port), 1):
        return True
    return False
