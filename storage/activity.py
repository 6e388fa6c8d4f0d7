"""The work of the last hours: how much was done, and how long results took.

Each query reads the rows of the last hours by an index, and names no patient.
"""

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import cache
from itertools import pairwise
from typing import Any

from sqlalchemy import (
    Column,
    ColumnElement,
    Select,
    TextClause,
    func,
    select,
)

from storage.records import InstanceState, JobKind, JobState, ObjectKind
from storage.tables.database import Database, parameter
from storage.tables.schema import REPORTS, deliveries, instances, jobs, objects

HOUR = timedelta(hours=1)
TIMED_REPORTS = 2_000
"""Most reports whose times to result are read, those made last."""
USUAL_FILMS = 1_000
"""Most films from which the usual wait of an analysis is taken."""


@dataclass(frozen=True, slots=True)
class HourCounts:
    """The work of an hour that begins at `start`.

    `received` counts revisions of films, `reported` the reports in their default form, and
    `delivered` objects by destination.
    """

    start: datetime
    received: int
    analysed: int
    not_analysed: int
    reported: int
    delivered: dict[str, int]


@dataclass(frozen=True, slots=True)
class Times:
    """Times from the last film of a study to its report, and to each delivery of the report.

    A report that repeats an earlier one, without a film that came in between, is left out.
    `waiting` counts deliveries of the reports that have not been made. `is_partial` is True if only
    the TIMED_REPORTS made last were read.
    """

    to_report: tuple[timedelta, ...]
    to_delivery: tuple[timedelta, ...]
    waiting: int
    is_partial: bool


_UNFINISHED = (JobState.QUEUED, JobState.RUNNING, JobState.PARKED)

_LAST_FILM = (
    select(func.max(instances.c.received_at))
    .where(
        instances.c.study_instance_uid == objects.c.study_instance_uid,
        instances.c.source == objects.c.source,
        instances.c.received_at <= objects.c.created_at,
    )
    .scalar_subquery()
)
_earlier = objects.alias()
_PREVIOUS_REPORT = (
    select(func.max(_earlier.c.created_at))
    .where(
        _earlier.c.study_instance_uid == objects.c.study_instance_uid,
        _earlier.c.source == objects.c.source,
        _earlier.c.kind == ObjectKind.REPORT,
        _earlier.c.created_at < objects.c.created_at,
    )
    .scalar_subquery()
)
_NEWEST = (
    select(objects)
    .where(REPORTS, objects.c.created_at >= parameter(objects.c.created_at, "since"))
    .order_by(objects.c.created_at.desc())
)
_REPORTS_SINCE = _NEWEST.with_only_columns(
    objects.c.sop_instance_uid,
    objects.c.form,
    objects.c.created_at,
    _LAST_FILM.label("last_film"),
    _PREVIOUS_REPORT.label("previous"),
).limit(TIMED_REPORTS + 1)
_newest = _NEWEST.with_only_columns(objects.c.sop_instance_uid).limit(TIMED_REPORTS).subquery()
_DELIVERIES = (
    select(deliveries.c.sop_instance_uid, deliveries.c.delivered_at, jobs.c.state)
    .join(_newest, _newest.c.sop_instance_uid == deliveries.c.sop_instance_uid)
    .join(jobs, jobs.c.id == deliveries.c.job_id)
)


class Activity:
    """Read-only queries on the work of the last hours."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def by_hour(
        self, since: datetime, hours: int, destinations: Sequence[str]
    ) -> tuple[HourCounts, ...]:
        """Return the counts of each of `hours` hours from `since` on, oldest first."""
        starts = [since + number * HOUR for number in range(hours)]
        moments = {f"start{number}": since + number * HOUR for number in range(hours + 1)}
        series = _series(hours)
        with self._database.reading() as connection:
            counts = [connection.execute(query, moments).one() for query in series.of_node]
            counts += [
                connection.execute(series.of_destination, {**moments, "destination": name}).one()
                for name in destinations
            ]
        received, done, refused, reported, *sent = counts
        return tuple(
            HourCounts(
                start,
                received[number],
                done[number],
                refused[number],
                reported[number],
                {name: row[number] for name, row in zip(destinations, sent, strict=True)},
            )
            for number, start in enumerate(starts)
        )

    def times(self, since: datetime) -> Times:
        """Return the times to result of the reports made since a moment, each sequence sorted."""
        with self._database.reading() as connection:
            reports = connection.execute(_REPORTS_SINCE, {"since": since}).all()
            is_partial = len(reports) > TIMED_REPORTS
            last_films = {
                row.sop_instance_uid: row.last_film
                for row in reports[:TIMED_REPORTS]
                if row.last_film is not None
                and (row.previous is None or row.previous < row.last_film)
            }
            to_report = [
                row.created_at - last_films[row.sop_instance_uid]
                for row in reports[:TIMED_REPORTS]
                if row.form == "" and row.sop_instance_uid in last_films
            ]
            sent = connection.execute(_DELIVERIES, {"since": since}).all()
        ended = [row for row in sent if row.sop_instance_uid in last_films]
        to_delivery = [
            row.delivered_at - last_films[row.sop_instance_uid] for row in ended if row.delivered_at
        ]
        return Times(
            tuple(sorted(to_report)),
            tuple(sorted(to_delivery)),
            sum(row.delivered_at is None and row.state in _UNFINISHED for row in ended),
            is_partial,
        )

    def usual_wait(self, before: datetime) -> tuple[timedelta, ...]:
        """Return the waits for analysis of the films analysed last before a moment, sorted.

        The wait of a film is the time from its reception to its first or latest analysis.
        """
        query = (
            select(instances.c.received_at, instances.c.analysed_at)
            .where(instances.c.analysed_at.is_not(None), instances.c.analysed_at < before)
            .order_by(instances.c.analysed_at.desc())
            .limit(USUAL_FILMS)
        )
        with self._database.reading() as connection:
            rows = connection.execute(query).all()
        return tuple(sorted(row.analysed_at - row.received_at for row in rows))

    def last_deliveries(self, destinations: Collection[str]) -> dict[str, datetime]:
        """Return the time of the last successful delivery to each destination that has one."""
        found = {}
        with self._database.reading() as connection:
            for name in destinations:
                last = connection.scalar(
                    select(func.max(deliveries.c.delivered_at)).where(
                        deliveries.c.destination == name, deliveries.c.delivered_at.is_not(None)
                    )
                )
                if last is not None:
                    found[name] = last
        return found

    def reports_made(self, uids: Collection[str]) -> dict[str, datetime]:
        """Return the time at which each of these objects was made that is a report."""
        query = select(objects.c.sop_instance_uid, objects.c.created_at).where(
            objects.c.sop_instance_uid.in_(uids), objects.c.kind == ObjectKind.REPORT
        )
        with self._database.reading() as connection:
            rows = connection.execute(query).all()
        return {row.sop_instance_uid: row.created_at for row in rows}

    def waiting_since(self, lanes: Collection[str]) -> dict[str, datetime]:
        """Return the creation time of the oldest delivery that waits in each lane, if one does."""
        found = {}
        with self._database.reading() as connection:
            for lane in lanes:
                oldest = [
                    number
                    for state in (JobState.QUEUED, JobState.RUNNING)
                    if (number := connection.scalar(_oldest(state, lane))) is not None
                ]
                if oldest:
                    made = select(jobs.c.created_at).where(jobs.c.id == min(oldest))
                    found[lane] = connection.execute(made).scalar_one()
        return found


@dataclass(frozen=True, slots=True)
class _Series:
    """Statements that count the rows of each hour, by the parameters start0, start1, …

    They are made once: SQLAlchemy takes longer to make them than to run them.
    """

    of_node: tuple[Select[*tuple[Any, ...]], ...]
    of_destination: Select[*tuple[Any, ...]]


@cache
def _series(hours: int) -> _Series:
    analysed = instances.c.state == InstanceState.ANALYSED
    to_one = deliveries.c.destination == parameter(deliveries.c.destination, "destination")
    return _Series(
        of_node=(
            _counts(hours, instances.c.received_at),
            _counts(hours, instances.c.analysed_at, analysed),
            _counts(hours, instances.c.analysed_at, ~analysed),
            _counts(hours, objects.c.created_at, REPORTS, objects.c.form == ""),
        ),
        of_destination=_counts(hours, deliveries.c.delivered_at, to_one),
    )


def _counts(
    hours: int, column: Column[datetime], *conditions: ColumnElement[bool] | TextClause
) -> Select[*tuple[Any, ...]]:
    starts = [parameter(column, f"start{number}") for number in range(hours + 1)]
    return select(
        *(
            select(func.count())
            .where(column.is_not(None), column >= start, column < end, *conditions)
            .scalar_subquery()
            for start, end in pairwise(starts)
        )
    )


def _oldest(state: JobState, lane: str) -> Select[tuple[int]]:
    of_lane = jobs.c.state == state, jobs.c.lane == lane, jobs.c.kind == JobKind.DELIVER
    # For the least number itself, a server may read all jobs in the order of their numbers.
    return select(func.min(jobs.c.id + 0)).where(*of_lane)
