"""The statements of a claim, each made once for its kinds of job.

Order of the jobs that are due: an ordinary job that has been due for longer than the longest wait,
then STAT, then the other ordinary jobs, then those of the backfill; in each of these the job that
has been due longest. Each of the four is a range of a partial index of queued jobs, and a claim
reads the first rows of it. So the jobs that have ended cost a claim nothing.

On a server each range locks the rows that it takes, and skips those that another claim has locked.
A range is read only as far as the ranges before it were short: no row is locked that is not
claimed.
"""

import functools
from collections.abc import Collection
from datetime import datetime

from sqlalchemy import (
    CTE,
    ColumnElement,
    Executable,
    Integer,
    Select,
    any_,
    bindparam,
    func,
    literal,
    literal_column,
    or_,
    select,
    union_all,
    update,
)

from storage.records import JobKind, JobState, Priority
from storage.tables.database import parameter
from storage.tables.schema import QUEUED_JOBS, WITHOUT_LANE, jobs

Kinds = tuple[JobKind, ...]

_STUDY_KINDS = frozenset({JobKind.ANALYSE, JobKind.REPORT})

_NOW = parameter(jobs.c.not_before, "now")
# An ordinary job that has been due since then has waited for long enough.
_LATE = parameter(jobs.c.not_before, "late")
_MOST = bindparam("most", type_=Integer)


def _has(priority: Priority) -> ColumnElement[bool]:
    return jobs.c.priority == literal_column(str(int(priority)))


_RANGES = (
    ("waited", _has(Priority.ROUTINE), _LATE),
    ("stat", _has(Priority.STAT), _NOW),
    ("ordinary", _has(Priority.ROUTINE), _NOW),
    ("backfill", _has(Priority.BACKFILL), _NOW),
)
"""Name, priority and last due time of each range, in the order in which they are claimed."""


@functools.cache
def claim_one(kinds: Kinds, in_lane: bool) -> Executable:
    """Return the statement that claims one job, of the lane `of_lane` if `in_lane`."""
    ranges = [
        _range(kinds, in_lane, priority, last).limit(literal_column("1")).scalar_subquery()
        for _, priority, last in _RANGES
    ]
    # The first range with a job ends the search.
    return _claimed(jobs.c.id == func.coalesce(*ranges))


@functools.cache
def claim_some(dialect: str, kinds: Kinds, in_lane: bool) -> Executable:
    """Return the statement that claims `most` jobs at most, as `claim_one` does."""
    found: list[CTE] = []
    left: ColumnElement[int] = _MOST
    for name, priority, last in _RANGES:
        query = _range(kinds, in_lane, priority, last).limit(left)
        if name == "ordinary":
            query = query.where(jobs.c.id.not_in(select(found[0].c.id)))
        # A server evaluates it once: a subquery could be evaluated again, and claim more.
        found.append(query.cte(name))
        left = left - select(func.count()).select_from(found[-1]).scalar_subquery()
    numbers = union_all(*(select(one.c.id) for one in found))
    if dialect != "postgresql":
        return _claimed(jobs.c.id.in_(numbers))
    # A server expects few numbers in an array, and never reads all jobs to find them.
    return _claimed(jobs.c.id == any_(func.array(numbers.scalar_subquery())))


@functools.cache
def first_due(kinds: Kinds, in_lane: bool) -> Select[*tuple[object, ...]]:
    """Return the query of the times at which the first job of each priority is due."""
    return select(
        *(
            select(jobs.c.not_before)
            .where(*_queued(kinds, in_lane), _has(priority))
            .order_by(jobs.c.not_before)
            .limit(literal_column("1"))
            .scalar_subquery()
            for priority in Priority
        )
    )


def place(priority: int, is_late: bool) -> int:
    """Return the place of a job's range among the ranges."""
    if priority == Priority.ROUTINE:
        return 0 if is_late else 2
    return 1 if priority == Priority.STAT else 3


def _claimed(condition: ColumnElement[bool]) -> Executable:
    return (
        update(jobs)
        .where(condition)
        .values(
            state=literal(JobState.RUNNING, jobs.c.state.type),
            attempts=jobs.c.attempts + 1,
            claims=jobs.c.claims + 1,
            worker=parameter(jobs.c.worker, "claimed_by"),
            lease_until=parameter(jobs.c.lease_until, "held_until"),
            updated_at=_NOW,
        )
        .returning(*jobs.c)
    )


def _range(
    kinds: Kinds, in_lane: bool, priority: ColumnElement[bool], last: ColumnElement[datetime]
) -> Select[*tuple[int]]:
    return (
        select(jobs.c.id)
        .where(*_queued(kinds, in_lane), priority, jobs.c.not_before <= last)
        .order_by(jobs.c.not_before, jobs.c.id)
        .with_for_update(skip_locked=True)
        .correlate(None)
    )


def _queued(kinds: Collection[JobKind], in_lane: bool) -> list[ColumnElement[bool]]:
    """Return the conditions of the queued jobs of these kinds, by the index that has them.

    Jobs with a lane have an index that begins with it, so that a long queue for a destination that
    is down does not slow down the others.
    """
    of_kinds = or_(*(jobs.c.kind == literal_column(f"'{kind.value}'") for kind in kinds))
    conditions: list[ColumnElement[bool]] = [literal_column(QUEUED_JOBS.text), of_kinds]
    if in_lane:
        conditions.append(jobs.c.lane == parameter(jobs.c.lane, "of_lane"))
    elif set(kinds) <= _STUDY_KINDS:
        conditions.append(literal_column(WITHOUT_LANE.text))
    return conditions
