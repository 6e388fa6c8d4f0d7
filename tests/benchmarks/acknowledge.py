"""Acknowledging: the transaction before a C-STORE is answered, with its audit row and without."""

import tempfile
from collections.abc import Callable
from pathlib import Path
from unittest import mock

from storage.store import Store
from tests.benchmarks.timing import in_turn, seconds, show
from tests.storage.builders import new_instance

INSTANCES = 200
RUNS = 9


def run() -> None:
    """Print the milliseconds for one instance, and the ratio, over RUNS alternating runs."""
    with tempfile.TemporaryDirectory() as folder:
        url = f"sqlite:///{Path(folder) / 'cxrd.sqlite'}"
        with Store.open(url, migrate=True) as store:
            record = _recorder(store)
            values = in_turn(RUNS, without_audit=lambda: _unaudited(record), audited=record)
    print(f"{INSTANCES} instances one after another, SQLite, milliseconds each:")
    show(values, "ms", baseline="without_audit")


def _recorder(store: Store) -> Callable[[], float]:
    runs = 0

    def record() -> float:
        nonlocal runs
        runs += 1
        new = [new_instance(f"1.2.{runs}.{number}") for number in range(INSTANCES)]
        taken = seconds(lambda: [store.record_instance(one, 30.0) for one in new])
        return 1e3 * taken / INSTANCES

    return record


def _unaudited(record: Callable[[], float]) -> float:
    with mock.patch("storage.store.append"):
        return record()
