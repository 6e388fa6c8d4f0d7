"""The views of jobs: a page of the list, and one job with its history."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime

from daemon.web.overview.rows import ParkedRow
from daemon.worker.logs.redaction import without_comment
from storage.audit.records import AuditRow
from storage.queue.listing import DeliveryFacts, JobFilter, JobSort
from storage.queue.seen import SeenJob
from storage.records import JobKind, JobState, ListedJob, Priority

TASKS: Mapping[JobKind, str] = {
    JobKind.ANALYSE: "reads one film and analyses it",
    JobKind.REPORT: "reports one study",
    JobKind.DELIVER: "sends one object to a destination",
    JobKind.COMMIT: "asks a destination to commit to the results of a study",
    JobKind.ANSWER: "answers a peer's request for storage commitment",
    JobKind.RETRIEVE: "fetches a study from an archive",
    JobKind.PERFORM: "performs a workitem of a worklist",
}


@dataclass(frozen=True, slots=True)
class JobRow:
    """A job of the list. `error` has no words of another node: they may name a patient.

    `priority` is stat, routine or backfill. `seen` is the state of the job, to send back with an
    act on it.
    """

    number: int
    state: JobState
    kind: JobKind
    priority: str
    destination: str
    study_instance_uid: str
    source: str
    accession_number: str
    attempts: int
    error: str
    due_at: datetime
    created_at: datetime
    changed_at: datetime
    seen: str

    @classmethod
    def of(cls, listed: ListedJob) -> "JobRow":
        """Return the row of a job."""
        job = listed.job
        return cls(
            number=job.id,
            state=job.state,
            kind=job.kind,
            priority=Priority(job.priority).name.lower(),
            destination=job.lane or "",
            study_instance_uid=listed.study_instance_uid,
            source=listed.source,
            accession_number=listed.accession_number,
            attempts=job.attempts,
            error=without_comment(job.last_error or ""),
            due_at=job.not_before,
            created_at=job.created_at,
            changed_at=job.updated_at,
            seen=str(SeenJob.of(job)),
        )


@dataclass(frozen=True, slots=True)
class JobsView:
    """A page of jobs.

    Attributes:
        filter: the conditions of the list.
        sort: the order that was used; a long list has the order of urgency whatever was asked.
        descending: the direction of that order.
        page: the number of this page, from 1.
        pages: the number of pages.
        total: the number of jobs of the list.
        is_partial: True if only the jobs due last were searched for the error.
        jobs: the jobs of this page.
        parked: all parked jobs by reason, the largest group first.
    """

    filter: JobFilter
    sort: JobSort
    descending: bool
    page: int
    pages: int
    total: int
    is_partial: bool
    jobs: tuple[JobRow, ...]
    parked: tuple[ParkedRow, ...]


@dataclass(frozen=True, slots=True)
class JobEvent:
    """Something that happened to a job; `actor` is a person, a worker or a destination."""

    at: datetime
    event: str
    actor: str = ""
    host: str = ""
    detail: str = ""


@dataclass(frozen=True, slots=True)
class JobView:
    """One job with its history, oldest event first.

    `error` is the whole last error for a caller who may read the words of other nodes, and else
    the error without them; `is_cut` is True then.
    """

    job: JobRow
    task: str
    subject: str
    worker: str
    lease_until: datetime | None
    error: str
    is_cut: bool
    delivery: DeliveryFacts | None
    history: tuple[JobEvent, ...]


def job_view(
    listed: ListedJob,
    delivery: DeliveryFacts | None,
    events: tuple[AuditRow, ...],
    *,
    with_comments: bool,
) -> JobView:
    """Return the view of a job; `with_comments` shows the words of other nodes."""
    job = listed.job
    whole = job.last_error or ""
    shown = whole if with_comments else without_comment(whole)
    return JobView(
        job=JobRow.of(listed),
        task=TASKS[job.kind],
        subject=job.subject,
        worker=job.worker or "",
        lease_until=job.lease_until,
        error=shown,
        is_cut=shown != whole,
        delivery=delivery,
        history=_history(listed, delivery, events),
    )


def _history(
    listed: ListedJob, delivery: DeliveryFacts | None, events: tuple[AuditRow, ...]
) -> tuple[JobEvent, ...]:
    job = listed.job
    found = [JobEvent(job.created_at, "queued first")]
    for row in events:
        at = datetime.fromisoformat(row.recorded_at)
        found.append(
            JobEvent(
                at, row.kind.replace("_", " "), row.actor, row.host, without_comment(row.detail)
            )
        )
    if delivery is not None and delivery.delivered_at is not None:
        status = "" if delivery.dimse_status is None else f"status 0x{delivery.dimse_status:04X}"
        found.append(JobEvent(delivery.delivered_at, "delivered", job.lane or "", detail=status))
    if delivery is not None and delivery.committed_at is not None:
        found.append(JobEvent(delivery.committed_at, "committed", job.lane or ""))
    found.append(JobEvent(job.updated_at, f"last change: {job.state}", job.worker or ""))
    return tuple(sorted(found, key=lambda event: event.at))
