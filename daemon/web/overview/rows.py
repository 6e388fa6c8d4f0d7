"""The rows of the overview's tables. No row names a patient, a study or an object.

The text of an error is redacted: UIDs and the words of the other node may identify a patient.
"""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from urllib.parse import urlencode

from daemon.web.health.checks import HealthReport, Level, Part
from daemon.worker.logs.redaction import redact
from storage.queue.listing import ParkedGroup
from storage.records import HeldStudy, JobKind, JobState
from storage.status import JobGroup, LaneError
from storage.store import Store

REASON_UNKNOWN = "no reason recorded"


@dataclass(frozen=True, slots=True)
class QueueRow:
    """The jobs of one kind by state, and since when the first of them has been due."""

    kind: JobKind
    counts: Mapping[JobState, int]
    due: datetime | None
    waited: timedelta | None

    @property
    def parked(self) -> int:
        """The number of parked jobs."""
        return self.counts[JobState.PARKED]


@dataclass(frozen=True, slots=True)
class ParkedRow:
    """Parked jobs of one task with one reason; `page` lists them, for viewers."""

    task: str
    reason: str
    count: int
    first_at: datetime
    last_at: datetime
    page: str


@dataclass(frozen=True, slots=True)
class DoubtfulStudy:
    """A study that is held: its reason, and the numbers of its images by patient."""

    source: str
    reason: str
    since: datetime
    patients: tuple[tuple[int, ...], ...]


@dataclass(frozen=True, slots=True)
class DestinationRow:
    """The deliveries to one destination; `page` lists its jobs, for viewers.

    `waiting_since` is the creation time of the oldest delivery that waits.
    """

    name: str
    configured: bool
    delivered: int
    delivered_today: int
    waiting: int
    waiting_since: datetime | None
    parked: int
    last_success: datetime | None
    error: LaneError | None
    page: str


@dataclass(frozen=True, slots=True)
class PartRow:
    """A role, port or certificate of this host."""

    name: str
    level: Level
    since: datetime | None
    restarts: int | None
    detail: str


def part_rows(health: HealthReport) -> tuple[PartRow, ...]:
    """Return the parts of this host."""
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


def queue_row(
    store: Store, groups: Mapping[JobGroup, int], kind: JobKind, now: datetime
) -> QueueRow:
    """Return the counts of one kind of job. Raises StorageError."""
    counts = Counter(dict.fromkeys(JobState, 0))
    for group, count in groups.items():
        if group.kind is kind:
            counts[group.state] += count
    due = store.jobs.next_due((kind,))
    if due is None or due >= now:
        return QueueRow(kind, counts, None, None)
    return QueueRow(kind, counts, due, now - due)


def doubtful_row(study: HeldStudy) -> DoubtfulStudy:
    """Return a held study without its name."""
    patients = tuple(tuple(film.number for film in films) for films in study.patients)
    return DoubtfulStudy(study.key.source, study.hold.reason, study.since, patients)


def parked_rows(groups: Iterable[ParkedGroup]) -> tuple[ParkedRow, ...]:
    """Return the parked jobs by task and redacted reason, the largest group first."""
    found: dict[tuple[JobKind, str | None, str], ParkedGroup] = {}
    for group in groups:
        reason = redact(group.error)
        key = group.kind, group.lane, reason
        known = found.get(key)
        found[key] = ParkedGroup(
            group.kind,
            group.lane,
            reason,
            group.count + (known.count if known else 0),
            min(group.first_at, known.first_at) if known else group.first_at,
            max(group.last_at, known.last_at) if known else group.last_at,
        )
    rows = sorted(found.values(), key=lambda group: -group.count)
    return tuple(_parked_row(group) for group in rows)


def _parked_row(group: ParkedGroup) -> ParkedRow:
    return ParkedRow(
        task=f"{group.kind} to {group.lane}" if group.lane else str(group.kind),
        reason=group.error or REASON_UNKNOWN,
        count=group.count,
        first_at=group.first_at,
        last_at=group.last_at,
        page=jobs_page(JobState.PARKED, group.kind, group.lane, group.error),
    )


def destination_rows(
    configured: Sequence[str],
    store: Store,
    groups: Mapping[JobGroup, int],
    delivered_today: Mapping[str, int],
) -> tuple[DestinationRow, ...]:
    """Return the configured destinations, then former ones that still have deliveries."""
    counts: Counter[tuple[str, JobState]] = Counter()
    for group, count in groups.items():
        if group.lane is not None and group.kind is JobKind.DELIVER:
            counts[group.lane, group.state] += count
    names = destination_names(configured, groups)
    errors = store.status.lane_errors(names)
    last, since = store.activity.last_deliveries(names), store.activity.waiting_since(names)
    return tuple(
        DestinationRow(
            name=name,
            configured=name in configured,
            delivered=counts[name, JobState.DONE],
            delivered_today=delivered_today.get(name, 0),
            waiting=counts[name, JobState.QUEUED] + counts[name, JobState.RUNNING],
            waiting_since=since.get(name),
            parked=counts[name, JobState.PARKED],
            last_success=last.get(name),
            error=_redacted(errors.get(name)),
            page=jobs_page(lane=name),
        )
        for name in names
    )


def destination_names(configured: Sequence[str], groups: Mapping[JobGroup, int]) -> tuple[str, ...]:
    """Return the names of the configured destinations, then of former ones with deliveries."""
    lanes = {
        group.lane for group in groups if group.lane is not None and group.kind is JobKind.DELIVER
    }
    return tuple(dict.fromkeys([*configured, *sorted(lanes)]))


def jobs_page(
    state: JobState | None = None,
    kind: JobKind | None = None,
    lane: str | None = None,
    error: str = "",
) -> str:
    """Return the page of the jobs of a filter, relative to the root."""
    values = {"state": state, "kind": kind, "destination": lane, "error": error}
    return f"jobs?{urlencode({name: value for name, value in values.items() if value})}"


def _redacted(error: LaneError | None) -> LaneError | None:
    return LaneError(redact(error.error), error.at) if error is not None else None
