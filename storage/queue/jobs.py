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
from typing import Any

from sqlalchemy import ColumnElement, Connection, Executable, func, or_, select, update

from storage.audit.records import AuditEntry, AuditKind, AuditOutcome, subject_of
from storage.audit.trail import append
from storage.errors import (
    ChangedMeanwhileError,
    JobEndedError,
    JobRunningError,
    UnknownJobError,
)
from storage.queue.claims import claim_one, claim_some, first_due, place
from storage.queue.seen import SeenJob, change_of
from storage.queue.transitions import UNCLAIMED, enqueue, is_held, settle
from storage.records import PRIORS_OF, Job, JobKind, JobState, Priority, StudyKey
from storage.summaries.keep import summarise_jobs
from storage.tables.database import Database
from storage.tables.schema import QUEUED_JOBS, jobs, objects

CLOCK_TOLERANCE = timedelta(seconds=60)
"""Clock difference allowed between machines that share a store."""

RETRY_SPAN = timedelta(minutes=5)

MAX_WAIT = timedelta(minutes=30)
"""The time for which an ordinary job is due at most before it goes before STAT."""

_STUDY_KINDS = frozenset({JobKind.ANALYSE, JobKind.REPORT})


class Jobs:
    """The queue, for workers and operators."""

    def __init__(
        self,
        database: Database,
        clock: Callable[[], datetime],
        max_wait: timedelta = MAX_WAIT,
    ) -> None:
        self._database = database
        self._now = clock
        self._max_wait = max_wait
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
        priority: int | None = None,
    ) -> None:
        """Add a job, due now by default, or touch the existing job.

        A job that waits or runs is raised to `priority`, never lowered; None changes none.
        """
        now = self._now()
        with self._database.writing() as connection:
            enqueue(
                connection,
                kind,
                subject,
                now=now,
                not_before=not_before or now,
                lane=lane,
                priority=priority,
            )
            summarise_jobs(connection, _named(connection, kind, subject))

    def claim(
        self, kinds: Collection[JobKind], worker: str, lease: timedelta, lane: str | None = None
    ) -> Job | None:
        """Claim the next job that is due, in any lane or in the given lane.

        That is the ordinary job that has been due longest, if that is longer than the longest wait;
        otherwise the STAT job, and without one the ordinary job, that has been due longest. Two
        workers never get the same job, and a worker does not wait for another. The claim counts as
        an attempt, so that a job that kills its workers is recognised.
        """
        statement = claim_one(tuple(kinds), lane is not None) if kinds else None
        claimed = self._claim(statement, worker, lease, lane)
        return claimed[0] if claimed else None

    def claim_some(
        self,
        kinds: Collection[JobKind],
        worker: str,
        lease: timedelta,
        limit: int,
        lane: str | None = None,
    ) -> tuple[Job, ...]:
        """Claim the next jobs that are due, at most `limit`, as `claim` does; in their order."""
        dialect = self._database.engine.dialect.name
        statement = claim_some(dialect, tuple(kinds), lane is not None) if kinds else None
        return self._claim(statement, worker, lease, lane, most=limit)

    def _claim(
        self,
        statement: Executable | None,
        worker: str,
        lease: timedelta,
        lane: str | None,
        **further: int,
    ) -> tuple[Job, ...]:
        if statement is None:
            return ()
        now = self._now()
        late = now - self._max_wait
        named = {
            "now": now,
            "late": late,
            "of_lane": lane,
            "claimed_by": worker,
            "held_until": now + lease,
            **further,
        }
        with self._database.writing() as connection:
            claimed = [Job(**row) for row in connection.execute(statement, named).mappings()]
        if self._on_claim is not None:
            for job in claimed:
                self._on_claim(job, now - job.not_before)
        return tuple(
            sorted(
                claimed,
                key=lambda job: (
                    place(job.priority, job.not_before <= late),
                    job.not_before,
                    job.id,
                ),
            )
        )

    def heartbeat(self, job: Job, lease: timedelta) -> bool:
        """Renew the lease of a job from now; return False if the lease is lost."""
        statement = update(jobs).where(is_held(job)).values(lease_until=self._now() + lease)
        with self._database.writing() as connection:
            return connection.execute(statement).rowcount == 1

    def finish(self, job: Job) -> None:
        """Settle the job as done. Raises LeaseLostError."""
        with self._database.writing() as connection:
            settle(connection, job, JobState.DONE, now=self._now())
            if job.kind in _STUDY_KINDS:
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

    def set_priority(
        self, job_id: int, priority: Priority, actor: str = "", *, host: str = ""
    ) -> Job:
        """Change the priority of a job. Raises UnknownJobError, JobRunningError, JobEndedError.

        `actor` and `host` are those of `retry`.
        """
        changed = {"priority": int(priority), "updated_at": jobs.c.updated_at}
        ended = (JobState.DONE, JobState.DISCARDED)
        word = priority.name.lower()
        entry = AuditEntry(AuditKind.JOB_PRIORITY_CHANGED, actor=actor, host=host, detail=word)
        return self._change(job_id, changed, self._now(), entry, None, ended)

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
        query = first_due(tuple(kinds), lane is not None)
        with self._database.reading() as connection:
            found = connection.execute(query, {"of_lane": lane}).one()
        return min((due for due in found if due is not None), default=None)

    def last_retry(self, kinds: Collection[JobKind], lane: str) -> datetime | None:
        """Return when a job of this lane that is due was last queued again, by hand as a rule.

        Only the RETRY_SPAN before now counts, so that the query reads few rows of a long queue.
        """
        now = self._now()
        query = select(func.max(jobs.c.updated_at)).where(
            QUEUED_JOBS,
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
            .values({"updated_at": now, **values})
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
                detail = f"{changed.kind}: {act.detail}" if act.detail else changed.kind
                append(connection, replace(act, subject=subject, detail=detail), now)
                return changed
        job = self.get(job_id)
        if seen is not None:
            with self._database.reading() as connection:
                change = change_of(connection, job, seen)
            if change is not None:
                raise ChangedMeanwhileError(change)
        if job.state in refused:
            verb = "discard" if act.kind is AuditKind.JOB_DISCARDED else "change"
            raise JobEndedError(f"{job.kind} job {job.id} is {job.state}: nothing to {verb}")
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
        case JobKind.COMMIT | JobKind.RETRIEVE:
            return subject_of(job=job.id, study=uid.removeprefix(PRIORS_OF))
        case JobKind.PERFORM:
            return subject_of(job=job.id, workitem=uid)
        case JobKind.ANALYSE | JobKind.ANSWER:
            return subject_of(job=job.id)
