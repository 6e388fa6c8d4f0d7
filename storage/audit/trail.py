"""The audit trail: an append-only table of events, each hashed with the previous row.

Rows are numbered from 1 without a gap. The row of an event in the store is committed in the
transaction of that event: both are in the store, or neither.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from sqlalchemy import Connection, Select, func, insert, select, text

from storage.audit.chain import EMPTY_HEAD, row_hash, verify_rows
from storage.audit.records import AuditEntry, AuditHead, AuditKind, AuditOutcome, AuditRow
from storage.files.csv_file import write_csv
from storage.tables.database import Database, raw_rows
from storage.tables.schema import SETTINGS, audit_events, storable

PAGE_ROWS = 1000

# Limits for cells with text from peers.
_NAME_LENGTH = 255
_SUBJECT_LENGTH = 1000

# An arbitrary number, the same for every process that adds to the trail.
_APPEND_LOCK = 0x63787261

COLUMNS = tuple(column.name for column in audit_events.c)

# The kinds that the condition SETTINGS names.
_SETTINGS_KINDS = frozenset({AuditKind.CONFIGURATION_CHANGED, AuditKind.SOURCES_ADOPTED})

_APPEND = insert(audit_events)
_LOCK_TRAIL = text("SELECT pg_advisory_xact_lock(:key)")
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
        for page in self._pages(since, until):
            for row in page:
                yield AuditRow(*row)

    def page(self, after: int | None, limit: int) -> tuple[AuditRow, ...]:
        """Return at most `limit` rows after the row `after`, or from the first row on."""
        return tuple(AuditRow(*row) for row in self._page(after, limit))

    def count(self, since: datetime | None = None, until: datetime | None = None) -> int:
        """Return the number of rows recorded from `since` to before `until`."""
        query = _recorded(select(func.count()).select_from(audit_events), since, until)
        with self._database.reading() as connection:
            return connection.scalar(query) or 0

    def _pages(
        self, since: datetime | None = None, until: datetime | None = None
    ) -> Iterator[Sequence[Sequence[Any]]]:
        after: int | None = None
        while page := self._page(after, self._page_rows, since, until):
            yield page
            after = page[-1][0]

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
        self, noted: AuditHead | None = None, progress: Callable[[int], object] = int
    ) -> AuditHead:
        """Verify every row in constant memory and return the head.

        `progress` is called with the number of rows of each page. Raises TrailAlteredError with the
        first altered row, also if the trail does not contain the head `noted` earlier.
        """
        return verify_rows(_counted(self._pages(), progress), noted)

    def write_csv(
        self,
        path: Path,
        since: datetime | None = None,
        until: datetime | None = None,
        progress: Callable[[int], object] = int,
    ) -> int:
        """Write these rows as CSV; return their number. See `storage.files.csv_file.write_csv`.

        `progress` is called with the number of rows of each page.
        """
        rows = _counted(self._pages(since, until), progress)
        # A trail that was altered may have a number or nothing in any cell.
        return write_csv(path, COLUMNS, (list(map(str, row)) for row in rows))


def _counted(
    pages: Iterable[Sequence[Sequence[Any]]], progress: Callable[[int], object]
) -> Iterator[Sequence[Any]]:
    for page in pages:
        yield from page
        progress(len(page))


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
    if connection.dialect.name == "postgresql":
        connection.execute(_LOCK_TRAIL, {"key": _APPEND_LOCK})
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


def timestamp(value: datetime) -> str:
    """Return a time in the format of the trail, in which text order is time order."""
    return value.astimezone(UTC).isoformat(timespec="microseconds").replace("+00:00", "Z")


def _head(connection: Connection) -> AuditHead:
    row = connection.execute(_LAST).one_or_none()
    return AuditHead(*row) if row else EMPTY_HEAD
