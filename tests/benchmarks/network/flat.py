"""The long run: thousands of studies through the daemon, and the memory of every role meanwhile.

Each study is one film in an association of its own. A new one is sent when fewer than a fixed
number are unreported, so that the node is always busy and the load is the same at every time.
"""

import os
import statistics
import time
from collections.abc import Iterator
from pathlib import Path

from tests.benchmarks.films import Films, write_films
from tests.benchmarks.results import Fact, Part, at_most
from tests.benchmarks.setting import Setting
from tests.benchmarks.sides.memory import Memory, memory_by_role
from tests.benchmarks.sides.programs import Serve, storescp
from tests.benchmarks.sides.senders import send

SIDE = 1024
FILMS = 40
STUDIES, QUICK_STUDIES = 2000, 60
AT_ONCE = 24
"""Studies that are sent and not yet reported."""
SAMPLE_SECONDS = 2.0
SETTLED = 0.05
"""Share of the run after which the memory counts: caches and pools are filled by then."""
ANALYST_MB, GROWTH_PER_CENT, LISTENER_GROWTH_PER_CENT, DRIFT_PER_CENT = 450, 5, 2, 10


def run(setting: Setting) -> Part:
    """Send the studies and print times of the first and the last of them, and memory."""
    studies = setting.studies or setting.pick(STUDIES, QUICK_STUDIES)
    part = Part("flat", f"{studies} studies through the daemon")
    written = write_films(setting.folder / "films", FILMS, SIDE)
    films = [Films([path], written.token) for path in written.paths]
    pacs = setting.folder / "pacs"
    changes = {"study": {"quiet_seconds": 1.0}}
    with storescp(pacs) as port, Serve(setting.folder / "node", port, changes) as daemon:
        arrivals, samples = _run(studies, films, daemon, pacs)
    _add_times(part, arrivals[:studies])
    _add_memory(part, samples)
    part.notes.append(
        f"the films are {SIDE} x {SIDE} x 12 bit ({written.megabytes / FILMS:.0f} MB); "
        f"{AT_ONCE} studies were always on their way"
    )
    return part


def _run(
    studies: int, films: list[Films], daemon: Serve, pacs: Path
) -> tuple[list[float], list[tuple[int, dict[str, Memory]]]]:
    """Return the times at which reports came, and the memory by the number of reports."""
    arrivals: list[float] = []
    samples: list[tuple[int, dict[str, Memory]]] = []
    sent, sampled = 0, 0.0
    # So many more are sent that the load does not fall before the last study that counts.
    while len(arrivals) < studies:
        arrivals.extend(_arrived(pacs))
        if time.monotonic() - sampled > SAMPLE_SECONDS:
            sampled = time.monotonic()
            samples.append((len(arrivals), memory_by_role(daemon)))
        if sent - len(arrivals) < AT_ONCE:
            film = films[sent % len(films)]
            film.renew()
            send(film.paths, daemon.port)
            sent += 1
        else:
            time.sleep(0.02)
    return sorted(arrivals), samples


def _arrived(pacs: Path) -> Iterator[float]:
    """Yield the arrival of each report that is complete, and delete all complete files."""
    complete = time.time() - 0.5
    for entry in list(os.scandir(pacs)):
        written = entry.stat().st_mtime
        if written < complete:
            Path(entry.path).unlink()
            if entry.name.startswith("SR"):
                yield written


def _add_times(part: Part, arrivals: list[float]) -> None:
    group = min(200, len(arrivals) // 4)
    first = (arrivals[group] - arrivals[0]) / group
    last = (arrivals[-1] - arrivals[-1 - group]) / group
    drift = 100 * (last / first - 1)
    part.facts += [
        Fact(f"time per study, first {group}", first, "s"),
        Fact(f"time per study, last {group}", last, "s"),
        Fact(
            f"the last {group} take longer than the first by", drift, "%", at_most(DRIFT_PER_CENT)
        ),
        Fact("studies per second, whole run", len(arrivals) / (arrivals[-1] - arrivals[0])),
    ]


def _add_memory(part: Part, samples: list[tuple[int, dict[str, Memory]]]) -> None:
    settled = samples[int(SETTLED * len(samples)) :]
    for role in samples[0][1]:
        pss = [memory[role].pss for _, memory in settled]
        rss = [memory[role].rss for _, memory in settled]
        start, end = _ends(rss)
        goal = at_most(ANALYST_MB) if role == "analyst" else None
        part.facts += [
            Fact(f"{role}: most resident memory (RSS)", max(rss), "MB", goal),
            Fact(f"{role}: most proportional memory (PSS)", max(pss), "MB"),
            Fact(
                f"{role}: growth of its RSS from the first tenth to the last",
                100 * (end / start - 1) if start else 0.0,
                "%",
                at_most(LISTENER_GROWTH_PER_CENT if role == "listener" else GROWTH_PER_CENT),
            ),
        ]
        step = max(1, len(samples) // 200)
        part.lines[role] = [(float(n), memory[role].pss) for n, memory in samples[::step]]


def _ends(values: list[float]) -> tuple[float, float]:
    tenth = max(1, len(values) // 10)
    return statistics.median(values[:tenth]), statistics.median(values[-tenth:])
