"""The parts of `make bench` in the order in which they run, and further benchmarks by name."""

import importlib
from collections.abc import Callable
from typing import Any

PARTS = {
    "receive": "tests.benchmarks.network.receive",
    "chain": "tests.benchmarks.network.chain",
    "forward": "tests.benchmarks.model.forward",
    "analyse": "tests.benchmarks.model.analyse",
    "flat": "tests.benchmarks.network.flat",
    "start": "tests.benchmarks.store.start",
    "store": "tests.benchmarks.store.large_store",
    "web": "tests.benchmarks.store.web_pages",
    "claims": "tests.benchmarks.queue.claims",
    "priority": "tests.benchmarks.queue.priority",
    "backfill": "tests.benchmarks.network.backfill",
    "scaling": "tests.benchmarks.scaling.run",
    "gpu": "tests.benchmarks.model.gpu_part",
}
"""Parts by name: a module whose `run(setting)` returns a Part. It is imported when it is needed."""

OTHERS = {
    "queue": "tests.benchmarks.others.queue",
    "delivery": "tests.benchmarks.others.delivery",
    "partners": "tests.benchmarks.others.partners",
    "commitment": "tests.benchmarks.others.commitment",
    "training": "tests.benchmarks.others.training",
    "spool": "tests.benchmarks.others.spool",
    "header_tables": "tests.benchmarks.others.header_tables",
    "hosts": "tests.benchmarks.others.hosts",
    "outages": "tests.benchmarks.others.outages",
}
"""Benchmarks of single mechanisms: a module whose `run()` prints. `make bench` leaves them out."""


def run_of(module: str) -> Callable[..., Any]:
    """Return the `run` of a part or of another benchmark."""
    function: Callable[..., Any] = importlib.import_module(module).run
    return function
