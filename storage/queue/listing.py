"""The jobs as an operator reads them: filtered, in pages, what needs a person first.

Each query reads a bounded number of rows, so that a page of a queue with a million jobs is fast.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import TypeVarTuple

from sqlalchemy import ColumnElement, Connection, Select, TextClause, func, select

from storage.queue.job_studies import with_studies
from storage.records import Job, JobKind, JobState, ListedJob, ObjectKind
from storage.tables.database import Database
from storage.tables.schema import FAILED_JOBS, deliveries, jobs, objects

_Columns = TypeVarTuple("_Columns")
_Condition = ColumnElement[bool] | TextClause

SORTED_ROWS = 20_000
"""Most jobs that are sorted by another column than the index has."""
SEARCHED_ROWS = 20_000
"""Most jobs of a state that are searched for the text of an error, those due last first."""
GROUPED_ROWS = 20_000
"""Most parked jobs that are grouped by reason, those due last first."""
OMISSION = "…"
"""In the text of a filter it stands for any text, as in an error without its UIDs."""


class JobSort(StrEnum):
    """The orders of a list of jobs.

    URGENCY: parked jobs, then those that wait after a failure, running, queued, done and discarded
    jobs; in each of these the job that is due last comes first.
    """

    URGENCY = "urgency"
    NUMBER = "number"
    DUE = "due"
    CHANGED = "changed"
    ATTEMPTS = "attempts"


_COLUMNS = {
    JobSort.NUMBER: jobs.c.id,
    JobSort.DUE: jobs.c.not_before,
    JobSort.CHANGED: jobs.c.updated_at,
    JobSort.ATTEMPTS: jobs.c.attempts,
}
_FAILED: tuple[_Condition, ...] = (FAILED_JOBS,)
_FRESH: tuple[_Condition, ...] = (jobs.c.attempts == 0,)


@dataclass(frozen=True, slots=True)
class JobFilter:
    """Conditions of a list of jobs; None and '' are no condition.

    `error` is a part of the last error, in upper or lower case; see OMISSION.
    """

    state: JobState | None = None
    kind: JobKind | None = None
    lane: str | None = None
    error: str = ""


@dataclass(frozen=True, slots=True)
class JobPage:
    """Some jobs of a list, and the number of all of them.

    `sort` is the order that was used: a list of more than SORTED_ROWS has the order of URGENCY.
    With `is_partial` only the SEARCHED_ROWS of each state were searched for the error.
    """

    jobs: tuple[ListedJob, ...]
    total: int
    sort: JobSort = JobSort.URGENCY
    is_partial: bool = False


@dataclass(frozen=True, slots=True)
class ParkedGroup:
    """Parked jobs of one kind and lane with the same error, and when they were parked."""

    kind: JobKind
    lane: str | None
    error: str
    count: int
    first_at: datetime
    last_at: datetime


@dataclass(frozen=True, slots=True)
class DeliveryFacts:
    """The object of a DELIVER job, and what became of it.

    `held_at` is set while the object may not leave. `coerced_uid` is the UID under which the
    destination keeps it, if it chose another.
    """

    sop_instance_uid: str
    object_kind: ObjectKind
    label: str | None
    delivered_at: datetime | None
    dimse_status: int | None
    committed_at: datetime | None
    held_at: datetime | None
    coerced_uid: str | None


@dataclass(frozen=True, slots=True)
class _Group:
    """The jobs of a filter that have the same urgency, and their number."""

    conditions: tuple[_Condition, ...]
    count: int


class JobList:
    """The queue as an operator reads it."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def page(
        self,
        wanted: JobFilter = JobFilter(),
        limit: int = 50,
        offset: int = 0,
        sort: JobSort = JobSort.URGENCY,
        *,
        descending: bool = True,
    ) -> JobPage:
        """Return `limit` jobs of a list from `offset` on, with the number of them all."""
        with self._database.reading() as connection:
            groups = _groups(connection, wanted)
            total = sum(group.count for group in groups)
            is_sorted = sort is not JobSort.URGENCY and total <= SORTED_ROWS
            if is_sorted:
                found, total = _sorted(connection, wanted, sort, descending, limit, offset)
                return JobPage(with_studies(connection, found), total, sort)
            is_partial = bool(wanted.error) and any(g.count > SEARCHED_ROWS for g in groups)
            if wanted.error:
                groups = [_searched(connection, group, wanted.error) for group in groups]
                total = sum(group.count for group in groups)
            found = _by_urgency(connection, groups, wanted.error, limit, offset)
            return JobPage(with_studies(connection, found), total, JobSort.URGENCY, is_partial)

    def listed(self, job: Job) -> ListedJob:
        """Return the job with its study."""
        with self._database.reading() as connection:
            return with_studies(connection, [job])[0]

    def chosen(self, numbers: Sequence[int]) -> tuple[ListedJob, ...]:
        """Return the jobs with these numbers, in order of number; an unknown one is left out."""
        query = select(jobs).where(jobs.c.id.in_(numbers)).order_by(jobs.c.id)
        with self._database.reading() as connection:
            found = [Job(**row) for row in connection.execute(query).mappings()]
            return with_studies(connection, found)

    def delivery(self, job_id: int) -> DeliveryFacts | None:
        """Return the delivery of a job; None for another kind of job."""
        query = (
            select(
                deliveries.c.sop_instance_uid,
                objects.c.kind.label("object_kind"),
                objects.c.label,
                deliveries.c.delivered_at,
                deliveries.c.dimse_status,
                deliveries.c.committed_at,
                deliveries.c.held_at,
                deliveries.c.coerced_uid,
            )
            .join(objects, objects.c.sop_instance_uid == deliveries.c.sop_instance_uid)
            .where(deliveries.c.job_id == job_id)
        )
        with self._database.reading() as connection:
            row = connection.execute(query).mappings().one_or_none()
        return None if row is None else DeliveryFacts(**row)

    def numbers(self, wanted: JobFilter, limit: int) -> tuple[int, ...]:
        """Return the numbers of the first jobs of a list, in the order of URGENCY."""
        with self._database.reading() as connection:
            groups = _groups(connection, wanted)
            if wanted.error:
                groups = [_searched(connection, group, wanted.error) for group in groups]
            return tuple(_numbers(connection, groups, wanted.error, limit, 0))

    def parked(self) -> tuple[ParkedGroup, ...]:
        """Return the parked jobs by kind, lane and error, the largest group first.

        At most GROUPED_ROWS jobs are grouped, those due last first.
        """
        newest = _ordered(select(jobs), (jobs.c.state == JobState.PARKED,)).limit(GROUPED_ROWS)
        found = newest.subquery()
        error = func.coalesce(found.c.last_error, "")
        query = select(
            found.c.kind,
            found.c.lane,
            error.label("error"),
            func.count().label("count"),
            func.min(found.c.updated_at, type_=jobs.c.updated_at.type).label("first_at"),
            func.max(found.c.updated_at, type_=jobs.c.updated_at.type).label("last_at"),
        ).group_by(found.c.kind, found.c.lane, error)
        with self._database.reading() as connection:
            groups = [ParkedGroup(**row) for row in connection.execute(query).mappings()]
        return tuple(sorted(groups, key=lambda group: (-group.count, group.kind, group.error)))

    def lanes(self) -> tuple[str, ...]:
        """Return the lanes of all jobs, in order, by a few steps through an index."""
        found: set[str] = set()
        with self._database.reading() as connection:
            for state in JobState:
                last = ""
                while (lane := connection.scalar(_next_lane(state, last))) is not None:
                    found.add(lane)
                    last = lane
        return tuple(sorted(found))


def _groups(connection: Connection, wanted: JobFilter) -> list[_Group]:
    """Return the groups of urgency of a filter, without its error."""
    of_filter: tuple[_Condition, ...] = ()
    if wanted.kind is not None:
        of_filter += (jobs.c.kind == wanted.kind,)
    if wanted.lane is not None:
        of_filter += (jobs.c.lane == wanted.lane,)
    order: list[tuple[JobState, tuple[_Condition, ...]]] = [
        (JobState.PARKED, ()),
        (JobState.QUEUED, _FAILED),
        (JobState.RUNNING, ()),
        (JobState.QUEUED, _FRESH),
        (JobState.DONE, ()),
        (JobState.DISCARDED, ()),
    ]
    groups = []
    failed = 0
    for state, further in order:
        if wanted.state not in (None, state):
            continue
        conditions = (jobs.c.state == state, *of_filter)
        # The jobs without a failure are the rest: no index tells them apart.
        counted = conditions if further is _FRESH else (*conditions, *further)
        count = connection.scalar(select(func.count()).select_from(jobs).where(*counted)) or 0
        if further is _FAILED:
            failed = count
        elif further is _FRESH:
            count -= failed
        groups.append(_Group((*conditions, *further), count))
    return groups


def _ordered(query: Select[*_Columns], conditions: Sequence[_Condition]) -> Select[*_Columns]:
    return query.where(*conditions).order_by(jobs.c.not_before.desc(), jobs.c.id.desc())


def _searched(connection: Connection, group: _Group, error: str) -> _Group:
    """Return the group with the number of its jobs that have the error."""
    if not group.count:
        return group
    newest = _ordered(select(jobs.c.last_error), group.conditions).limit(SEARCHED_ROWS).subquery()
    query = select(func.count()).select_from(newest).where(_has(newest.c.last_error, error))
    return _Group(group.conditions, connection.scalar(query) or 0)


def _has(column: ColumnElement[str | None], error: str) -> ColumnElement[bool]:
    parts = [
        part.replace("\\", "\\\\").replace("%", "\\%").replace("_", "\\_")
        for part in error.lower().split(OMISSION)
    ]
    return func.lower(column).like(f"%{'%'.join(parts)}%", escape="\\")


def _numbers(
    connection: Connection, groups: Sequence[_Group], error: str, limit: int, offset: int
) -> list[int]:
    """Return the numbers of a page of jobs. The index alone tells those before the page."""
    numbers: list[int] = []
    for group in groups:
        if offset < group.count and len(numbers) < limit:
            query = _ordered(select(jobs.c.id), group.conditions)
            if error:
                newest = (
                    _ordered(
                        select(jobs.c.id, jobs.c.not_before, jobs.c.last_error), group.conditions
                    )
                    .limit(SEARCHED_ROWS)
                    .subquery()
                )
                query = (
                    select(newest.c.id)
                    .where(_has(newest.c.last_error, error))
                    .order_by(newest.c.not_before.desc(), newest.c.id.desc())
                )
            query = query.limit(limit - len(numbers)).offset(offset)
            numbers += connection.scalars(query)
        offset = max(0, offset - group.count)
    return numbers


def _by_urgency(
    connection: Connection, groups: Sequence[_Group], error: str, limit: int, offset: int
) -> list[Job]:
    numbers = _numbers(connection, groups, error, limit, offset)
    rows = connection.execute(select(jobs).where(jobs.c.id.in_(numbers))).mappings()
    found = {row["id"]: Job(**row) for row in rows}
    return [found[number] for number in numbers if number in found]


def _sorted(
    connection: Connection,
    wanted: JobFilter,
    sort: JobSort,
    descending: bool,
    limit: int,
    offset: int,
) -> tuple[list[Job], int]:
    """Return a page of a list of few jobs in any order, and the number of them all."""
    # Named states let the database use the indexes that begin with them.
    states = [wanted.state] if wanted.state is not None else list(JobState)
    conditions: list[_Condition] = [jobs.c.state.in_(states)]
    if wanted.kind is not None:
        conditions.append(jobs.c.kind == wanted.kind)
    if wanted.lane is not None:
        conditions.append(jobs.c.lane == wanted.lane)
    if wanted.error:
        conditions.append(_has(jobs.c.last_error, wanted.error))
    column = _COLUMNS[sort]
    order = (column.desc(), jobs.c.id.desc()) if descending else (column.asc(), jobs.c.id.asc())
    query = select(jobs).where(*conditions).order_by(*order).limit(limit).offset(offset)
    found = [Job(**row) for row in connection.execute(query).mappings()]
    count = select(func.count()).select_from(jobs).where(*conditions)
    return found, connection.scalar(count) or 0


def _next_lane(state: JobState, last: str) -> Select[*tuple[str | None]]:
    return (
        select(jobs.c.lane)
        .where(jobs.c.state == state, jobs.c.lane > last)
        .order_by(jobs.c.lane)
        .limit(1)
    )
