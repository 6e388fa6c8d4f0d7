"""The status of the store for operators: counts, the newest images, the errors of lanes.

No result names a patient, a study or an object; only an error text may quote a peer. Each query
reads an index once, or a few rows: a large store can answer it every few seconds.
"""

from collections.abc import Collection
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Any

from sqlalchemy import Select, bindparam, case, func, null, select

from storage.records import InstanceState, JobKind, JobState, Priority, StudyState, StudyStatus
from storage.tables.database import Database, parameter
from storage.tables.schema import (
    FAILED_JOBS,
    QUEUED_JOBS,
    WITHOUT_LANE,
    findings,
    instances,
    jobs,
    studies,
    study_summaries,
)

_UNFINISHED = (JobState.QUEUED, JobState.RUNNING, JobState.PARKED)

_NEWEST_JOBS = 100
"""Jobs of a lane and state that are searched for an error. A failed job is due later than jobs that
wait for their first attempt, so it is among the newest."""


@dataclass(frozen=True, slots=True)
class JobGroup:
    """The key of a job count; `lane` is None for jobs without a lane."""

    kind: JobKind
    state: JobState
    lane: str | None


@dataclass(frozen=True, slots=True)
class DueJobs:
    """The number of jobs that are due, and since when the first of them has been."""

    count: int
    since: datetime


class ImageMark(StrEnum):
    """The reasons why a received image does not count, or is in doubt."""

    NONE = ""
    REJECTED = "rejected"
    SET_ASIDE = "set aside"
    SUPERSEDED = "superseded"
    IN_DOUBT = "in doubt"


@dataclass(frozen=True, slots=True)
class RecentInstance:
    """A received image; `positives` counts its findings and is None before its analysis.

    `source` and `revision` tell it from other images under the same UID. `mark` is empty for a
    film that counts.
    """

    id: int
    received_at: datetime
    calling_ae_title: str
    source: str
    revision: int
    mark: ImageMark
    modality: str
    state: InstanceState
    reason: str | None
    positives: int | None


@dataclass(frozen=True, slots=True)
class LaneError:
    """The error of the last failed attempt in a lane."""

    error: str
    at: datetime


@dataclass(frozen=True, slots=True)
class ModelIdentity:
    """The model of an analysis, and the notes on the image."""

    name: str
    version: str
    sha256: str
    notes: tuple[str, ...]


class Status:
    """Read-only status queries."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def job_counts(self, states: Collection[JobState] = tuple(JobState)) -> dict[JobGroup, int]:
        """Return the number of jobs in each group of these states, without empty groups."""
        found: dict[JobGroup, int] = {}
        with self._database.reading() as connection:
            for query in _QUEUED if JobState.QUEUED in states else ():
                for kind, lane, count in connection.execute(query):
                    found[JobGroup(kind, JobState.QUEUED, lane)] = count
            others = set(states) - {JobState.QUEUED}
            rows = connection.execute(_COUNTED, {"states": others}).all()
        for state, lane, *counts in rows:
            for kind, count in zip(JobKind, counts, strict=True):
                if count:
                    found[JobGroup(kind, state, lane)] = count
        return found

    def due(self, now: datetime) -> dict[tuple[JobKind, Priority], DueJobs]:
        """Return the jobs that are due, by kind and priority, without empty groups."""
        found: dict[tuple[JobKind, Priority], DueJobs] = {}
        with self._database.reading() as connection:
            for query in _DUE:
                for kind, priority, count, since in connection.execute(query, {"now": now}):
                    found[kind, Priority(priority)] = DueJobs(count, since)
        return found

    def retrying_counts(self) -> dict[tuple[JobKind, str | None], int]:
        """Return the number of jobs that wait after a failed attempt, by kind and lane."""
        query = (
            select(jobs.c.kind, jobs.c.lane, func.count())
            .where(FAILED_JOBS)
            .group_by(jobs.c.kind, jobs.c.lane)
        )
        with self._database.reading() as connection:
            return {(kind, lane): count for kind, lane, count in connection.execute(query)}

    def instance_counts(self) -> dict[InstanceState, int]:
        """Return the number of instance revisions in each state, with zeros."""
        # The end of an analysis sets its time, and an index has it beside the state.
        ended = [state for state in InstanceState if state is not InstanceState.RECEIVED]
        in_state = [func.count().filter(instances.c.state == state) for state in ended]
        query = select(*in_state).where(instances.c.analysed_at.is_not(None))
        with self._database.reading() as connection:
            counts = dict(zip(ended, connection.execute(query).one(), strict=True))
            total = connection.scalar(select(func.count()).select_from(instances)) or 0
        return {InstanceState.RECEIVED: total - sum(counts.values()), **counts}

    def held_count(self) -> int:
        """Return the number of studies that are in doubt."""
        # The list of studies has an index by state.
        is_held = study_summaries.c.state == StudyState.HELD
        query = select(func.count()).select_from(study_summaries).where(is_held)
        with self._database.reading() as connection:
            return connection.scalar(query) or 0

    def recent_instances(self, limit: int) -> tuple[RecentInstance, ...]:
        """Return the images received last, newest first."""
        present = (
            select(func.count())
            .where(findings.c.instance_id == instances.c.id, findings.c.present)
            .scalar_subquery()
        )
        positives = case((instances.c.state == InstanceState.ANALYSED, present))
        later = instances.alias()
        is_superseded = select(later.c.id).where(
            later.c.source == instances.c.source,
            later.c.sop_instance_uid == instances.c.sop_instance_uid,
            later.c.revision > instances.c.revision,
        )
        # A value, not EXISTS, for which a server would read all studies.
        study_status = (
            select(studies.c.status)
            .where(
                studies.c.source == instances.c.source,
                studies.c.study_instance_uid == instances.c.study_instance_uid,
            )
            .scalar_subquery()
        )
        mark = case(
            (instances.c.rejected_by.is_not(None), ImageMark.REJECTED.value),
            (instances.c.set_aside_at.is_not(None), ImageMark.SET_ASIDE.value),
            (is_superseded.exists(), ImageMark.SUPERSEDED.value),
            (study_status == StudyStatus.HELD, ImageMark.IN_DOUBT.value),
            else_=ImageMark.NONE.value,
        )
        query = (
            select(
                instances.c.id,
                instances.c.received_at,
                instances.c.calling_ae_title,
                instances.c.source,
                instances.c.revision,
                mark.label("mark"),
                instances.c.modality,
                instances.c.state,
                instances.c.reason,
                positives.label("positives"),
            )
            .order_by(instances.c.received_at.desc(), instances.c.id.desc())
            .limit(limit)
        )
        with self._database.reading() as connection:
            rows = connection.execute(query).mappings().all()
        return tuple(RecentInstance(**{**row, "mark": ImageMark(row["mark"])}) for row in rows)

    def lane_errors(self, lanes: Collection[str]) -> dict[str, LaneError]:
        """Return the last error of an unfinished or parked job in each of these lanes."""
        found = {}
        with self._database.reading() as connection:
            for lane in lanes:
                errors = [
                    LaneError(row.last_error, row.updated_at)
                    for state in _UNFINISHED
                    for row in connection.execute(_last_error(lane, state))
                ]
                if errors:
                    found[lane] = max(errors, key=lambda error: error.at)
        return found

    def latest_model(self) -> ModelIdentity | None:
        """Return the model of the newest image with findings, or None."""
        with_findings = select(func.max(findings.c.instance_id)).scalar_subquery()
        query = select(
            instances.c.model_name,
            instances.c.model_version,
            instances.c.model_sha256,
            instances.c.notes,
        ).where(instances.c.id == with_findings)
        with self._database.reading() as connection:
            row = connection.execute(query).one_or_none()
        if row is None:
            return None
        return ModelIdentity(row.model_name, row.model_version, row.model_sha256, tuple(row.notes))


def _last_error(lane: str, state: JobState) -> Select[tuple[str, datetime]]:
    newest = (
        select(jobs.c.last_error, jobs.c.updated_at)
        .where(jobs.c.state == state, jobs.c.lane == lane)
        .order_by(jobs.c.not_before.desc(), jobs.c.id.desc())
        .limit(_NEWEST_JOBS)
        .subquery()
    )
    return (
        select(newest.c.last_error, newest.c.updated_at)
        .where(newest.c.last_error.is_not(None))
        .order_by(newest.c.updated_at.desc())
        .limit(1)
    )


_OF_LANES = jobs.c.lane.is_not(None)
# Two indexes have the jobs that wait, one of them those with a lane.
_QUEUED: tuple[Select[*tuple[Any, ...]], ...] = (
    select(jobs.c.kind, null(), func.count())
    .where(QUEUED_JOBS, WITHOUT_LANE)
    .group_by(jobs.c.kind),
    select(jobs.c.kind, jobs.c.lane, func.count())
    .where(QUEUED_JOBS, _OF_LANES)
    .group_by(jobs.c.lane, jobs.c.kind),
)
# Conditional counts read the index once, in order. GROUP BY kind would sort all jobs.
_COUNTED = (
    select(
        jobs.c.state, jobs.c.lane, *(func.count().filter(jobs.c.kind == kind) for kind in JobKind)
    )
    .where(jobs.c.state.in_(bindparam("states", expanding=True)))
    .group_by(jobs.c.state, jobs.c.lane)
)
_DUE = [
    select(jobs.c.kind, jobs.c.priority, func.count(), func.min(jobs.c.not_before))
    .where(QUEUED_JOBS, of_lane, jobs.c.not_before <= parameter(jobs.c.not_before, "now"))
    .group_by(jobs.c.kind, jobs.c.priority)
    for of_lane in (WITHOUT_LANE, _OF_LANES)
]
