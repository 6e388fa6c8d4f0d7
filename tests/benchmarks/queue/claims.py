"""Claims a second with 1, 8 and 32 workers, and the time of a claim after a million jobs.

On SQLite and on a PostgreSQL server of this machine that waits for the disk at each commit. The
workers are threads of up to four processes, eight to a process as in an analyst. The server works
on the same processors as they do.
"""

import contextlib
import json
import statistics
from collections.abc import Iterator
from functools import partial

import pytest

from storage.records import JobKind
from storage.store import Store
from tests.benchmarks.queue.claim_worker import BOTH, CLAIM, LEASE, SETTLE
from tests.benchmarks.queue.rows import JobRows
from tests.benchmarks.results import Fact, Measure, Part, Ratio, at_least, at_most
from tests.benchmarks.setting import PeerMissingError, Setting
from tests.benchmarks.sides.worker_process import WorkerProcess
from tests.benchmarks.timing import seconds

ENDED, QUICK_ENDED = 1_000_000, 20_000
DUE = 60_000
WORKERS = (1, 8, 32)
THREADS = 8
CLAIMS_A_ROUND = 500
RATE_GOAL = at_least(500)
FLAT_GOAL = at_most(1.5)


def run(setting: Setting) -> Part:
    """Measure the rates, then the times with and without jobs that have ended, claim by claim."""
    part = Part("claims", "Claims of jobs")
    with _stores(setting) as stores:
        for name, url in stores.items():
            with contextlib.closing(_filled(url, setting)):
                pass
            _measure_rates(part, setting, name, url)
    with _stores(setting) as stores, _stores(setting) as large:
        for name, url in stores.items():
            _measure_times(part, setting, name, url, large[name])
    part.notes.append(
        "A settled job is one that a worker ended as done. The rates of claims alone leave the jobs"
        " running; those that settle alone end them."
    )
    return part


@contextlib.contextmanager
def _stores(setting: Setting) -> Iterator[dict[str, str]]:
    """Yield the URL of a new store on each database."""
    folder = setting.folder / f"claims-{len(list(setting.folder.iterdir()))}"
    folder.mkdir()
    with _server() as server:
        urls = {"SQLite": f"sqlite:///{folder / 'store.sqlite'}", "PostgreSQL": server}
        for url in urls.values():
            Store.open(url, migrate=True).close()
        yield urls


@contextlib.contextmanager
def _server() -> Iterator[str]:
    """Yield the URL of a new database on a server of its own."""
    try:
        from tests.servers.postgresql_server import emptied_database, postgresql_server
    except ModuleNotFoundError as error:
        raise PeerMissingError("psycopg is not installed") from error
    with contextlib.ExitStack() as stack:
        try:
            socket = stack.enter_context(postgresql_server(durable=True))
        except pytest.skip.Exception as error:
            raise PeerMissingError(str(error)) from error
        yield emptied_database(socket)


def _filled(url: str, setting: Setting) -> JobRows:
    rows = JobRows(url)
    rows.add("due", "queued", setting.pick(DUE, 4_000))
    rows.tidy()
    return rows


def _measure_rates(part: Part, setting: Setting, name: str, url: str) -> None:
    """Measure the jobs a second of each number of workers, all acts in turn."""
    rows = JobRows(url)
    for count in WORKERS:
        processes = max(1, count // THREADS)
        with contextlib.ExitStack() as stack:
            workers = [
                stack.enter_context(
                    WorkerProcess(
                        "tests.benchmarks.queue.claim_worker", url, min(count, THREADS), threads=1
                    )
                )
                for _ in range(processes)
            ]
            rates: dict[str, list[float]] = {CLAIM: [], SETTLE: [], BOTH: []}
            cpu: dict[str, list[float]] = {act: [] for act in rates}
            for _ in range(setting.pick(5, 1)):
                for act in rates:
                    jobs, span, used = _ask(workers, act, setting.pick(3, 1))
                    rates[act].append(jobs / span)
                    cpu[act].append(1e3 * used / max(jobs, 1))
                rows.queue_again()
        for act, values in rates.items():
            goal = RATE_GOAL if name == "PostgreSQL" and act == CLAIM else None
            title = f"{name}, {count} worker{'s' if count > 1 else ''}: {act}"
            part.facts += [
                Fact(title, statistics.median(values), "jobs/s", goal),
                Fact(f"{title}, processor time of the workers", statistics.median(cpu[act]), "ms"),
            ]
    rows.close()


def _ask(workers: list[WorkerProcess], act: str, span: float) -> tuple[int, float, float]:
    """Return the jobs of all processes, the time that the longest took, and their CPU time."""
    for worker in workers:
        worker.begin([act, span])
    answers = [json.loads(worker.answer()) for worker in workers]
    return (
        sum(answer["jobs"] for answer in answers),
        max(answer["seconds"] for answer in answers),
        sum(answer["cpu"] for answer in answers),
    )


def _measure_times(part: Part, setting: Setting, name: str, empty: str, large: str) -> None:
    """Measure claims of both stores in turn: what slows the machine down slows both."""
    ended = setting.pick(ENDED, QUICK_ENDED)
    no, many = "no ended job", f"{ended:,} ended jobs"
    sides = {no: empty, many: large}
    JobRows(large).add("done", "done", ended)
    with contextlib.ExitStack() as stack:
        rows = {
            side: stack.enter_context(contextlib.closing(_filled(url, setting)))
            for side, url in sides.items()
        }
        stores = {
            side: stack.enter_context(Store.open(url, migrate=False)) for side, url in sides.items()
        }
        p50: dict[str, list[float]] = {side: [] for side in sides}
        p99: dict[str, list[float]] = {side: [] for side in sides}
        for number in range(setting.pick(9, 2) + 1):
            times: dict[str, list[float]] = {side: [] for side in sides}
            for _ in range(setting.pick(CLAIMS_A_ROUND, 100)):
                for side, store in stores.items():
                    times[side].append(1e3 * seconds(partial(_claim, store)))
            for side, values in times.items():
                if number > 0:  # the first fills the caches
                    p50[side].append(statistics.median(values))
                    p99[side].append(statistics.quantiles(values, n=100)[-1])
        for each in rows.values():
            each.tidy()
    for title, found, goal in (("median", p50, None), ("p99", p99, FLAT_GOAL)):
        ratio = Ratio(many, no, "of the time without ended jobs", goal)
        part.measures.append(Measure(f"a claim on {name}, {title}", "ms", found, [ratio]))


def _claim(store: Store) -> None:
    assert store.jobs.claim((JobKind.ANALYSE,), "me", LEASE) is not None
