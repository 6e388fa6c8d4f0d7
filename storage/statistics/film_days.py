"""Films by the day of their reception (UTC): a mark per day that changes with it, and its rows.

Only the latest revision of a film counts, unless it is rejected or set aside. Each read is a short
transaction over one day, so that no writer waits and no connection is held for long.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from typing import Any

from sqlalchemy import (
    ColumnElement,
    Connection,
    FromClause,
    Select,
    Text,
    and_,
    case,
    func,
    select,
    type_coerce,
)

from storage.records import InstanceState
from storage.tables.conditions import has_later_revision
from storage.tables.database import Database, parameter, raw_rows
from storage.tables.schema import findings, instances

_FIRST_REVISION = 1

DayMark = tuple[Any, ...]
"""Counts of the rows of a day. An equal mark means the same films with the same results."""


@dataclass(frozen=True, slots=True)
class FilmRow:
    """A film that counts. `state` is the text of an InstanceState."""

    id: int
    sender: str
    source: str
    state: str
    reason: str | None
    view: str | None
    sex: str | None
    birth_date: str | None
    study_date: str
    patient_id: str
    model_sha256: str | None


@dataclass(frozen=True, slots=True)
class FilmDay:
    """The films of a day in the order of their reception, and their findings.

    Attributes:
        films: the films that count.
        findings: (film id, label, probability, threshold, present), in the order of the films' ids.
        earlier: days with a revision that a film of this day replaced; they must be read again.
    """

    films: tuple[FilmRow, ...]
    findings: Sequence[tuple[Any, ...]]
    earlier: frozenset[date]


class FilmDays:
    """Read-only queries for the statistics."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def marks(self, since: date | None = None) -> dict[date, DayMark]:
        """Return the mark of each day with films, from `since` on, by default of all days."""
        with self._database.reading() as connection:
            day = _day_of(connection)
            query = select(day, *_MARK).group_by(day)
            if since is not None:
                query = query.where(instances.c.received_at >= _begin(since))
            rows = connection.execute(query).all()
        return {date.fromisoformat(row[0]): tuple(row[1:]) for row in rows}

    def day(self, day: date) -> FilmDay:
        """Return the films of a day that count."""
        within = {"begin": _begin(day), "end": _begin(day + timedelta(days=1))}
        with self._database.reading() as connection:
            films = raw_rows(connection, _FILMS, within)
            found = raw_rows(connection, _FINDINGS, within)
            earlier = connection.scalars(_days_of_replaced(connection), within)
            days = frozenset(date.fromisoformat(found) for found in earlier)
        return FilmDay(tuple(FilmRow(*row) for row in films), found, days - {day})


def _begin(day: date) -> datetime:
    return datetime.combine(day, time(), UTC)


def _day_of(connection: Connection) -> ColumnElement[str]:
    """Return the expression of the day of reception as `2026-03-01`."""
    if connection.dialect.name == "sqlite":
        return func.substr(type_coerce(instances.c.received_at, Text), 1, 10)
    return func.to_char(func.timezone("UTC", instances.c.received_at), "YYYY-MM-DD")


def _days_of_replaced(connection: Connection) -> Select[Any]:
    """Return the query for the days with a revision that a film of a span replaced."""
    later = instances.alias()
    return (
        select(_day_of(connection))
        .distinct()
        .select_from(later)
        .join(
            instances,
            and_(
                instances.c.source == later.c.source,
                instances.c.sop_instance_uid == later.c.sop_instance_uid,
                instances.c.revision < later.c.revision,
            ),
        )
        .where(_received_within(later), later.c.revision > _FIRST_REVISION)
    )


def _received_within(table: FromClause) -> ColumnElement[bool]:
    received_at = table.c.received_at
    begin, end = (parameter(instances.c.received_at, name) for name in ("begin", "end"))
    return and_(received_at >= begin, received_at < end)


def _sum_of_ids(condition: ColumnElement[bool]) -> ColumnElement[int]:
    return func.coalesce(func.sum(case((condition, instances.c.id))), 0)


_MARK = (
    func.count(),
    func.count(instances.c.analysed_at),
    func.max(instances.c.analysed_at),
    func.sum(instances.c.revision),
    *(_sum_of_ids(instances.c.state == state) for state in InstanceState),
    _sum_of_ids(instances.c.rejected_by.is_not(None)),
    _sum_of_ids(instances.c.set_aside_at.is_not(None)),
)
_COUNTS = and_(
    _received_within(instances),
    instances.c.rejected_by.is_(None),
    instances.c.set_aside_at.is_(None),
    ~has_later_revision(),
)
_FILMS = (
    select(
        instances.c.id,
        instances.c.calling_ae_title,
        instances.c.source,
        instances.c.state,
        instances.c.reason,
        instances.c.view_position,
        instances.c.patient_sex,
        instances.c.patient_birth_date,
        instances.c.study_date,
        instances.c.patient_id,
        instances.c.model_sha256,
    )
    .where(_COUNTS)
    .order_by(instances.c.received_at, instances.c.id)
)
_FINDINGS = (
    select(
        findings.c.instance_id,
        findings.c.label,
        findings.c.probability,
        findings.c.threshold,
        findings.c.present,
    )
    .join(instances, instances.c.id == findings.c.instance_id)
    .where(_COUNTS, instances.c.state == InstanceState.ANALYSED)
    .order_by(findings.c.instance_id, findings.c.position)
)
