"""Waits of STAT and of ordinary jobs beside first come, first served: a simulated working day.

One analyst with films of 4 s on average, and a clock that the simulation sets. Films come at random
(Poisson) and take random times (exponential); both orders get the same films. Each job is claimed
from a store by the claim of the product. The second order is that of the same claims with all films
ordinary: that is first come, first served.
"""

import datetime
import random
import statistics
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from sqlalchemy import insert

from storage.records import JobKind, JobState
from storage.store import Store
from storage.tables.database import Database, open_engine
from storage.tables.schema import jobs
from tests.benchmarks.results import Fact, Part
from tests.benchmarks.setting import Setting
from tests.tools.clock import Clock

LOADS = (0.9, 1.1)
SHARES = (0.5, 0.9)
SERVICE_SECONDS = 4.0
HOURS, QUICK_HOURS = 8.0, 0.5
LEASE = datetime.timedelta(days=1)
RULE, FIFO = "STAT first", "first come"
_MEMORY = Path("/dev/shm")  # noqa: S108 - the time of the disk has no part in the result


@dataclass(frozen=True, slots=True)
class Film:
    """A film that comes at `at` seconds and is analysed for `seconds`."""

    at: float
    seconds: float
    is_stat: bool


def run(setting: Setting) -> Part:
    """Simulate each load and share of STAT in both orders."""
    part = Part("priority", "Waits by priority")
    hours = QUICK_HOURS if setting.quick else HOURS
    for load in LOADS:
        for share in SHARES:
            films = _films(load, share, hours * 3600, random.Random(f"{load} {share}"))
            scene = f"load {load:g}, {share:.0%} STAT"
            for order in (RULE, FIFO):
                waits = _waits(films, order, setting.folder)
                part.facts += _facts(f"{scene}, {order}", waits)
    part.notes.append(
        f"{hours:g} h of films for one analyst; a wait is from the film to its claim. Films that"
        " are claimed after these hours are counted, too."
    )
    return part


def _films(load: float, share: float, span: float, chance: random.Random) -> list[Film]:
    films = []
    at = 0.0
    while (at := at + chance.expovariate(load / SERVICE_SECONDS)) < span:
        taken = chance.expovariate(1 / SERVICE_SECONDS)
        films.append(Film(at, taken, chance.random() < share))
    return films


def _waits(films: Sequence[Film], order: str, folder: Path) -> dict[str, list[float]]:
    """Return the waits of the films in minutes, by their kind."""
    clock = Clock()
    begin = clock.now
    waits: dict[str, list[float]] = {"STAT": [], "ordinary": []}
    with tempfile.TemporaryDirectory(dir=_MEMORY if _MEMORY.is_dir() else folder) as place:
        url = f"sqlite:///{place}/store.sqlite"
        with Store.open(url, clock=clock, migrate=True) as store:
            _enqueue(url, films, begin, with_priority=order == RULE)
            for _ in films:
                job = store.jobs.claim((JobKind.ANALYSE,), "analyst", LEASE)
                while job is None:
                    due = store.jobs.next_due((JobKind.ANALYSE,))
                    assert due is not None
                    clock.now = max(due, clock.now)
                    job = store.jobs.claim((JobKind.ANALYSE,), "analyst", LEASE)
                film = films[int(job.subject)]
                wait = (clock.now - job.not_before).total_seconds() / 60
                waits["STAT" if film.is_stat else "ordinary"].append(wait)
                clock.advance(film.seconds)
    return waits


def _enqueue(
    url: str, films: Sequence[Film], begin: datetime.datetime, *, with_priority: bool
) -> None:
    """Add a job for each film, due when the film comes."""
    database = Database(open_engine(url, create=False))
    rows = [
        {
            "kind": JobKind.ANALYSE,
            "subject": str(number),
            "state": JobState.QUEUED,
            **dict.fromkeys(("attempts", "generation", "claims"), 0),
            **dict.fromkeys(
                ("not_before", "created_at", "updated_at"),
                begin + datetime.timedelta(seconds=film.at),
            ),
            "priority": int(film.is_stat and with_priority),
        }
        for number, film in enumerate(films)
    ]
    with database.writing() as connection:
        connection.execute(insert(jobs), rows)
    database.engine.dispose()


def _facts(scene: str, waits: dict[str, list[float]]) -> list[Fact]:
    found = []
    for kind, minutes in waits.items():
        numbers = {
            "median": statistics.median(minutes),
            "95 %": statistics.quantiles(minutes, n=20)[-1],
            "longest": max(minutes),
        }
        found += [Fact(f"{scene}: {kind}, {name}", value, "min") for name, value in numbers.items()]
    return found
