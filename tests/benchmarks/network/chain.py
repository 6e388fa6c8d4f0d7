"""The whole chain: films in at one end, reports at a storescp at the other.

The peer is a chain of single programs on the same films and cores: storescp receives all films, a
script reads them and writes reports and heatmaps (`sides/plain_script.py`), storescu sends these to
a second storescp. Its script is started and has its model loaded before the time runs.
"""

import contextlib
import functools
import os
import statistics
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from pynetdicom import AE, evt

from tests.benchmarks.films import Films, write_films
from tests.benchmarks.results import Fact, Measure, Part, Ratio, at_most
from tests.benchmarks.setting import Setting
from tests.benchmarks.sides.programs import LARGEST_PDU, Serve, sending_at_once, storescp
from tests.benchmarks.sides.senders import send
from tests.benchmarks.sides.worker_process import WorkerProcess
from tests.benchmarks.timing import alternate, seconds
from tests.tools.ports import HOST, NODE, SENDER
from tests.tools.waiting import wait_until

QUIET_SECONDS = 1.0
PATIENCE = 900.0
WIDE = ("-pdu", str(LARGEST_PDU))
OURS, CHAIN = "cxrd", "single programs"
AT_ONCE = "single programs without Nagle"
TUNED = "single programs without Nagle, a script per core"


@dataclass(frozen=True, slots=True)
class Spans:
    """Seconds from the first byte to the last report and to the last object at the destination."""

    report: float
    everything: float


def run(setting: Setting) -> Part:
    """Measure many studies at once, then studies that come alone to an idle node."""
    part = Part("chain", "From the first byte to the last report")
    films = write_films(setting.folder / "films", setting.pick(60, 6), block=1)
    single = write_films(setting.folder / "single", 1, block=2)
    warm_up = write_films(setting.folder / "warm-up", 4, block=3)
    cores = len(os.sched_getaffinity(0))
    with (
        _Cxrd(setting.folder / "cxrd") as cxrd,
        _Programs(setting.folder / "chain", 1, cores) as chain,
        _Programs(setting.folder / "at-once", 1, cores, at_once=True) as at_once,
        _Programs(setting.folder / "tuned", cores, 1, at_once=True) as tuned,
    ):
        sides: dict[str, _Cxrd | _Programs] = {OURS: cxrd, CHAIN: chain, TUNED: tuned}
        for side in (*sides.values(), at_once):
            side.send(warm_up)
        _measure_many(part, setting, films, sides)
        _measure_one(part, setting, single, cxrd, {CHAIN: chain, AT_ONCE: at_once})
        part.facts.append(
            Fact("heatmaps of a study", cxrd.heatmaps / max(1, cxrd.reports), "pictures")
        )
    part.notes.append(f"quiet_seconds, {QUIET_SECONDS:g} s, is subtracted once from cxrd's times")
    return part


def _measure_many(
    part: Part, setting: Setting, films: Films, sides: "dict[str, _Cxrd | _Programs]"
) -> None:
    spans: dict[str, list[Spans]] = {name: [] for name in sides}

    def once(name: str) -> float:
        spans[name].append(sides[name].send(films))
        return spans[name][-1].report

    values = alternate(setting.pick(3, 1), {name: functools.partial(once, name) for name in sides})
    count, size = len(films.paths), films.megabytes / len(films.paths)
    title = f"{count} studies of one DX of {size:.0f} MB, to the last"
    part.measures += [
        Measure(
            f"{title} report",
            "s",
            values,
            [
                Ratio(OURS, CHAIN, "of the time of the single programs", at_most(1.5)),
                Ratio(OURS, TUNED, "of their time without Nagle and with a script per core"),
            ],
        ),
        Measure(
            f"{title} object",
            "s",
            {name: [one.everything for one in series] for name, series in spans.items()},
            [
                Ratio(OURS, CHAIN, "of the time of the single programs"),
                Ratio(OURS, TUNED, "of their time without Nagle and with a script per core"),
            ],
        ),
    ]


def _measure_one(
    part: Part, setting: Setting, film: Films, cxrd: "_Cxrd", chains: "dict[str, _Programs]"
) -> None:
    behind: dict[str, list[float]] = {name: [] for name in (OURS, *chains)}

    def ours() -> float:
        span, after_last_byte = cxrd.send_one(film)
        behind[OURS].append(after_last_byte)
        return span

    def programs(name: str) -> float:
        span = chains[name].send(film).report
        behind[name].append(span - chains[name].receiving)
        return span

    values = alternate(
        setting.pick(15, 3),
        {OURS: ours, **{name: functools.partial(programs, name) for name in chains}},
    )
    part.measures += [
        Measure("one study at an idle node, from its first byte to its report", "s", values),
        Measure(
            "the same from its last byte (single programs: script and second storescu)", "s", behind
        ),
    ]
    middle = {name: statistics.median(series) for name, series in behind.items()}
    whole = {name: statistics.median(series) for name, series in values.items()}
    for name in chains:
        part.facts += [
            Fact(
                f"idle study from its last byte, more than the {name} for one film",
                middle[OURS] - whole[name],
                "s",
                at_most(0.3),
            ),
            Fact(
                f"idle study from its last byte, more than the {name} from theirs",
                middle[OURS] - middle[name],
                "s",
            ),
        ]


class _Destination:
    """The folder of a storescp. The time of a file's last write is its arrival."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def wait(self, reports: int) -> None:
        wait_until(lambda: len(self._files("SR")) >= reports, "all reports came", PATIENCE)

    def spans(self, started: float) -> Spans:
        """Return the spans since a time of the wall clock, and forget the files."""
        reports, everything = self._files("SR"), self._files("")
        ends = [max(path.stat().st_mtime for path in group) for group in (reports, everything)]
        self.reports, self.others = len(reports), len(everything) - len(reports)
        for path in everything:
            path.unlink()
        return Spans(*(end - started for end in ends))

    def _files(self, prefix: str) -> list[Path]:
        return list(self._folder.glob(f"{prefix}*"))


class _Cxrd(contextlib.AbstractContextManager["_Cxrd"]):
    """`cxrd serve` with a storescp as its destination."""

    def __init__(self, folder: Path) -> None:
        self._destination = _Destination(folder / "pacs")
        self._stack = contextlib.ExitStack()
        port = self._stack.enter_context(storescp(folder / "pacs", *WIDE))
        changes = {"study": {"quiet_seconds": QUIET_SECONDS}}
        self._daemon = self._stack.enter_context(Serve(folder / "node", port, changes))
        self.reports = self.heatmaps = 0

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    def send(self, films: Films) -> Spans:
        """Send the films in one association and wait until every object is at the destination."""
        _prepare(films)
        started = time.time()
        send(films.paths, self._daemon.port)
        return self._spans(started, len(films.paths))

    def send_one(self, film: Films) -> tuple[float, float]:
        """Return the seconds to the report from the first and from the last byte."""
        _prepare(film)
        with _watched_association(self._daemon.port) as (store, last_bytes):
            started = time.time()
            store(film.paths[0])
        span = self._spans(started, 1).report
        return span, span - (last_bytes[-1] - started)

    def _spans(self, started: float, reports: int) -> Spans:
        self._destination.wait(reports)
        self._wait_for_deliveries()
        spans = self._destination.spans(started)
        self.reports += self._destination.reports
        self.heatmaps += self._destination.others
        return Spans(spans.report - QUIET_SECONDS, spans.everything - QUIET_SECONDS)

    def _wait_for_deliveries(self) -> None:
        with self._daemon.store() as store:
            wait_until(
                lambda: all(
                    group.state == "done" for group, n in store.status.job_counts().items() if n
                ),
                "every job is done",
                PATIENCE,
            )


@contextlib.contextmanager
def _watched_association(port: int) -> "Iterator[tuple[functools.partial[None], list[float]]]":
    """Open an association that notes the time of the last byte of each message it sends."""
    times: list[float] = []
    ae = AE(ae_title=SENDER)
    ae.add_requested_context("1.2.840.10008.5.1.4.1.1.1.1")
    association = ae.associate(
        HOST, port, ae_title=NODE, evt_handlers=[(evt.EVT_DATA_SENT, _note_time, [times])]
    )
    assert association.is_established

    def store(path: Path) -> None:
        status = association.send_c_store(path)
        assert status.Status == 0x0000, status

    try:
        yield functools.partial(store), times
    finally:
        association.release()


def _note_time(event: evt.Event, times: list[float]) -> None:
    # Type 0x04 is P-DATA-TF (PS3.8 9.3.1); a release comes after the last byte of the film.
    if event.data[:1] == b"\x04":
        times.append(time.time())


class _Programs(contextlib.AbstractContextManager["_Programs"]):
    """The chain of single programs, with one script or several that share the films."""

    def __init__(self, folder: Path, scripts: int, threads: int, *, at_once: bool = False) -> None:
        self._at_once = at_once
        self._received, self._made = folder / "received", folder / "made"
        self._destination = _Destination(folder / "pacs")
        self._stack = contextlib.ExitStack()
        with sending_at_once(at_once):
            self._in = self._stack.enter_context(storescp(self._received, *WIDE))
            self._out = self._stack.enter_context(storescp(folder / "pacs", *WIDE))
        self._made.mkdir()
        module = "tests.benchmarks.sides.plain_script"
        self._scripts = [
            self._stack.enter_context(WorkerProcess(module, threads, threads=threads))
            for _ in range(scripts)
        ]
        self.receiving = 0.0

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    def send(self, films: Films) -> Spans:
        """Run the three programs one after another."""
        _prepare(films)
        with sending_at_once(self._at_once):
            return self._send(films)

    def _send(self, films: Films) -> Spans:
        started = time.time()
        self.receiving = seconds(lambda: send(films.paths, self._in))
        self._work(sorted(self._received.iterdir()))
        made = sorted(self._made.iterdir())
        # Without -R storescu proposes 64 contexts that do not include every class of a report.
        send(made, self._out, "-R")
        spans = self._destination.spans(started)
        for path in (*self._received.iterdir(), *made):
            path.unlink()
        return spans

    def _work(self, films: Sequence[Path]) -> None:
        for number, script in enumerate(self._scripts):
            group = films[number :: len(self._scripts)]
            script.begin({"films": [str(film) for film in group], "out": str(self._made)})
        for script in self._scripts:
            script.answer()


def _prepare(films: Films) -> None:
    films.renew()
    os.sync()
