"""The audit trail: what happened, in rows that are only ever added, each hashed with the last.

Rows are numbered from 1 without a gap. The row of what the store itself records is committed in
the same transaction as what it tells of: neither is there without the other.
"""

from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path

from sqlalchemy import Connection, insert, select, text

from storage.audit.chain import EMPTY, digest, follow
from storage.audit.records import AuditEntry, AuditHead, AuditKind, AuditOutcome, AuditRow
from storage.files.csv_file import write_csv
from storage.tables.database import Database
from storage.tables.schema import audit_events, storable

_PAGE_ROWS = 1000

# What strangers may write into the trail is not as long as they like.
_NAME_LENGTH = 255

_SUBJECT_LENGTH = 1000

# Any number, as long as every process that adds to the trail takes the same.
_APPEND_LOCK = 0x63787261

COLUMNS = tuple(column.name for column in audit_events.c)


class Audit:
    """The trail of one store."""

    def __init__(self, database: Database, clock: Callable[[], datetime]) -> None:
        self._database = database
        self._now = clock

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
        """Add a row of its own; once this returns, it is on disk. See `AuditEntry`."""
        entry = AuditEntry(kind, outcome, actor, host, subject, detail)
        with self._database.writing() as connection:
            append(connection, entry, self._now())

    def rows(
        self, since: datetime | None = None, until: datetime | None = None
    ) -> Iterator[AuditRow]:
        """The rows recorded from `since` (included) to `until` (not), in their order.

        They are read a page at a time, so that a slow reader holds nothing up.
        """
        after: int | None = None
        while page := self.page(after, _PAGE_ROWS, since=since, until=until):
            yield from page
            after = page[-1].number

    def page(
        self,
        after: int | None,
        limit: int,
        *,
        since: datetime | None = None,
        until: datetime | None = None,
    ) -> tuple[AuditRow, ...]:
        """At most `limit` rows of a higher number than `after`, or from the very first."""
        query = select(audit_events)
        if after is not None:
            query = query.where(audit_events.c.number > after)
        if since is not None:
            query = query.where(audit_events.c.recorded_at >= moment(since))
        if until is not None:
            query = query.where(audit_events.c.recorded_at < moment(until))
        with self._database.reading() as connection:
            rows = connection.execute(query.order_by(audit_events.c.number).limit(limit))
            return tuple(AuditRow(*row) for row in rows)

    def latest(self, kind: AuditKind, host: str) -> AuditRow | None:
        """The newest row of a kind from a host, if there is one."""
        query = (
            select(audit_events)
            .where(audit_events.c.kind == kind, audit_events.c.host == host)
            .order_by(audit_events.c.number.desc())
            .limit(1)
        )
        with self._database.reading() as connection:
            row = connection.execute(query).one_or_none()
        return AuditRow(*row) if row else None

    def head(self) -> AuditHead:
        """Where the trail ends now."""
        with self._database.reading() as connection:
            return _head(connection)

    def verify(self, noted: AuditHead | None = None) -> AuditHead:
        """Check every row, in constant memory, and return the head.

        Raises TrailAlteredError, which names the first altered row, and where the trail does not
        hold the head that was noted earlier.
        """
        return follow(self.rows(), noted)

    def write_csv(
        self, path: Path, since: datetime | None = None, until: datetime | None = None
    ) -> int:
        """Write these rows and return their number; see `storage.export.write_csv`."""
        return write_csv(
            path,
            COLUMNS,
            (
                {name: str(getattr(row, name)) for name in COLUMNS}
                for row in self.rows(since, until)
            ),
        )


def append(connection: Connection, entry: AuditEntry, now: datetime) -> None:
    """Add a row inside a wider transaction, as its last statement.

    The last, because whoever adds a row holds up all others until it commits: one that then
    waited for a row of another table could wait for somebody who waits for it.
    """
    if connection.dialect.name == "postgresql":
        connection.execute(text("SELECT pg_advisory_xact_lock(:key)"), {"key": _APPEND_LOCK})
    last = _head(connection)
    cells = {
        "recorded_at": moment(now),
        "kind": entry.kind,
        "outcome": entry.outcome,
        "actor": storable(entry.actor)[:_NAME_LENGTH],
        "host": storable(entry.host)[:_NAME_LENGTH],
        "subject": storable(entry.subject)[:_SUBJECT_LENGTH],
        "detail": storable(entry.detail),
    }
    number = last.number + 1
    connection.execute(
        insert(audit_events).values(
            number=number,
            **cells,
            previous_hash=last.hash,
            hash=digest(last.hash, number, *cells.values()),
        )
    )


def moment(value: datetime) -> str:
    """A time as the trail writes it; text order is the order in time."""
    return value.astimezone(UTC).isoformat(timespec="microseconds").replace("+00:00", "Z")


def _head(connection: Connection) -> AuditHead:
    query = select(audit_events.c.number, audit_events.c.hash)
    row = connection.execute(query.order_by(audit_events.c.number.desc()).limit(1)).one_or_none()
    return AuditHead(*row) if row else EMPTY
