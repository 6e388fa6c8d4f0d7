"""Receiving: storescu sends the same films to cxrd, to dcmtk's storescp and to Orthanc.

Each run has a fresh program on an empty folder, a small warm-up that is not counted, new UIDs, and
a disk without dirty pages. cxrd and Orthanc sync every file before they answer; storescp syncs
none, so the time to write its dirty pages afterwards is shown too.
"""

import os
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from dataclasses import replace
from functools import partial
from pathlib import Path

from tests.benchmarks.films import SIDE_10_MB, SIDE_HALF_MB, Films, write_films
from tests.benchmarks.results import Measure, Part, Ratio, at_least
from tests.benchmarks.setting import PeerMissingError, Setting
from tests.benchmarks.sides.programs import (
    LARGEST_PDU,
    emptied,
    listener,
    orthanc,
    sending_at_once,
    serve,
    storescp,
)
from tests.benchmarks.sides.senders import send, send_in_parallel
from tests.benchmarks.timing import alternate, seconds

Server = Callable[[Path], AbstractContextManager[int]]
WHOLE, ALONE = "cxrd serve", "cxrd's listener alone"
STORESCP, LARGE_PDU, FORKING = "storescp", "storescp, largest PDU", "storescp --fork, largest PDU"
ORTHANC = "Orthanc"
WARM_UP = 5
SENDERS = 8


def _storescp(*options: str) -> Server:
    return lambda folder: storescp(folder, *options)


_WIDE = ("-pdu", str(LARGEST_PDU))
SERVERS: dict[str, Server] = {
    WHOLE: serve,
    ALONE: listener,
    STORESCP: _storescp(),
    LARGE_PDU: _storescp(*_WIDE),
    FORKING: _storescp("--fork", *_WIDE),
    ORTHANC: orthanc,
}


def run(setting: Setting) -> Part:
    """Measure one association of large films, parallel associations, and many small files."""
    part = Part("receive", "Receiving")
    warm_up = write_films(setting.folder / "warm-up", WARM_UP, SIDE_HALF_MB, block=9)
    large = write_films(setting.folder / "large", setting.pick(100, 10), SIDE_10_MB, block=1)
    small = write_films(setting.folder / "small", setting.pick(1000, 60), SIDE_HALF_MB, block=2)
    groups = [large.paths[n::SENDERS] for n in range(SENDERS)]
    one, parallel, many = (
        _Case(setting.folder, films, warm_up, paths)
        for films, paths in ((large, [large.paths]), (large, groups), (small, [small.paths]))
    )
    count, size = len(large.paths), large.megabytes / len(large.paths)
    goals = [
        Ratio(STORESCP, WHOLE, "times as fast as storescp", at_least(1.5)),
        Ratio(LARGE_PDU, WHOLE, "times as fast as storescp with its largest PDU"),
        Ratio(ORTHANC, WHOLE, "times as fast as Orthanc", at_least(2)),
        Ratio(STORESCP, ALONE, "listener alone, times as fast as storescp"),
        Ratio(ORTHANC, ALONE, "listener alone, times as fast as Orthanc"),
    ]
    _measure(part, f"{count} DX of {size:.0f} MB in one association", one, setting, goals)
    _measure(
        part, f"{count} DX in one association, without Nagle", one, setting, _unwanted(goals), True
    )
    _measure(
        part,
        f"{count} DX from {SENDERS} senders at once",
        parallel,
        setting,
        [
            Ratio(ORTHANC, WHOLE, "times as fast as Orthanc", at_least(1.5)),
            Ratio(ORTHANC, ALONE, "listener alone, times as fast as Orthanc"),
            Ratio(FORKING, WHOLE, "times as fast as storescp with a process per sender"),
        ],
    )
    goals = [
        Ratio(ORTHANC, WHOLE, "times as fast as Orthanc", at_least(1)),
        Ratio(ORTHANC, ALONE, "listener alone, times as fast as Orthanc"),
        Ratio(STORESCP, WHOLE, "times as fast as storescp, which syncs nothing"),
    ]
    title = f"{len(small.paths)} DX of 0.5 MB in one association"
    _measure(part, title, many, setting, goals)
    _measure(part, f"{title}, without Nagle", many, setting, _unwanted(goals), True)
    return part


def _unwanted(ratios: Sequence[Ratio]) -> list[Ratio]:
    """Return the ratios without their goals."""
    return [replace(ratio, goal=None) for ratio in ratios]


def _measure(
    part: Part,
    title: str,
    case: "_Case",
    setting: Setting,
    ratios: list[Ratio],
    at_once: bool = False,
) -> None:
    """Add the seconds of every side that a ratio names, and of the sync afterwards."""
    names = dict.fromkeys(name for ratio in ratios for name in (ratio.under, ratio.over))
    case.flushes = {}
    with sending_at_once(at_once):
        values = alternate(
            setting.pick(5, 1), {name: partial(case.run, name, part) for name in names}
        )
    kept = {name: series for name, series in values.items() if series[0] > 0}
    flushes = {name: case.flushes[name] for name in kept}
    part.measures += [
        Measure(title, "s", kept, ratios),
        Measure(f"{title}: sync afterwards", "s", flushes),
    ]


class _Case:
    """One load: the films, and the groups of them that are sent at the same time."""

    def __init__(
        self, folder: Path, films: Films, warm_up: Films, groups: Sequence[Sequence[Path]]
    ) -> None:
        self._folder = folder / "run"
        self._films = films
        self._warm_up = warm_up
        self._groups = groups
        self.flushes: dict[str, list[float]] = {}

    def run(self, name: str, part: Part) -> float:
        """Return the seconds until every sender has ended; 0 if the program is not installed."""
        try:
            with SERVERS[name](self._folder) as port:
                self._warm_up.renew()
                send(self._warm_up.paths, port)
                self._films.renew()
                os.sync()
                taken = seconds(lambda: send_in_parallel(self._groups, port))
                self.flushes.setdefault(name, []).append(seconds(os.sync))
        except PeerMissingError as error:
            if str(error) not in part.notes:
                part.notes.append(str(error))
            return 0.0
        finally:
            emptied(self._folder)
        return taken
