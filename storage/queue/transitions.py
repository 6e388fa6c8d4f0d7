"""State changes of jobs: statements for use inside a transaction."""

import functools
from collections.abc import Collection, Iterable
from datetime import datetime
from typing import Any

from sqlalchemy import (
    ColumnElement,
    Connection,
    Executable,
    Update,
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

_ENDED = (JobState.DONE, JobState.DISCARDED)
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
    priority: int | None = None,
) -> int:
    """Add a job due at `not_before`, or touch the existing job; return its priority.

    A job that has not ended is raised to `priority`, never lowered. None leaves that of an existing
    job.
    """
    new = _new_job(kind, subject, now=now, not_before=not_before, lane=lane, priority=priority or 0)
    statement = _enqueue(connection.dialect.name, priority is not None)
    has: int = connection.execute(statement, new).scalar_one()
    return has


@functools.cache
def _enqueue(dialect: str, with_priority: bool) -> Executable:
    statement = insert_of(dialect, jobs)
    new = statement.excluded
    changes = _touched(new.updated_at, new.not_before)
    if with_priority:
        is_new = jobs.c.state.in_(_ENDED) | (jobs.c.priority < new.priority)
        changes["priority"] = case((is_new, new.priority), else_=jobs.c.priority)
    return statement.on_conflict_do_update(
        index_elements=["kind", "subject"], set_=changes
    ).returning(jobs.c.priority)


def enqueue_once(
    connection: Connection,
    kind: JobKind,
    subject: str,
    *,
    now: datetime,
    lane: str | None = None,
    priority: int = 0,
) -> int | None:
    """Add a job due now and return its number; return None if the job exists, and leave it."""
    new = _new_job(kind, subject, now=now, not_before=now, lane=lane, priority=priority)
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
    settled = connection.execute(
        _SETTLE,
        {
            "number": job.id,
            "claim": job.claims,
            "claimed": job.generation,
            "end": state,
            "due": not_before or job.not_before,
            "tried": job.attempts if attempts is None else attempts,
            "error": error,
            "now": now,
        },
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
    kind: JobKind,
    subject: str,
    *,
    now: datetime,
    not_before: datetime,
    lane: str | None,
    priority: int,
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
        "priority": priority,
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


def _settled() -> Update:
    """Return the statement that ends a run; a job touched since its claim is queued again."""
    outcome = {
        jobs.c.state: (parameter(jobs.c.state, "end"), literal(JobState.QUEUED, jobs.c.state.type)),
        jobs.c.not_before: (parameter(jobs.c.not_before, "due"), jobs.c.not_before),
        jobs.c.attempts: (parameter(jobs.c.attempts, "tried"), literal(0)),
    }
    is_touched = jobs.c.generation != parameter(jobs.c.generation, "claimed")
    return (
        update(jobs)
        .where(
            jobs.c.id == parameter(jobs.c.id, "number"),
            jobs.c.state == JobState.RUNNING,
            jobs.c.claims == parameter(jobs.c.claims, "claim"),
        )
        .values(
            {
                column: case((is_touched, touched), else_=untouched)
                for column, (untouched, touched) in outcome.items()
            }
        )
        .values(
            last_error=parameter(jobs.c.last_error, "error"),
            updated_at=_NOW,
            **UNCLAIMED,
        )
    )


_SETTLE = _settled()
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
