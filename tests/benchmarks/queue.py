"""The queue: how long a claim takes with few and with many finished jobs behind it."""

import datetime
import statistics
import tempfile
from pathlib import Path

from sqlalchemy import create_engine, text

from storage.records import JobKind
from storage.store import Store
from tests.benchmarks.timing import seconds

FEW, MANY = 100, 100_000
CLAIMS = 200
LEASE = datetime.timedelta(minutes=1)


def run() -> None:
    """Print the median and 99th percentile of a claim at both sizes, and their ratios."""
    few, many = _claims(FEW), _claims(MANY)
    for name, pick in (("median", statistics.median), ("p99", _p99)):
        print(
            f"claim, {name}: {1e3 * pick(few):.2f} ms after {FEW} jobs, "
            f"{1e3 * pick(many):.2f} ms after {MANY}, ratio {pick(many) / pick(few):.2f}"
        )


def _p99(values: list[float]) -> float:
    return statistics.quantiles(values, n=100)[-1]


def _claims(done: int) -> list[float]:
    with tempfile.TemporaryDirectory() as folder:
        url = f"sqlite:///{Path(folder) / 'cxrd.sqlite'}"
        with Store.open(url, migrate=True) as store:
            for number in range(CLAIMS):
                store.jobs.enqueue(JobKind.ANALYSE, f"due-{number}")
            _finish_jobs(url, done)
            times = []
            for _ in range(CLAIMS):
                times.append(seconds(lambda: store.jobs.claim((JobKind.ANALYSE,), "me", LEASE)))
            return times


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
