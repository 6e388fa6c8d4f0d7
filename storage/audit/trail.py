"""The audit trail: an append-only table of events, each hashed with the previous row.

Rows are numbered from 1 without a gap. The row of an event in the store is committed in the
transaction of that event: both are in the store, or neither.
"""

from collections.abc import Callable, Iterator, Sequence
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Any

from sqlalchemy import Connection, Select, func, insert, select

from storage.audit.chain import (
    EMPTY_HEAD,
    Joint,
    Span,
    joint_of,
    require_possible,
    require_reached,
    row_hash,
    verify_rows,
)
from storage.audit.records import AuditEntry, AuditHead, AuditKind, AuditOutcome, AuditRow
from storage.files.csv_file import CsvPart, counted, csv_part, write_parts
from storage.tables.columns import storable
from storage.tables.database import Database, lock_until_end, raw_rows
from storage.tables.processes import results_in_order
from storage.tables.schema import SETTINGS, audit_events

PAGE_ROWS = 2000

# Limits for cells with text from peers.
_NAME_LENGTH = 255
_SUBJECT_LENGTH = 1000

# An arbitrary number, the same for every process that adds to the trail.
_APPEND_LOCK = 0x63787261

COLUMNS = tuple(column.name for column in audit_events.c)

# The kinds that the condition SETTINGS names.
_SETTINGS_KINDS = frozenset({AuditKind.CONFIGURATION_CHANGED, AuditKind.SOURCES_ADOPTED})

_Rows = tuple[int | None, int]
"""The number before the first row, or None for all rows, and the number of the last row."""

_APPEND = insert(audit_events)
_LAST = (
    select(audit_events.c.number, audit_events.c.hash)
    .order_by(audit_events.c.number.desc())
    .limit(1)
)


class Audit:
    """The audit trail of a store."""

    def __init__(
        self, database: Database, clock: Callable[[], datetime], page_rows: int = PAGE_ROWS
    ) -> None:
        self._database = database
        self._now = clock
        self._page_rows = page_rows

    def record(
        self,
        kind: AuditKind,
        *,
        outcome: AuditOutcome = AuditOutcome.SUCCESS,
        actor: str = "",
        host: str = "",
        subject: str = "",
        detail: str = "",
    ) -> None:
        """Add a row in its own transaction; it is on disk when this returns. See `AuditEntry`."""
        entry = AuditEntry(kind, outcome, actor, host, subject, detail)
        with self._database.writing() as connection:
            append(connection, entry, self._now())

    def rows(
        self, since: datetime | None = None, until: datetime | None = None
    ) -> Iterator[AuditRow]:
        """Yield the rows recorded from `since` to before `until`, in their order.

        Rows are read in pages, so that a slow caller keeps no transaction open.
        """
        after: int | None = None
        while page := self._page(after, self._page_rows, since, until):
            for row in page:
                yield AuditRow(*row)
            after = page[-1][0]

    def page(self, after: int | None, limit: int) -> tuple[AuditRow, ...]:
        """Return at most `limit` rows after the row `after`, or from the first row on."""
        return tuple(AuditRow(*row) for row in self._page(after, limit))

    def count(self, since: datetime | None = None, until: datetime | None = None) -> int:
        """Return the number of rows recorded from `since` to before `until`."""
        query = _recorded(select(func.count()).select_from(audit_events), since, until)
        with self._database.reading() as connection:
            return connection.scalar(query) or 0

    def _page(
        self,
        after: int | None,
        limit: int,
        since: datetime | None = None,
        until: datetime | None = None,
    ) -> Sequence[Sequence[Any]]:
        query = _recorded(select(audit_events), since, until)
        if after is not None:
            query = query.where(audit_events.c.number > after)
        with self._database.reading() as connection:
            return raw_rows(connection, query.order_by(audit_events.c.number).limit(limit), {})

    def latest(self, kind: AuditKind, host: str) -> AuditRow | None:
        """Return the newest row of a kind from a host, or None."""
        of_start = (SETTINGS,) if kind in _SETTINGS_KINDS else ()
        query = (
            select(audit_events)
            .where(*of_start, audit_events.c.kind == kind, audit_events.c.host == host)
            .order_by(audit_events.c.number.desc())
            .limit(1)
        )
        with self._database.reading() as connection:
            row = connection.execute(query).one_or_none()
        return AuditRow(*row) if row else None

    def head(self) -> AuditHead:
        """Return the current head of the trail."""
        with self._database.reading() as connection:
            return _head(connection)

    def verify(
        self,
        noted: AuditHead | None = None,
        progress: Callable[[int], object] = int,
        processes: int = 1,
    ) -> AuditHead:
        """Verify every row in constant memory and return the head, which is that of the begin.

        `progress` is called with numbers of verified rows. For `processes` see
        `storage.tables.processes`. Raises TrailAlteredError with the first altered row, also if the
        trail does not contain the head `noted` earlier.
        """
        if noted is not None:
            require_possible(noted)
        end, verified = self.head().number, EMPTY_HEAD
        # The first of them has the rows before row 1, too, which no unaltered trail has.
        spans = (
            Span(after, min(after + self._page_rows, end))
            for after in range(0, max(end, 1), self._page_rows)
        )
        work = partial(_joint, noted=noted)
        with results_in_order(self._database, work, spans, processes) as joints:
            for joint in joints:
                if joint is None or joint.previous_hash != verified.hash:
                    break
                progress(joint.head.number - verified.number)
                verified = joint.head
            else:
                if noted is not None:
                    require_reached(noted, verified.number)
                return verified
        # Row by row, which names the first altered row.
        return verify_rows(self._rows_until(end, verified.number), noted, verified)

    def _rows_until(self, end: int, after: int) -> Iterator[Sequence[Any]]:
        """Yield the rows behind a verified row, or all rows, up to the row `end`."""
        place = after or None
        while page := self._page(place, self._page_rows):
            for row in page:
                if row[0] > end:
                    return
                yield row
            place = page[-1][0]

    def write_csv(
        self,
        path: Path,
        since: datetime | None = None,
        until: datetime | None = None,
        progress: Callable[[int], object] = int,
        processes: int = 1,
    ) -> int:
        """Write these rows as CSV; return their number. See `storage.files.csv_file.write_csv`.

        The rows are those of the begin. `progress` is called with numbers of rows that are ready.
        For `processes` see `storage.tables.processes`.
        """
        work = partial(_csv_part, since=since, until=until)
        spans = self._spans(since, until)
        with results_in_order(self._database, work, spans, processes) as parts:
            return write_parts(path, COLUMNS, counted(parts, progress))

    def _spans(self, since: datetime | None, until: datetime | None) -> Iterator[_Rows]:
        """Yield the ends of pages of rows, up to the last row of the begin.

        The rows of a trail that was altered may have any numbers.
        """
        numbers = _recorded(select(audit_events.c.number), since, until)
        newest = numbers.order_by(audit_events.c.number.desc()).limit(1)
        with self._database.reading() as connection:
            end = connection.scalar(newest)
        after: int | None = None
        while end is not None and after != end:
            query = numbers if after is None else numbers.where(audit_events.c.number > after)
            page_end = query.order_by(audit_events.c.number).offset(self._page_rows - 1).limit(1)
            with self._database.reading() as connection:
                last = connection.scalar(page_end)
            last = end if last is None else min(last, end)
            yield after, last
            after = last


def _joint(database: Database, span: Span, noted: AuditHead | None) -> Joint | None:
    # More rows than numbers: the first ones come before row 1.
    query = _of(select(audit_events), (span.after or None, span.last)).limit(span.last - span.after)
    with database.reading() as connection:
        found = raw_rows(connection, query, {})
    return joint_of(found, span, noted)


def _csv_part(
    database: Database, rows: _Rows, since: datetime | None, until: datetime | None
) -> CsvPart:
    query = _of(_recorded(select(audit_events), since, until), rows)
    with database.reading() as connection:
        found = raw_rows(connection, query, {})
    # A trail that was altered may have a number or nothing in any cell.
    return csv_part(COLUMNS, [list(map(str, row)) for row in found])


def _of(query: Select[Any], rows: _Rows) -> Select[Any]:
    after, last = rows
    if after is not None:
        query = query.where(audit_events.c.number > after)
    return query.where(audit_events.c.number <= last).order_by(audit_events.c.number)


def _recorded(query: Select[Any], since: datetime | None, until: datetime | None) -> Select[Any]:
    if since is not None:
        query = query.where(audit_events.c.recorded_at >= timestamp(since))
    if until is not None:
        query = query.where(audit_events.c.recorded_at < timestamp(until))
    return query


def append(connection: Connection, entry: AuditEntry, now: datetime) -> None:
    """Add a row inside a transaction, as its last statement; see `append_all`."""
    append_all(connection, (entry,), now)


def append_all(connection: Connection, entries: Sequence[AuditEntry], now: datetime) -> None:
    """Add rows in their order inside a transaction, as its last statement.

    From here until the commit, no other transaction can add a row. A later statement that waits
    for a row lock could deadlock with such a transaction.
    """
    if not entries:
        return
    lock_until_end(connection, _APPEND_LOCK)
    last = _head(connection)
    rows = []
    for entry in entries:
        cells = {
            "recorded_at": timestamp(now),
            "kind": entry.kind,
            "outcome": entry.outcome,
            "actor": storable(entry.actor)[:_NAME_LENGTH],
            "host": storable(entry.host)[:_NAME_LENGTH],
            "subject": storable(entry.subject)[:_SUBJECT_LENGTH],
            "detail": storable(entry.detail),
        }
        head = AuditHead(last.number + 1, row_hash(last.hash, last.number + 1, *cells.values()))
        rows.append({"number": head.number, **cells, "previous_hash": last.hash, "hash": head.hash})
        last = head
    connection.execute(_APPEND, rows)


def last_number(connection: Connection) -> int:
    """Return the number of the last row; 0 for an empty trail."""
    return _head(connection).number


def timestamp(value: datetime) -> str:
    """Return a time in the format of the trail, in which text order is time order."""
    return value.astimezone(UTC).isoformat(timespec="microseconds").replace("+00:00", "Z")


def _head(connection: Connection) -> AuditHead:
    row = connection.execute(_LAST).one_or_none()
    return AuditHead(*row) if row else EMPTY_HEAD
