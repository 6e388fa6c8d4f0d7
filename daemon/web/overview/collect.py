"""Collects the contents of the status page from the store, without patient data.

The page names jobs and images by number. The text of an error is redacted: UIDs and the words of
the other node may identify a patient.
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from cxr_model.finding_text import NOT_CALIBRATED
from daemon.config.settings import Config
from daemon.web.health.checks import HealthReport, Level, Part
from daemon.worker.redaction import redact
from storage.records import HeldStudy, InstanceState, Job, JobKind, JobState
from storage.status import JobGroup, LaneError, ModelIdentity, RecentInstance
from storage.store import Store

RECENT_IMAGES = 50
PARKED_JOBS = 20


@dataclass(frozen=True, slots=True)
class QueueRow:
    """The jobs of one kind by state, and for how long the first has been due."""

    kind: JobKind
    counts: Mapping[JobState, int]
    waited: timedelta | None


@dataclass(frozen=True, slots=True)
class ParkedJob:
    """A job that waits for an operator."""

    number: int
    task: str
    attempts: int
    since: datetime
    reason: str


@dataclass(frozen=True, slots=True)
class DoubtfulStudy:
    """A study that is held: its reason, and the numbers of its images by patient."""

    source: str
    reason: str
    since: datetime
    patients: tuple[tuple[int, ...], ...]


@dataclass(frozen=True, slots=True)
class DestinationRow:
    """The deliveries to one destination."""

    name: str
    configured: bool
    delivered: int
    waiting: int
    parked: int
    error: LaneError | None


@dataclass(frozen=True, slots=True)
class PartRow:
    """A role, port or certificate of this host, for the page."""

    name: str
    level: Level
    since: datetime | None
    restarts: int | None
    detail: str


@dataclass(frozen=True, slots=True)
class Overview:
    """The contents of the page."""

    made_at: datetime
    health: HealthReport
    parts: tuple[PartRow, ...]
    queue: tuple[QueueRow, ...]
    doubtful: tuple[DoubtfulStudy, ...]
    parked: tuple[ParkedJob, ...]
    parked_count: int
    destinations: tuple[DestinationRow, ...]
    instance_counts: Mapping[InstanceState, int]
    images: tuple[RecentInstance, ...]
    model: ModelIdentity | None

    @property
    def calibration(self) -> str:
        """Words on the calibration of the model; empty if its newest image has no note on it."""
        is_noted = self.model is not None and NOT_CALIBRATED in self.model.notes
        return "not calibrated" if is_noted else ""


def collect_overview(config: Config, store: Store, health: HealthReport, now: datetime) -> Overview:
    """Return the contents of the page. Raises StorageError."""
    groups = store.status.job_counts()
    return Overview(
        made_at=now,
        health=health,
        parts=_part_rows(health),
        queue=tuple(_queue_row(store, groups, kind, now) for kind in JobKind),
        doubtful=tuple(_doubtful(study) for study in store.studies.held()),
        parked=tuple(
            _parked(job) for job in store.jobs.list(state=JobState.PARKED, limit=PARKED_JOBS)
        ),
        parked_count=sum(
            count for group, count in groups.items() if group.state is JobState.PARKED
        ),
        destinations=_destinations([peer.name for peer in config.destinations], store, groups),
        instance_counts=store.status.instance_counts(),
        images=store.status.recent_instances(RECENT_IMAGES),
        model=store.status.latest_model(),
    )


def _part_rows(health: HealthReport) -> tuple[PartRow, ...]:
    statuses = {status.role.value: status for status in health.roles}
    rows = []
    for check in health.of(Part.ROLE, Part.PORT, Part.CERTIFICATE):
        status = statuses.get(check.subject) if check.part is Part.ROLE else None
        detail = check.detail
        if check.part is Part.CERTIFICATE and not detail:
            detail = f"ends on {health.certificates[check.subject].not_after:%Y-%m-%d}"
        rows.append(
            PartRow(
                name=check.name,
                level=check.level,
                since=status.since if status is not None else None,
                restarts=status.restarts if status is not None else None,
                detail=detail,
            )
        )
    return tuple(rows)


def _queue_row(
    store: Store, groups: Mapping[JobGroup, int], kind: JobKind, now: datetime
) -> QueueRow:
    counts = Counter(dict.fromkeys(JobState, 0))
    for group, count in groups.items():
        if group.kind is kind:
            counts[group.state] += count
    due = store.jobs.next_due((kind,))
    return QueueRow(kind, counts, now - due if due is not None and due < now else None)


def _doubtful(study: HeldStudy) -> DoubtfulStudy:
    patients = tuple(tuple(film.number for film in films) for films in study.patients)
    return DoubtfulStudy(study.key.source, study.hold.reason, study.since, patients)


def _parked(job: Job) -> ParkedJob:
    task = f"{job.kind} to {job.lane}" if job.lane else str(job.kind)
    reason = redact(job.last_error or "no reason recorded")
    return ParkedJob(job.id, task, job.attempts, job.updated_at, reason)


def _destinations(
    configured: Sequence[str], store: Store, groups: Mapping[JobGroup, int]
) -> tuple[DestinationRow, ...]:
    """Return the configured destinations, then former ones that still have deliveries."""
    counts: Counter[tuple[str, JobState]] = Counter()
    for group, count in groups.items():
        if group.lane is not None and group.kind is JobKind.DELIVER:
            counts[group.lane, group.state] += count
    names = list(dict.fromkeys([*configured, *sorted(lane for lane, _ in counts)]))
    errors = store.status.lane_errors(names)
    return tuple(
        DestinationRow(
            name=name,
            configured=name in configured,
            delivered=counts[name, JobState.DONE],
            waiting=counts[name, JobState.QUEUED] + counts[name, JobState.RUNNING],
            parked=counts[name, JobState.PARKED],
            error=_redacted(errors.get(name)),
        )
        for name in names
    )


def _redacted(error: LaneError | None) -> LaneError | None:
    return LaneError(redact(error.error), error.at) if error is not None else None
