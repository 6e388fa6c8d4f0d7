"""The queue: one row per kind and subject, claimed under a lease, settled exactly once.

    queued → running → done
       ↑        ├────→ parked      (gave up; waits for a person)
       └────────┴────→ queued      (retry, postponed, or its worker is gone)

Touching a job asks for it again. A touch that comes while the job runs is not lost: when that
run is settled, however it ended, the job is queued once more. A worker holds its job through the
number of the claim; once the job was taken away, nothing that worker brings is recorded.
"""

from collections.abc import Callable, Collection
from datetime import datetime, timedelta
from typing import Any, TypeVarTuple

from sqlalchemy import ColumnElement, Connection, Select, func, or_, select, update

from storage.audit.records import AuditEntry, AuditKind, AuditOutcome, subject_of
from storage.audit.trail import append
from storage.errors import JobRunningError, UnknownJobError
from storage.queue.transitions import UNCLAIMED, enqueue, held, settle
from storage.records import Job, JobKind, JobState
from storage.tables.database import Database
from storage.tables.schema import jobs, objects

CLOCK_TOLERANCE = timedelta(seconds=60)

_Row = TypeVarTuple("_Row")


class Jobs:
    """The queue as workers and people see it."""

    def __init__(self, database: Database, clock: Callable[[], datetime]) -> None:
        self._database = database
        self._now = clock

    def enqueue(
        self,
        kind: JobKind,
        subject: str,
        *,
        not_before: datetime | None = None,
        lane: str | None = None,
    ) -> None:
        """Add a job, due now unless told, or touch the one there is."""
        now = self._now()
        with self._database.writing() as connection:
            enqueue(connection, kind, subject, now=now, not_before=not_before or now, lane=lane)

    def claim(
        self, kinds: Collection[JobKind], worker: str, lease: timedelta, lane: str | None = None
    ) -> Job | None:
        """Take the job that has been due longest, of any lane unless one is named.

        No two workers get the same job, and none waits for another. The attempt counts from here,
        so that a job which kills its workers can be told.
        """
        now = self._now()
        due = (
            _in_turn(select(jobs.c.id), kinds, lane)
            .where(jobs.c.not_before <= now)
            .with_for_update(skip_locked=True)
        )
        statement = (
            update(jobs)
            .where(jobs.c.id == due.scalar_subquery())
            .values(
                state=JobState.RUNNING,
                attempts=jobs.c.attempts + 1,
                claims=jobs.c.claims + 1,
                worker=worker,
                lease_until=now + lease,
                updated_at=now,
            )
            .returning(*jobs.c)
        )
        with self._database.writing() as connection:
            row = connection.execute(statement).mappings().first()
        return Job(**row) if row else None

    def heartbeat(self, job: Job, lease: timedelta) -> bool:
        """Hold the job for `lease` from now; False when it was taken away."""
        statement = update(jobs).where(held(job)).values(lease_until=self._now() + lease)
        with self._database.writing() as connection:
            return connection.execute(statement).rowcount == 1

    def finish(self, job: Job) -> None:
        """The job is done. Raises LeaseLostError."""
        with self._database.writing() as connection:
            settle(connection, job, JobState.DONE, now=self._now())

    def fail(self, job: Job, error: str, retry_at: datetime | None, *, audited: str = "") -> None:
        """The run failed: try again then, or park the job. Raises LeaseLostError.

        `audited` is what the audit trail says of the reason: nothing that may name a patient.
        """
        now = self._now()
        state = JobState.PARKED if retry_at is None else JobState.QUEUED
        with self._database.writing() as connection:
            settle(connection, job, state, now=now, not_before=retry_at, error=error)
            if state is JobState.PARKED:
                append(connection, parked(connection, job, audited), now)

    def postpone(self, job: Job, until: datetime, error: str | None = None) -> None:
        """It is too early for the job, for a reason or none; this was no attempt.

        Raises LeaseLostError.
        """
        with self._database.writing() as connection:
            settle(
                connection,
                job,
                JobState.QUEUED,
                now=self._now(),
                not_before=until,
                attempts=job.attempts - 1,
                error=error or job.last_error,
            )

    def reclaim(self) -> tuple[Job, ...]:
        """Queue the jobs whose lease has run out, and return them."""
        now = self._now()
        overdue = or_(jobs.c.lease_until < now, jobs.c.lease_until.is_(None))
        return self._requeue(overdue, "its worker stopped answering", now)

    def release(self, worker: str) -> int:
        """Queue what a worker that has ended still held, and say how many jobs that was."""
        return len(self._requeue(jobs.c.worker == worker, "its worker ended", self._now()))

    def _requeue(self, which: ColumnElement[bool], error: str, now: datetime) -> tuple[Job, ...]:
        statement = (
            update(jobs)
            .where(jobs.c.state == JobState.RUNNING, which)
            .values(state=JobState.QUEUED, last_error=error, updated_at=now, **UNCLAIMED)
            .returning(*jobs.c)
        )
        with self._database.writing() as connection:
            return tuple(Job(**row) for row in connection.execute(statement).mappings())

    def put_clock_right(self) -> int:
        """Bring forward what was timed by a clock that was set back since; how many jobs that was.

        A job written in what is now the future keeps its wait and its lease, counted from now.
        Machines that share a store may differ by a minute.
        """
        now = self._now()
        query = select(jobs).where(
            jobs.c.state.in_((JobState.QUEUED, JobState.RUNNING)),
            jobs.c.updated_at > now + CLOCK_TOLERANCE,
        )
        with self._database.writing() as connection:
            moved = 0
            for row in connection.execute(query).all():
                step = row.updated_at - now
                moved += connection.execute(
                    update(jobs)
                    # Unless it was claimed, or its claim ended, since it was read.
                    .where(
                        jobs.c.id == row.id,
                        jobs.c.state == row.state,
                        jobs.c.claims == row.claims,
                    )
                    .values(
                        not_before=row.not_before - step,
                        lease_until=row.lease_until and row.lease_until - step,
                        updated_at=now,
                    )
                ).rowcount
        return moved

    def retry(self, job_id: int, actor: str = "") -> Job:
        """Queue a job afresh, whatever became of it. Raises UnknownJobError, JobRunningError.

        `actor` is the person who wants it.
        """
        now = self._now()
        fresh = {"state": JobState.QUEUED, "attempts": 0, "not_before": now}
        return self._change(job_id, fresh, now, AuditKind.JOB_RETRIED, actor)

    def discard(self, job_id: int, actor: str = "") -> Job:
        """Set a job aside for good. Raises UnknownJobError, JobRunningError.

        `actor` is the person who wants it.
        """
        fate = {"state": JobState.DISCARDED}
        return self._change(job_id, fate, self._now(), AuditKind.JOB_DISCARDED, actor)

    def subjects(
        self, kind: JobKind, among: Collection[str], states: Collection[JobState]
    ) -> frozenset[str]:
        """Which of these subjects have a job of this kind in one of the states."""
        query = select(jobs.c.subject).where(
            jobs.c.kind == kind, jobs.c.subject.in_(among), jobs.c.state.in_(states)
        )
        with self._database.reading() as connection:
            return frozenset(connection.scalars(query))

    def get(self, job_id: int) -> Job:
        """One job; raises UnknownJobError."""
        with self._database.reading() as connection:
            row = connection.execute(select(jobs).where(jobs.c.id == job_id)).mappings().first()
        if row is None:
            raise UnknownJobError(f"there is no job {job_id}: `cxrd jobs list` shows them")
        return Job(**row)

    def list(
        self, state: JobState | None = None, kind: JobKind | None = None, limit: int | None = 100
    ) -> tuple[Job, ...]:
        """The newest jobs, of one state or kind if told."""
        query = select(jobs).order_by(jobs.c.id.desc()).limit(limit)
        if state is not None:
            query = query.where(jobs.c.state == state)
        if kind is not None:
            query = query.where(jobs.c.kind == kind)
        with self._database.reading() as connection:
            return tuple(Job(**row) for row in connection.execute(query).mappings())

    def counts(self) -> dict[tuple[JobKind, JobState], int]:
        """How many jobs there are of each kind in each state; what there is none of is left out."""
        query = select(jobs.c.kind, jobs.c.state, func.count()).group_by(jobs.c.kind, jobs.c.state)
        with self._database.reading() as connection:
            return {(kind, state): n for kind, state, n in connection.execute(query)}

    def next_due(self, kinds: Collection[JobKind], lane: str | None = None) -> datetime | None:
        """When the next queued job falls due, which may be past; None when nothing is queued."""
        query = _in_turn(select(jobs.c.not_before), kinds, lane)
        with self._database.reading() as connection:
            return connection.scalar(query)

    def _change(
        self, job_id: int, values: dict[str, Any], now: datetime, kind: AuditKind, actor: str
    ) -> Job:
        statement = (
            update(jobs)
            .where(jobs.c.id == job_id, jobs.c.state != JobState.RUNNING)
            .values(**values, updated_at=now)
            .returning(*jobs.c)
        )
        with self._database.writing() as connection:
            row = connection.execute(statement).mappings().first()
            if row is not None:
                changed = Job(**row)
                entry = AuditEntry(
                    kind, actor=actor, subject=_names(connection, changed), detail=changed.kind
                )
                append(connection, entry, now)
                return changed
        job = self.get(job_id)
        raise JobRunningError(f"{job.kind} job {job.id} is running: try again when it is not")


def parked(connection: Connection, job: Job, reason: str) -> AuditEntry:
    """What the audit trail says of a job that waits for a person now."""
    return AuditEntry(
        AuditKind.JOB_PARKED,
        AuditOutcome.FAILURE,
        actor=job.lane or job.worker or "",
        subject=_names(connection, job),
        detail=f"{job.kind}: {reason}" if reason else job.kind,
    )


def _names(connection: Connection, job: Job) -> str:
    """What a job is about."""
    uid = job.subject.partition("@")[0]
    match job.kind:
        case JobKind.DELIVER:
            study = connection.scalar(
                select(objects.c.study_instance_uid).where(objects.c.sop_instance_uid == uid)
            )
            return subject_of(job=job.id, study=study, object=uid)
        case JobKind.REPORT | JobKind.COMMIT:
            return subject_of(job=job.id, study=uid)
        case JobKind.ANALYSE | JobKind.ANSWER:
            return subject_of(job=job.id)


def _in_turn(query: Select[*_Row], kinds: Collection[JobKind], lane: str | None) -> Select[*_Row]:
    """The queued job of these kinds, and of this lane if one is named, that is due first."""
    query = query.where(jobs.c.state == JobState.QUEUED, jobs.c.kind.in_(kinds))
    if lane is not None:
        query = query.where(jobs.c.lane == lane)
    return query.order_by(jobs.c.not_before, jobs.c.id).limit(1)
