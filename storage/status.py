"""What an operator sees at a glance: counts, the newest images, what keeps a lane from moving.

Nothing here names a patient, a study or an object; only the text of an error may quote what another
node said. Each query reads an index once, or a few rows: it may be asked every few seconds of a
large store.
"""

from collections.abc import Collection
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import Select, case, func, select

from storage.records import InstanceState, JobKind, JobState
from storage.tables.database import Database
from storage.tables.schema import findings, instances, jobs

_UNFINISHED = (JobState.QUEUED, JobState.RUNNING, JobState.PARKED)

_NEWEST_JOBS = 100
"""How many jobs of a lane and state are looked at for an error. A job that failed is due later
than those that wait for their first attempt, so it is among the last."""


@dataclass(frozen=True, slots=True)
class JobGroup:
    """What jobs are counted by; `lane` is None for those that have none."""

    kind: JobKind
    state: JobState
    lane: str | None


@dataclass(frozen=True, slots=True)
class RecentInstance:
    """A received image; `positives` is None unless it was analysed."""

    id: int
    received_at: datetime
    calling_ae_title: str
    modality: str
    state: InstanceState
    reason: str | None
    positives: int | None


@dataclass(frozen=True, slots=True)
class LaneError:
    """Why a job of a lane did not succeed when last tried."""

    error: str
    at: datetime


@dataclass(frozen=True, slots=True)
class ModelIdentity:
    """Which model an analysis was made with."""

    name: str
    version: str
    sha256: str


class Status:
    """The store as an operator asks about it. Reads only."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def job_counts(self) -> dict[JobGroup, int]:
        """How many jobs there are in each group; groups that are empty are left out."""
        # Counting by condition reads the index once, in order; grouping by kind would sort it all.
        of_kind = [func.count().filter(jobs.c.kind == kind) for kind in JobKind]
        query = select(jobs.c.state, jobs.c.lane, *of_kind).group_by(jobs.c.state, jobs.c.lane)
        with self._database.reading() as connection:
            rows = connection.execute(query).all()
        return {
            JobGroup(kind, state, lane): count
            for state, lane, *counts in rows
            for kind, count in zip(JobKind, counts, strict=True)
            if count
        }

    def instance_counts(self) -> dict[InstanceState, int]:
        """How many revisions of instances are in each state, where there are none too."""
        in_state = [func.count().filter(instances.c.state == state) for state in InstanceState]
        with self._database.reading() as connection:
            counts = connection.execute(select(*in_state)).one()
        return dict(zip(InstanceState, counts, strict=True))

    def recent_instances(self, limit: int) -> tuple[RecentInstance, ...]:
        """The images received last, newest first."""
        present = (
            select(func.count())
            .where(findings.c.instance_id == instances.c.id, findings.c.present)
            .scalar_subquery()
        )
        positives = case((instances.c.state == InstanceState.ANALYSED, present))
        query = (
            select(
                instances.c.id,
                instances.c.received_at,
                instances.c.calling_ae_title,
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
        return tuple(RecentInstance(**row) for row in rows)

    def lane_errors(self, lanes: Collection[str]) -> dict[str, LaneError]:
        """The last error in each of these lanes, of a job that is still to be done or parked."""
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
        """The model behind the findings of the image received last, once there is one."""
        with_findings = select(func.max(findings.c.instance_id)).scalar_subquery()
        query = select(
            instances.c.model_name, instances.c.model_version, instances.c.model_sha256
        ).where(instances.c.id == with_findings)
        with self._database.reading() as connection:
            row = connection.execute(query).one_or_none()
        return ModelIdentity(*row) if row is not None else None


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
