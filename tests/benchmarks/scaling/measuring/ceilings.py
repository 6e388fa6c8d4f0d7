"""Limits of what all hosts share: the lock of the audit trail, and the disk of the log."""

import contextlib
import os
import statistics
from pathlib import Path

from storage.store import Store
from tests.benchmarks.sides.worker_process import WorkerProcess
from tests.benchmarks.timing import seconds
from tests.servers.postgresql_server import emptied_database, postgresql_server

PROCESSES = (1, 4)
SYNCS = 200
BLOCK = bytes(8192)


def sync_seconds(folder: Path) -> float:
    """Return the median seconds that the disk takes for a page of a log."""
    with (folder / "sync").open("wb") as file:

        def write() -> None:
            file.write(BLOCK)
            file.flush()
            os.fdatasync(file.fileno())

        return statistics.median(seconds(write) for _ in range(SYNCS))


def audit_rates(limit: float) -> dict[str, dict[int, float]]:
    """Return the transactions/s that append to the audit trail, by the number of processes.

    Each holds the lock of the trail until its commit is on the disk: one at a time. Without the
    sync the rest of the time is left, which no faster disk takes away.
    """
    found: dict[str, dict[int, float]] = {}
    for name, sync in (("synced", True), ("without sync", False)):
        with postgresql_server(durable=sync) as socket_folder:
            url = emptied_database(socket_folder)
            Store.open(url, migrate=True).close()
            found[name] = {count: _rate(url, count, limit) for count in PROCESSES}
    return found


def _rate(url: str, processes: int, limit: float) -> float:
    module = "tests.benchmarks.scaling.measuring.audit_worker"
    with contextlib.ExitStack() as stack:
        workers = [
            stack.enter_context(WorkerProcess(module, url, threads=1)) for _ in range(processes)
        ]
        for worker in workers:
            worker.begin(limit)
        return sum(float(worker.answer()) for worker in workers)
