"""State changes of jobs: statements for use inside a transaction."""

import functools
from collections.abc import Collection, Iterable
from datetime import datetime
from typing import Any

from sqlalchemy import (
    ColumnElement,
    Connection,
    Executable,
    and_,
    bindparam,
    case,
    func,
    literal,
    select,
    update,
)

from storage.errors import LeaseLostError
from storage.records import Job, JobKind, JobState, StudyKey
from storage.tables.database import insert, insert_of, parameter
from storage.tables.schema import jobs

UNCLAIMED: dict[str, Any] = {"worker": None, "lease_until": None}

_NAME = parameter(jobs.c.subject, "name")
_NOW = parameter(jobs.c.not_before, "now")
_LOCK_NAME = select(func.pg_advisory_xact_lock(func.hashtextextended(_NAME, 0)))
_LOCK_SOURCE = select(func.pg_advisory_xact_lock(func.hashtextextended(_NAME, 1)))
_LOCK_SOURCE_SHARED = select(func.pg_advisory_xact_lock_shared(func.hashtextextended(_NAME, 1)))
_LOCK_REPORT_JOB = (
    select(jobs.c.id)
    .where(jobs.c.kind == JobKind.REPORT, jobs.c.subject == _NAME)
    .with_for_update()
)


def lock_study(connection: Connection, study: StudyKey) -> None:
    """Lock a study against other transactions until this transaction ends.

    A transaction that receives, analyses or purges takes this lock before any row lock. The lock is
    the row of the study's REPORT job. A new study has no such row, so a server also locks its name.
    """
    if connection.dialect.name == "postgresql":
        connection.execute(_LOCK_NAME, {"name": study.subject})
    connection.execute(_LOCK_REPORT_JOB, {"name": study.subject})


def lock_studies(connection: Connection, studies: Iterable[StudyKey]) -> None:
    """Lock several studies, always in one order: no two transactions wait for each other."""
    for study in sorted(set(studies), key=lambda study: study.subject):
        lock_study(connection, study)


def lock_source(connection: Connection, source: str, *, shared: bool) -> None:
    """Lock a source until this transaction ends, against others that lock it not `shared`.

    A rejection waits for the receptions of its source: neither of the two sees what the other adds.
    Each takes this lock before that of a study. SQLite has one writer at a time.
    """
    if connection.dialect.name == "postgresql":
        connection.execute(_LOCK_SOURCE_SHARED if shared else _LOCK_SOURCE, {"name": source})


def enqueue(
    connection: Connection,
    kind: JobKind,
    subject: str,
    *,
    now: datetime,
    not_before: datetime,
    lane: str | None = None,
) -> None:
    """Add a job due at `not_before`, or touch the existing job."""
    new = _new_job(kind, subject, now=now, not_before=not_before, lane=lane)
    connection.execute(_enqueue(connection.dialect.name), new)


@functools.cache
def _enqueue(dialect: str) -> Executable:
    statement = insert_of(dialect, jobs)
    new = statement.excluded
    return statement.on_conflict_do_update(
        index_elements=["kind", "subject"], set_=_touched(new.updated_at, new.not_before)
    )


def enqueue_once(
    connection: Connection, kind: JobKind, subject: str, *, now: datetime, lane: str | None = None
) -> int | None:
    """Add a job due now and return its number; return None if the job exists, and leave it."""
    new = _new_job(kind, subject, now=now, not_before=now, lane=lane)
    added: int | None = connection.scalar(
        insert(connection, jobs).values(new).on_conflict_do_nothing().returning(jobs.c.id)
    )
    return added


def reopen(
    connection: Connection,
    kind: JobKind,
    subject: str,
    *,
    now: datetime,
    ended: Collection[JobState],
) -> bool:
    """Touch a job in one of the states `ended`, and return True; leave a job in another state.

    A running job that was touched with a later `not_before`, such as the end of the quiet time,
    keeps that time.
    """
    named = {"job_kind": kind, "name": subject, "now": now, "ended": tuple(ended)}
    return connection.execute(_REOPEN, named).rowcount > 0


def advance(
    connection: Connection, kind: JobKind, subject: str, *, now: datetime, due: datetime
) -> None:
    """Make a queued job due at `due` if it would be due later; leave a job that waits to retry."""
    connection.execute(_ADVANCE, {"job_kind": kind, "name": subject, "now": now, "due": due})


def settle(
    connection: Connection,
    job: Job,
    state: JobState,
    *,
    now: datetime,
    not_before: datetime | None = None,
    attempts: int | None = None,
    error: str | None = None,
) -> None:
    """End a run with `state`, or queue a job touched meanwhile. Raises LeaseLostError."""
    outcome = {
        jobs.c.state: (state, JobState.QUEUED),
        jobs.c.not_before: (not_before or job.not_before, jobs.c.not_before),
        jobs.c.attempts: (job.attempts if attempts is None else attempts, 0),
    }
    was_touched = jobs.c.generation != job.generation
    settled = connection.execute(
        update(jobs)
        .where(is_held(job))
        .values(
            {
                column: case((was_touched, touched), else_=literal(untouched, column.type))
                for column, (untouched, touched) in outcome.items()
            }
        )
        .values(last_error=error, updated_at=now, **UNCLAIMED)
    )
    if settled.rowcount == 0:
        raise LeaseLostError(f"job {job.id} was given to another worker: nothing was recorded")


def was_touched(connection: Connection, job: Job) -> bool:
    """Return True if a job was touched since its claim. The caller has locked its study."""
    generation = connection.scalar(select(jobs.c.generation).where(jobs.c.id == job.id))
    return generation != job.generation


def is_held(job: Job) -> ColumnElement[bool]:
    """Return the condition that the claim of `job` still holds the job."""
    return and_(jobs.c.id == job.id, jobs.c.state == JobState.RUNNING, jobs.c.claims == job.claims)


def _new_job(
    kind: JobKind, subject: str, *, now: datetime, not_before: datetime, lane: str | None
) -> dict[str, Any]:
    return {
        "kind": kind,
        "subject": subject,
        "lane": lane,
        "state": JobState.QUEUED,
        "attempts": 0,
        "generation": 1,
        "claims": 0,
        "not_before": not_before,
        "created_at": now,
        "updated_at": now,
    }


def _touched(now: ColumnElement[datetime], not_before: ColumnElement[datetime]) -> dict[str, Any]:
    runs = jobs.c.state == JobState.RUNNING
    return {
        "generation": jobs.c.generation + 1,
        "state": case((runs, jobs.c.state), else_=literal(JobState.QUEUED, jobs.c.state.type)),
        "attempts": case((runs, jobs.c.attempts), else_=0),
        "not_before": not_before,
        "updated_at": now,
    }


_ADVANCE = (
    update(jobs)
    .where(
        jobs.c.kind == parameter(jobs.c.kind, "job_kind"),
        jobs.c.subject == _NAME,
        jobs.c.state == JobState.QUEUED,
        jobs.c.attempts == 0,
        jobs.c.not_before > parameter(jobs.c.not_before, "due"),
    )
    .values(
        not_before=parameter(jobs.c.not_before, "due"),
        updated_at=parameter(jobs.c.updated_at, "now"),
    )
)
_REOPEN = (
    update(jobs)
    .where(
        jobs.c.kind == parameter(jobs.c.kind, "job_kind"),
        jobs.c.subject == _NAME,
        jobs.c.state.in_(bindparam("ended", type_=jobs.c.state.type, expanding=True)),
    )
    .values(
        _touched(
            _NOW,
            case(
                (
                    and_(jobs.c.state == JobState.RUNNING, jobs.c.not_before > _NOW),
                    jobs.c.not_before,
                ),
                else_=_NOW,
            ),
        )
    )
)
