"""Looks up the newest row about a subject, for a caller that came too late."""

from collections.abc import Collection
from datetime import datetime

from sqlalchemy import Connection, or_, select

from storage.audit.records import AuditKind, AuditRow
from storage.audit.trail import last_number, timestamp
from storage.tables.schema import audit_events

NEWEST_ROWS = 50_000
"""Rows of the end of the trail that are searched, so that a long trail takes no longer."""


def newest_row(
    connection: Connection, kinds: Collection[AuditKind], subject: str, after: datetime
) -> AuditRow | None:
    """Return the newest row of one of the kinds recorded later than `after`, or None.

    Its subject is `subject`, or begins with these words.
    """
    query = (
        select(audit_events)
        .where(
            audit_events.c.number > last_number(connection) - NEWEST_ROWS,
            audit_events.c.kind.in_([str(kind) for kind in kinds]),
            audit_events.c.recorded_at > timestamp(after),
            or_(
                audit_events.c.subject == subject,
                audit_events.c.subject.startswith(f"{subject} ", autoescape=True),
            ),
        )
        .order_by(audit_events.c.number.desc())
        .limit(1)
    )
    row = connection.execute(query).one_or_none()
    return AuditRow(*row) if row is not None else None


def named_act(row: AuditRow, verb: str) -> str:
    """Return the act of a row as part of a sentence: `was retried by alice at 12:03`."""
    at = datetime.fromisoformat(row.recorded_at)
    return f"was {verb} by {row.actor or 'an operator'} at {at:%H:%M} UTC"
