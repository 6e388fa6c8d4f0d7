"""The queries of the queue read the jobs that wait or run, whatever the planner believes.

Most jobs of a store have ended. The tests read the plans: a time would say less.
"""

import re
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import Any

from sqlalchemy import ColumnElement, Engine, Text, cast, event, func, insert, select, update

from storage.records import JobKind, JobState
from storage.store import Store
from storage.tables.database import Database, open_database
from storage.tables.schema import jobs
from tests.builders.store_rows import LEASE, claim

ENDED = 2**13
ACTS: dict[str, Callable[[Store], object]] = {
    "claim": lambda store: store.jobs.claim([JobKind.ANALYSE], "a", LEASE),
    "claim in a lane": lambda store: store.jobs.claim([JobKind.DELIVER], "a", LEASE, "one"),
    "claim some": lambda store: store.jobs.claim_some([JobKind.DELIVER], "a", LEASE, 8, "one"),
    "next due": lambda store: store.jobs.next_due([JobKind.REPORT]),
    "next due in a lane": lambda store: store.jobs.next_due([JobKind.DELIVER], "one"),
    "reclaim": lambda store: store.jobs.reclaim(),
    "release": lambda store: store.jobs.release("a"),
    "failed": lambda store: store.status.retrying_counts(),
    "waiting": lambda store: store.status.job_counts([JobState.QUEUED]),
    "due": lambda store: store.status.due(store.jobs.get(1).updated_at),
}
COUNTS = ("failed", "waiting", "due")
OF_STATE = ("reclaim", "release", *COUNTS)


@contextmanager
def statements() -> Iterator[list[tuple[str, Any]]]:
    """Yield a list of the statements executed during the block, with their parameters."""
    executed: list[tuple[str, Any]] = []

    def record(_: object, __: object, statement: str, parameters: Any, *___: object) -> None:
        executed.append((statement, parameters))

    event.listen(Engine, "before_cursor_execute", record)
    try:
        yield executed
    finally:
        event.remove(Engine, "before_cursor_execute", record)


def fill(database: Database) -> None:
    """Copy the only job, which is done, until there are ENDED jobs."""
    with database.writing() as connection:
        count = 1
        while count < ENDED:
            number: ColumnElement[Any] = jobs.c.id + count
            changed = {"id": number, "subject": cast(number, Text)}
            copies = select(*(changed.get(column.name, column) for column in jobs.c))
            connection.execute(insert(jobs).from_select(list(jobs.c), copies))
            count *= 2
        assert connection.scalar(select(func.count()).select_from(jobs)) == ENDED


def plans(database: Database, executed: list[tuple[str, Any]]) -> Iterator[str]:
    """Yield the plan of each statement that reads jobs."""
    explain = "EXPLAIN" if database.engine.dialect.name == "postgresql" else "EXPLAIN QUERY PLAN"
    for statement, parameters in executed:
        if "jobs" in statement:
            with database.writing() as connection:
                rows = connection.exec_driver_sql(f"{explain} {statement}", parameters).all()
            yield "\n".join(str(row[-1]) for row in rows)


def believe(database: Database) -> None:
    """Let the planner of a server count the rows, as it does from time to time."""
    if database.engine.dialect.name == "postgresql":
        with database.writing() as connection:
            connection.exec_driver_sql("ANALYZE jobs")


def fill_with_waiting(database: Database) -> None:
    """Let all jobs wait while they are counted."""
    fill(database)
    with database.writing() as connection:
        connection.execute(update(jobs).values(state=JobState.QUEUED))
    believe(database)
    with database.writing() as connection:
        connection.execute(update(jobs).values(state=JobState.DONE))


def test_the_queue_reads_no_ended_jobs(database_url: str, store: Store) -> None:
    store.jobs.enqueue(JobKind.DELIVER, "first@one", lane="one")
    with open_database(database_url) as database:
        believe(database)
        store.jobs.finish(claim(store, JobKind.DELIVER))
        fill(database)
        require_plans(database, store, ACTS)
        believe(database)
        require_plans(database, store, ACTS)


def test_a_claim_reads_no_ended_jobs_if_they_were_counted_as_waiting(
    database_url: str, store: Store
) -> None:
    store.jobs.enqueue(JobKind.DELIVER, "first@one", lane="one")
    store.jobs.finish(claim(store, JobKind.DELIVER))
    with open_database(database_url) as database:
        fill_with_waiting(database)
        require_plans(database, store, [name for name in ACTS if name not in COUNTS])


def require_plans(database: Database, store: Store, names: Iterable[str]) -> None:
    """Compare the plans of acts that find no job with what they may read."""
    for name in names:
        with statements() as executed:
            assert not ACTS[name](store), name
        for plan in plans(database, executed):
            assert "Seq Scan on jobs" not in plan, (name, plan)
            assert "SCAN jobs" not in plan, (name, plan)
            # The indexes of all jobs begin with the state: these acts read those of one state.
            of_state = re.search(r"\(state=\?|Index Cond: \(+state\)", plan)
            assert (name in OF_STATE and of_state) or "ix_jobs_due" not in plan, (name, plan)
