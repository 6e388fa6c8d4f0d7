"""The simulation against the daemon: waits for the analyst at two loads, simulated and measured.

The arrivals are those of the run. The service times are those of films that came alone before it,
and, as a second simulation, those of the films of the run: other programs on the machine slow a run
down, and the second simulation shows the error of the queue alone.
"""

import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import psycopg

from tests.benchmarks.films import SIDE_HALF_MB, write_films
from tests.benchmarks.scaling.measuring.services import Node, running_node
from tests.benchmarks.scaling.simulation import Times, serve_by_priority

LOADS = (0.5, 0.8)
ALONE = 10
REPEATS = 50

_TIMES = """
SELECT extract(epoch FROM i.received_at)::float, extract(epoch FROM i.analysed_at)::float,
    extract(epoch FROM j.updated_at)::float
FROM instances i JOIN jobs j ON j.kind = 'analyse' AND j.subject = i.id::text
WHERE i.analysed_at IS NOT NULL AND i.id > %s ORDER BY i.received_at
"""


@dataclass(frozen=True, slots=True)
class Checked:
    """Waits in seconds from the reception of a film to the end of its analysis."""

    load: float
    films: int
    measured_mean: float
    simulated_mean: float
    measured_p95: float
    simulated_p95: float
    queue_mean: float
    """Simulated with the service times of the run itself."""
    queue_p95: float


def check_simulation(folder: Path, films: int) -> list[Checked]:
    """Run a node with one worker of the analyst at each load."""
    with running_node(folder, workers=1, quiet=3600) as node:
        sent = write_films(folder / "alone", ALONE, SIDE_HALF_MB, block=20)
        data = [path.read_bytes() for path in sent.paths]
        _send(node, data[:2], [0.0, 0.0])  # warms the analyst up
        alone = _send(node, data[2:], [1.5] * (ALONE - 2))
        services = alone[2] - alone[0]
        found = []
        for number, load in enumerate(LOADS):
            block = write_films(folder / f"load-{number}", films, SIDE_HALF_MB, block=21 + number)
            rng = np.random.default_rng(number)
            pauses = rng.exponential(float(services.mean()) / load, films).tolist()
            measured = _send(node, [path.read_bytes() for path in block.paths], pauses)
            found.append(_compare(load, measured, services, rng))
        return found


def _compare(load: float, measured: Times, alone: Times, rng: np.random.Generator) -> Checked:
    received, begun, ended = measured
    simulated = _simulated(received, [rng.choice(alone, len(received)) for _ in range(REPEATS)])
    own = _simulated(received, [ended - begun])
    waits = ended - received
    return Checked(load, len(received), *_mean_and_tail(waits), *simulated, *own)


def _simulated(received: Times, services: Sequence[Times]) -> tuple[float, float]:
    """Return mean and 95th percentile of the waits, each the mean over the services drawn."""
    ordinary = np.zeros(len(received), dtype=bool)
    found = [
        _mean_and_tail(serve_by_priority(received, drawn, ordinary, 1) - received)
        for drawn in services
    ]
    return tuple(float(value) for value in np.mean(found, axis=0))  # type: ignore[return-value]


def _mean_and_tail(waits: Times) -> tuple[float, float]:
    return float(waits.mean()), float(np.percentile(waits, 95))


def _send(node: Node, films: list[bytes], pauses: list[float]) -> Times:
    """Send each film after its pause; return received, begun and ended (3, films)."""
    with psycopg.connect(node.url.replace("postgresql+psycopg", "postgresql")) as connection:
        last = connection.execute("SELECT coalesce(max(id), 0) FROM instances").fetchone()
    assert last is not None
    due = time.monotonic()
    for data, pause in zip(films, pauses, strict=True):
        due += pause
        time.sleep(max(0.0, due - time.monotonic()))
        node.daemon.send(data)
    deadline = time.monotonic() + 300
    while time.monotonic() < deadline:
        with psycopg.connect(node.url) as connection:
            rows = connection.execute(_TIMES, last).fetchall()
        if len(rows) == len(films):
            return np.asarray(rows, dtype=np.float64).T
        time.sleep(0.2)
    raise RuntimeError("the analyst did not finish in 300 s")
