"""The queue: time of a claim with few and with many finished jobs in the table.

Both stores are claimed from in turn, round after round, each round from the same state: a disk
that is slow for a while is slow for both, and one slow moment does not make a percentile.
"""

import datetime
import functools
import statistics
import tempfile
from pathlib import Path

from sqlalchemy import Engine, create_engine, text

from storage.records import JobKind
from storage.store import Store
from tests.benchmarks.timing import seconds

FEW, MANY = 100, 100_000
CLAIMS = 400
ROUNDS = 9
LEASE = datetime.timedelta(minutes=1)


def run() -> None:
    """Print the medians over the rounds of a claim's median and 99th percentile, and ratios."""
    rounds: dict[int, list[list[float]]] = {FEW: [], MANY: []}
    with tempfile.TemporaryDirectory() as folder:
        urls = {done: f"sqlite:///{Path(folder) / str(done)}.sqlite" for done in rounds}
        stores = {done: _filled(url, done) for done, url in urls.items()}
        engines = {done: create_engine(url) for done, url in urls.items()}
        for number in range(ROUNDS + 1):
            for done, store in stores.items():
                _make_due(engines[done])
                times = [seconds(functools.partial(_claim, store)) for _ in range(CLAIMS)]
                if number > 0:  # the first fills the caches
                    rounds[done].append(times)
        for done, store in stores.items():
            store.close()
            engines[done].dispose()
    for name, pick in (("median", statistics.median), ("p99", _p99)):
        few, many = ([pick(times) for times in rounds[done]] for done in (FEW, MANY))
        pairs = [one / other for one, other in zip(many, few, strict=True)]
        print(
            f"claim, {name} of {CLAIMS}, median of {ROUNDS} rounds: "
            f"{1e3 * statistics.median(few):.2f} ms after {FEW} jobs, "
            f"{1e3 * statistics.median(many):.2f} ms after {MANY}, "
            f"ratio {statistics.median(many) / statistics.median(few):.2f} "
            f"({min(pairs):.2f} to {max(pairs):.2f} by round)"
        )


def _p99(values: list[float]) -> float:
    return statistics.quantiles(values, n=100)[-1]


def _claim(store: Store) -> None:
    assert store.jobs.claim((JobKind.ANALYSE,), "me", LEASE) is not None


def _filled(url: str, done: int) -> Store:
    """Open a store with so many finished jobs and the few jobs that every round claims."""
    store = Store.open(url, migrate=True)
    for number in range(CLAIMS):
        store.jobs.enqueue(JobKind.ANALYSE, f"due-{number}")
    _finish_jobs(url, done)
    return store


def _make_due(engine: Engine) -> None:
    """Queue the claimed jobs again and empty the log, so that all rounds are alike."""
    with engine.begin() as connection:
        connection.execute(
            text("UPDATE jobs SET state = 'queued' WHERE state = 'running' AND kind = 'analyse'")
        )
    with engine.connect() as connection:
        connection.execute(text("PRAGMA wal_checkpoint(TRUNCATE)"))


def _finish_jobs(url: str, count: int) -> None:
    """Copy one job `count` times, done, in one statement: enqueuing them would take minutes."""
    engine = create_engine(url)
    with engine.begin() as connection:
        names = [
            row.name
            for row in connection.execute(text("PRAGMA table_info(jobs)"))
            if row.name != "id"
        ]
        changed = {"subject": "'done-' || n", "state": "'done'"}
        values = ", ".join(changed.get(name, name) for name in names)
        connection.execute(
            text(
                f"WITH RECURSIVE counter(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM counter "  # noqa: S608
                f"WHERE n < :count) INSERT INTO jobs ({', '.join(names)}) "
                f"SELECT {values} FROM counter, (SELECT * FROM jobs LIMIT 1)"
            ),
            {"count": count},
        )
    engine.dispose()
