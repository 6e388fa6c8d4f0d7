"""The audit trail as an administrator reads it: filtered, newest row first, in pages.

A page looks through a bounded number of rows, and says where the next page goes on. So a filter
that matches few of a million rows answers as fast as one that matches all.
"""

from collections.abc import Collection
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import ColumnElement, Connection, TextClause, func, or_, select

from storage.audit.records import AuditKind, AuditOutcome, AuditRow
from storage.audit.trail import timestamp
from storage.tables.database import Database
from storage.tables.schema import FAILED_EVENTS, audit_events

LOOKED_ROWS = 100_000
"""Most rows that one page looks through."""
_NUMBER = audit_events.c.number
_JOB_KINDS = (
    AuditKind.JOB_PARKED,
    AuditKind.JOB_RETRIED,
    AuditKind.JOB_DISCARDED,
    AuditKind.JOB_PRIORITY_CHANGED,
)


@dataclass(frozen=True, slots=True)
class AuditFilter:
    """Conditions of a list of audit rows; None and '' are no condition.

    `actor`, `host` and `subject` are parts of these cells, in upper or lower case. Rows were
    recorded from `since` to before `until`.
    """

    kind: AuditKind | None = None
    outcome: AuditOutcome | None = None
    actor: str = ""
    host: str = ""
    subject: str = ""
    since: datetime | None = None
    until: datetime | None = None


@dataclass(frozen=True, slots=True)
class AuditPage:
    """Some rows of a list, newest first.

    `before` is the number to go on with, or None at the end of the list. `looked_to` is the number
    at which the page stopped to look for further rows, or None if it is full or the list ends.
    """

    rows: tuple[AuditRow, ...]
    before: int | None
    looked_to: int | None = None


class AuditList:
    """The rows of the audit trail by filter."""

    def __init__(self, database: Database, looked_rows: int = LOOKED_ROWS) -> None:
        self._database = database
        self._looked_rows = looked_rows

    def page(
        self, wanted: AuditFilter = AuditFilter(), before: int | None = None, limit: int = 100
    ) -> AuditPage:
        """Return at most `limit` rows with numbers below `before`, or the newest rows."""
        with self._database.reading() as connection:
            first, last = _span(connection, wanted, before)
            low = self._boundary(connection, wanted, first, last)
            query = (
                select(audit_events)
                .where(*_found_by_index(wanted), *_between(low, last), *_cells(wanted))
                .order_by(_NUMBER.desc())
                .limit(limit + 1)
            )
            rows = tuple(AuditRow(*row) for row in connection.execute(query))
            if len(rows) > limit:
                return AuditPage(rows[:limit], rows[limit - 1].number)
            further = select(_NUMBER).where(*_found_by_index(wanted), *_between(first, low - 1))
            if connection.scalar(further.limit(1)) is None:
                return AuditPage(rows, None)
        return AuditPage(rows, low, low)

    def of_job(self, job_id: int, limit: int = 50) -> tuple[AuditRow, ...]:
        """Return the newest rows on parking, retrying and discarding a job, newest first."""
        found: list[AuditRow] = []
        name = f"job={job_id}"
        with self._database.reading() as connection:
            for kind in _JOB_KINDS:
                wanted = AuditFilter(kind)
                first, last = _span(connection, wanted, None)
                low = self._boundary(connection, wanted, first, last)
                query = select(audit_events).where(
                    *_found_by_index(wanted),
                    *_between(low, last),
                    or_(
                        audit_events.c.subject == name,
                        audit_events.c.subject.startswith(f"{name} "),
                    ),
                )
                query = query.order_by(_NUMBER.desc()).limit(limit)
                found += [AuditRow(*row) for row in connection.execute(query)]
        return tuple(sorted(found, key=lambda row: -row.number)[:limit])

    def count_after(self, number: int, without: Collection[AuditKind], most: int) -> int:
        """Return the number of rows after a row, without those of some kinds; at most `most`."""
        query = select(_NUMBER).where(number < _NUMBER, audit_events.c.kind.not_in(without))
        counted = select(func.count()).select_from(query.limit(most).subquery())
        with self._database.reading() as connection:
            return connection.scalar(counted) or 0

    def _boundary(self, connection: Connection, wanted: AuditFilter, first: int, last: int) -> int:
        """Return the number of the last row that a page looks through."""
        conditions = _found_by_index(wanted)
        if not conditions:
            # Rows are numbered without a gap.
            return max(first, last - self._looked_rows + 1)
        query = select(_NUMBER).where(*conditions, *_between(first, last))
        query = query.order_by(_NUMBER.desc()).limit(1).offset(self._looked_rows - 1)
        found: int | None = connection.scalar(query)
        return first if found is None else found


def _span(connection: Connection, wanted: AuditFilter, before: int | None) -> tuple[int, int]:
    """Return the least and the greatest number of the rows that the list may have.

    A clock that was set back makes times that are not in the order of the rows.
    """
    times = _times(wanted)
    if times:
        query = select(func.min(_NUMBER), func.max(_NUMBER)).where(*times)
        first, last = connection.execute(query).one()
    else:
        first, last = 1, connection.scalar(select(func.max(_NUMBER)))
    if first is None or last is None:
        return 1, 0
    return first, last if before is None else min(last, before - 1)


def _between(first: int, last: int) -> tuple[ColumnElement[bool], ...]:
    return first <= _NUMBER, last >= _NUMBER


def _found_by_index(wanted: AuditFilter) -> list[ColumnElement[bool] | TextClause]:
    """Return the conditions for which the trail has an index that ends with the number."""
    conditions: list[ColumnElement[bool] | TextClause] = []
    if wanted.kind is not None:
        conditions.append(audit_events.c.kind == wanted.kind)
    if wanted.outcome is AuditOutcome.FAILURE:
        conditions.append(FAILED_EVENTS)
    return conditions


def _times(wanted: AuditFilter) -> list[ColumnElement[bool]]:
    conditions: list[ColumnElement[bool]] = []
    if wanted.since is not None:
        conditions.append(audit_events.c.recorded_at >= timestamp(wanted.since))
    if wanted.until is not None:
        conditions.append(audit_events.c.recorded_at < timestamp(wanted.until))
    return conditions


def _cells(wanted: AuditFilter) -> list[ColumnElement[bool]]:
    """Return the conditions that are looked for row by row."""
    conditions = _times(wanted)
    if wanted.outcome is AuditOutcome.SUCCESS:
        conditions.append(audit_events.c.outcome == wanted.outcome)
    for column, part in (
        (audit_events.c.actor, wanted.actor),
        (audit_events.c.host, wanted.host),
        (audit_events.c.subject, wanted.subject),
    ):
        if part:
            conditions.append(column.icontains(part, autoescape=True))
    return conditions
