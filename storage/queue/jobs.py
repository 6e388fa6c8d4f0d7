"""The job queue: one row per kind and subject, claimed under a lease, settled once per claim.

    queued → running → done
       ↑        ├────→ parked      (failed; waits for the operator)
       └────────┴────→ queued      (retry, postponed, or its worker has exited)

A touch requests a job again. A touch of a running job queues the job again when the run is settled,
whatever its result. A worker identifies its claim by the claim number. After the lease was lost,
the results of that worker are not recorded.
"""

from collections.abc import Callable, Collection
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any, TypeVarTuple

from sqlalchemy import ColumnElement, Connection, Select, func, or_, select, update

from storage.audit.records import AuditEntry, AuditKind, AuditOutcome, subject_of
from storage.audit.trail import append
from storage.errors import (
    ChangedMeanwhileError,
    JobEndedError,
    JobRunningError,
    UnknownJobError,
)
from storage.queue.seen import SeenJob, change_of
from storage.queue.transitions import UNCLAIMED, enqueue, is_held, settle
from storage.records import Job, JobKind, JobState, StudyKey
from storage.summaries.keep import summarise_jobs
from storage.tables.database import Database
from storage.tables.schema import jobs, objects

CLOCK_TOLERANCE = timedelta(seconds=60)
"""Clock difference allowed between machines that share a store."""

RETRY_SPAN = timedelta(minutes=5)

_WITHOUT_LANE = frozenset({JobKind.ANALYSE, JobKind.REPORT})

_Columns = TypeVarTuple("_Columns")


class Jobs:
    """The queue, for workers and operators."""

    def __init__(self, database: Database, clock: Callable[[], datetime]) -> None:
        self._database = database
        self._now = clock
        self._on_claim: Callable[[Job, timedelta], object] | None = None

    def watch_claims(self, on_claim: Callable[[Job, timedelta], object]) -> None:
        """Call `on_claim` with each job that is claimed here, and the time it has been due."""
        self._on_claim = on_claim

    def enqueue(
        self,
        kind: JobKind,
        subject: str,
        *,
        not_before: datetime | None = None,
        lane: str | None = None,
    ) -> None:
        """Add a job, due now by default, or touch the existing job."""
        now = self._now()
        with self._database.writing() as connection:
            enqueue(connection, kind, subject, now=now, not_before=not_before or now, lane=lane)
            summarise_jobs(connection, _named(connection, kind, subject))

    def claim(
        self, kinds: Collection[JobKind], worker: str, lease: timedelta, lane: str | None = None
    ) -> Job | None:
        """Claim the job that is due longest, in any lane or in the given lane.

        Two workers never get the same job, and a worker does not wait for another. The claim counts
        as an attempt, so that a job that kills its workers is recognised.
        """
        claimed = self.claim_some(kinds, worker, lease, 1, lane)
        return claimed[0] if claimed else None

    def claim_some(
        self,
        kinds: Collection[JobKind],
        worker: str,
        lease: timedelta,
        limit: int,
        lane: str | None = None,
    ) -> tuple[Job, ...]:
        """Claim the jobs that are due longest, at most `limit`, as `claim` does; in their order."""
        now = self._now()
        due = (
            _first_due(select(jobs.c.id), kinds, lane, limit)
            .where(jobs.c.not_before <= now)
            .with_for_update(skip_locked=True)
            # A server evaluates it once: a subquery could be evaluated again, and claim more.
            .cte("due")
        )
        statement = (
            update(jobs)
            .where(jobs.c.id.in_(select(due.c.id)))
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
            claimed = [Job(**row) for row in connection.execute(statement).mappings()]
        if self._on_claim is not None:
            for job in claimed:
                self._on_claim(job, now - job.not_before)
        return tuple(sorted(claimed, key=lambda job: (job.not_before, job.id)))

    def heartbeat(self, job: Job, lease: timedelta) -> bool:
        """Renew the lease of a job from now; return False if the lease is lost."""
        statement = update(jobs).where(is_held(job)).values(lease_until=self._now() + lease)
        with self._database.writing() as connection:
            return connection.execute(statement).rowcount == 1

    def finish(self, job: Job) -> None:
        """Settle the job as done. Raises LeaseLostError."""
        with self._database.writing() as connection:
            settle(connection, job, JobState.DONE, now=self._now())
            if job.kind in _WITHOUT_LANE:
                summarise_jobs(connection, [job])

    def fail(self, job: Job, error: str, retry_at: datetime | None, *, audited: str = "") -> None:
        """Settle a failed run: retry the job at `retry_at`, or park it. Raises LeaseLostError.

        `audited` is the reason for the audit trail, which must not name a patient.
        """
        now = self._now()
        state = JobState.PARKED if retry_at is None else JobState.QUEUED
        with self._database.writing() as connection:
            settle(connection, job, state, now=now, not_before=retry_at, error=error)
            if state is JobState.PARKED:
                summarise_jobs(connection, [job])
                append(connection, parked_entry(connection, job, audited), now)

    def postpone(self, job: Job, until: datetime, error: str | None = None) -> None:
        """Queue the job again for `until`, without counting an attempt. Raises LeaseLostError."""
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
        """Queue the jobs with an expired lease, and return them."""
        now = self._now()
        overdue = or_(jobs.c.lease_until < now, jobs.c.lease_until.is_(None))
        return self._requeue(overdue, "its worker stopped answering", now)

    def release(self, worker: str) -> int:
        """Queue the jobs held by a worker that has exited; return their number."""
        return len(self._requeue(jobs.c.worker == worker, "its worker ended", self._now()))

    def _requeue(
        self, condition: ColumnElement[bool], error: str, now: datetime
    ) -> tuple[Job, ...]:
        statement = (
            update(jobs)
            .where(jobs.c.state == JobState.RUNNING, condition)
            .values(state=JobState.QUEUED, last_error=error, updated_at=now, **UNCLAIMED)
            .returning(*jobs.c)
        )
        with self._database.writing() as connection:
            return tuple(Job(**row) for row in connection.execute(statement).mappings())

    def shift_to_clock(self) -> int:
        """Shift jobs scheduled before the clock was set back; return their number.

        A job that was updated in the future keeps its wait and its lease, counted from now.
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
                    # Skips a job that was claimed or settled since it was read.
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

    def retry(
        self, job_id: int, actor: str = "", *, host: str = "", seen: SeenJob | None = None
    ) -> Job:
        """Queue a job again, with its attempts reset. Raises UnknownJobError, JobRunningError.

        `actor` is the user and `host` the address of the user, for the audit trail. With `seen`
        a job that has changed since stays as it is: ChangedMeanwhileError says how.
        """
        now = self._now()
        fresh = {
            "state": JobState.QUEUED,
            "attempts": 0,
            "generation": jobs.c.generation + 1,
            "not_before": now,
        }
        entry = AuditEntry(AuditKind.JOB_RETRIED, actor=actor, host=host)
        return self._change(job_id, fresh, now, entry, seen)

    def discard(
        self, job_id: int, actor: str = "", *, host: str = "", seen: SeenJob | None = None
    ) -> Job:
        """Discard a job permanently. Raises UnknownJobError, JobRunningError, JobEndedError.

        `actor`, `host` and `seen` are those of `retry`.
        """
        discarded = {"state": JobState.DISCARDED}
        ended = (JobState.DONE, JobState.DISCARDED)
        entry = AuditEntry(AuditKind.JOB_DISCARDED, actor=actor, host=host)
        return self._change(job_id, discarded, self._now(), entry, seen, ended)

    def subjects(
        self, kind: JobKind, among: Collection[str], states: Collection[JobState]
    ) -> frozenset[str]:
        """Return those of the subjects that have a job of this kind in one of the states."""
        query = select(jobs.c.subject).where(
            jobs.c.kind == kind, jobs.c.subject.in_(among), jobs.c.state.in_(states)
        )
        with self._database.reading() as connection:
            return frozenset(connection.scalars(query))

    def get(self, job_id: int) -> Job:
        """Return one job. Raises UnknownJobError."""
        with self._database.reading() as connection:
            row = connection.execute(select(jobs).where(jobs.c.id == job_id)).mappings().first()
        if row is None:
            raise UnknownJobError(f"there is no job {job_id}: `cxrd jobs list` shows them")
        return Job(**row)

    def list(
        self, state: JobState | None = None, kind: JobKind | None = None, limit: int | None = 100
    ) -> tuple[Job, ...]:
        """Return the newest jobs, of all states and kinds or of one."""
        query = select(jobs).order_by(jobs.c.id.desc()).limit(limit)
        if state is not None:
            query = query.where(jobs.c.state == state)
        if kind is not None:
            query = query.where(jobs.c.kind == kind)
        with self._database.reading() as connection:
            return tuple(Job(**row) for row in connection.execute(query).mappings())

    def next_due(self, kinds: Collection[JobKind], lane: str | None = None) -> datetime | None:
        """Return when the next queued job is due, possibly in the past, or None without a job."""
        query = _first_due(select(jobs.c.not_before), kinds, lane)
        with self._database.reading() as connection:
            return connection.scalar(query)

    def last_retry(self, kinds: Collection[JobKind], lane: str) -> datetime | None:
        """Return when a job of this lane that is due was last queued again, by hand as a rule.

        Only the RETRY_SPAN before now counts, so that the query reads few rows of a long queue.
        """
        now = self._now()
        query = select(func.max(jobs.c.updated_at)).where(
            jobs.c.state == JobState.QUEUED,
            jobs.c.lane == lane,
            jobs.c.kind.in_(kinds),
            jobs.c.not_before > now - RETRY_SPAN,
            jobs.c.not_before <= jobs.c.updated_at,
            jobs.c.attempts == 0,
            jobs.c.updated_at > jobs.c.created_at,
        )
        with self._database.reading() as connection:
            found: datetime | None = connection.scalar(query)
        return found

    def _change(
        self,
        job_id: int,
        values: dict[str, Any],
        now: datetime,
        act: AuditEntry,
        seen: SeenJob | None,
        refused: Collection[JobState] = (),
    ) -> Job:
        """Change a job that is neither running nor in a refused state; `act` lacks its subject."""
        statement = (
            update(jobs)
            .where(jobs.c.id == job_id, jobs.c.state.not_in((JobState.RUNNING, *refused)))
            .values(**values, updated_at=now)
            .returning(*jobs.c)
        )
        if seen is not None:
            statement = statement.where(seen.is_unchanged())
        with self._database.writing() as connection:
            row = connection.execute(statement).mappings().first()
            if row is not None:
                changed = Job(**row)
                subject = _audit_subject(connection, changed)
                summarise_jobs(connection, [changed])
                append(connection, replace(act, subject=subject, detail=changed.kind), now)
                return changed
        job = self.get(job_id)
        if seen is not None:
            with self._database.reading() as connection:
                change = change_of(connection, job, seen)
            if change is not None:
                raise ChangedMeanwhileError(change)
        if job.state in refused:
            raise JobEndedError(f"{job.kind} job {job.id} is {job.state}: nothing to discard")
        raise JobRunningError(f"{job.kind} job {job.id} is running: try again when it is not")


def _named(connection: Connection, kind: JobKind, subject: str) -> list[Job]:
    query = select(jobs).where(jobs.c.kind == kind, jobs.c.subject == subject)
    return [Job(**row) for row in connection.execute(query).mappings()]


def parked_entry(connection: Connection, job: Job, reason: str) -> AuditEntry:
    """Return the audit entry of a job that was just parked."""
    return AuditEntry(
        AuditKind.JOB_PARKED,
        AuditOutcome.FAILURE,
        actor=job.lane or job.worker or "",
        subject=_audit_subject(connection, job),
        detail=f"{job.kind}: {reason}" if reason else job.kind,
    )


def _audit_subject(connection: Connection, job: Job) -> str:
    """Return the subject of a job for the audit trail."""
    uid = job.subject.partition("@")[0]
    match job.kind:
        case JobKind.DELIVER:
            row = connection.execute(
                select(objects.c.study_instance_uid, objects.c.source).where(
                    objects.c.sop_instance_uid == uid
                )
            ).one_or_none()
            study, source = row if row else (None, None)
            return subject_of(job=job.id, study=study, source=source, object=uid)
        case JobKind.REPORT:
            key = StudyKey.of_subject(job.subject)
            return subject_of(job=job.id, study=key.study_instance_uid, source=key.source)
        case JobKind.COMMIT:
            return subject_of(job=job.id, study=uid)
        case JobKind.ANALYSE | JobKind.ANSWER:
            return subject_of(job=job.id)


def _first_due(
    query: Select[*_Columns], kinds: Collection[JobKind], lane: str | None, limit: int = 1
) -> Select[*_Columns]:
    """Limit a query to the first queued jobs of these kinds and of this lane, if given.

    Kinds without lanes are found in the index by lane, so that a long queue for a destination that
    is down does not slow down the others.
    """
    query = query.where(jobs.c.state == JobState.QUEUED, jobs.c.kind.in_(kinds))
    if lane is not None:
        query = query.where(jobs.c.lane == lane)
    elif set(kinds) <= _WITHOUT_LANE:
        query = query.where(jobs.c.lane.is_(None))
    return query.order_by(jobs.c.not_before, jobs.c.id).limit(limit)
