"""Service times of a whole node on PostgreSQL: processor seconds of each role for a film."""

import functools
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import psycopg

from storage.store import Store
from tests.benchmarks.films import Films, write_films
from tests.benchmarks.network.chain import WIDE
from tests.benchmarks.scaling.measuring.counters import Counters
from tests.benchmarks.scaling.measuring.processor_time import children_seconds, process_seconds
from tests.benchmarks.sides.programs import Serve, storescp
from tests.benchmarks.sides.senders import send
from tests.servers.postgresql_server import emptied_database, postgresql_server
from tests.tools.waiting import wait_until

QUIET_SECONDS = 0.3
PATIENCE = 600.0
ROLES = ("listener", "analyst", "courier")


@dataclass(frozen=True, slots=True)
class Service:
    """Processor seconds and counts of one film that is a study of its own."""

    megabytes: float
    listener: float
    analyst: float
    """Reading, the network, the objects and the report."""
    courier: float
    """Of one object."""
    objects: float
    """Objects made for a film: its report and its heatmaps."""
    object_megabytes: float
    database: Counters


class Node:
    """`cxrd serve` with all roles on a PostgreSQL server, and a destination."""

    def __init__(self, daemon: Serve, url: str, socket_folder: str, pacs: Path) -> None:
        self.daemon, self.url, self._socket, self._pacs = daemon, url, socket_folder, pacs

    def measure(self, films: Films) -> Service:
        """Send the films, wait for the last delivery, and divide by the number of films."""
        films.renew()
        before, used, sent = self._counters(), self._used(), self._delivered()
        started = time.monotonic()
        send(films.paths, self.daemon.port)
        self.wait()
        taken = time.monotonic() - started
        after, now = self._counters(), self._used()
        idle = self._idle(taken)
        count = len(films.paths)
        listener, analyst, courier = (now[role] - used[role] for role in ROLES)
        objects, size = (new - old for new, old in zip(self._delivered(), sent, strict=True))
        return Service(
            films.megabytes / count,
            listener / count,
            analyst / count,
            courier / objects,
            objects / count,
            size / objects / 1e6,
            after.since(before, count, idle),
        )

    def wait(self) -> None:
        """Wait until no job is left."""
        with Store.open(self.url, migrate=False) as store:
            wait_until(functools.partial(_all_done, store), "every job is done", PATIENCE)

    def _idle(self, seconds: float) -> Counters:
        """Return what an idle node does in so many seconds, measured over two of them."""
        before = self._counters()
        time.sleep(2)
        rate = self._counters().since(before, 2)
        return Counters(*(value * seconds for value in _values(rate)))

    def _counters(self) -> Counters:
        return Counters.read(self._socket)

    def _used(self) -> dict[str, float]:
        found = {}
        for role in ROLES:
            process = self.daemon.process_of(role)
            found[role] = process_seconds(process) + children_seconds(process)
        return found

    def _delivered(self) -> tuple[int, int]:
        with psycopg.connect(host=self._socket, user="cxrd", dbname="postgres") as connection:
            query = "SELECT count(*), coalesce(sum(size), 0) FROM objects"
            row = connection.execute(query).fetchone()
        assert row is not None
        return int(row[0]), int(row[1])


def _values(counters: Counters) -> Iterator[float]:
    for name in Counters.__slots__:
        yield float(getattr(counters, name))


def _all_done(store: Store) -> bool:
    counts = store.status.job_counts().items()
    return all(group.state == "done" for group, number in counts if number)


@contextmanager
def running_node(folder: Path, *, workers: int = 0, quiet: float = QUIET_SECONDS) -> Iterator[Node]:
    """Run a node with a destination on a server of its own for the block."""
    changes = {
        "study": {"quiet_seconds": quiet},
        "model": {"threads": 1},
        "analyst": {"workers": workers},
    }
    with postgresql_server(durable=True) as socket_folder:
        url = emptied_database(socket_folder)
        pacs = folder / "pacs"
        with (
            storescp(pacs, *WIDE) as port,
            Serve(folder / "node", port, {**changes, "database_url": url}) as daemon,
        ):
            yield Node(daemon, url, socket_folder, pacs)


def measure_services(folder: Path, sides: dict[int, int]) -> list[Service]:
    """Measure films of each size (pixels of a side → number of films) one size after another."""
    with running_node(folder) as node:
        warm_up = write_films(folder / "warm-up", 3, block=4)
        node.measure(warm_up)
        found = []
        for block, (side, count) in enumerate(sides.items(), 10):
            films = write_films(folder / f"films-{side}", count, side, block=block)
            os.sync()
            found.append(node.measure(films))
        return found
