"""Reading the audit trail from one row on, for readers that count its events.

A reader keeps its place and its counts in the store, so that a later process goes on from there.
"""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import bindparam, select

from storage.tables.database import Database, raw_rows
from storage.tables.facts import fact, set_fact
from storage.tables.schema import audit_events

_PREFIX = "count of the audit trail: "

_COUNTED = (
    select(
        audit_events.c.number,
        audit_events.c.recorded_at,
        audit_events.c.kind,
        audit_events.c.outcome,
        audit_events.c.actor,
        audit_events.c.subject,
        audit_events.c.detail,
    )
    .where(audit_events.c.number > bindparam("after"))
    .order_by(audit_events.c.number)
    .limit(bindparam("most"))
)


@dataclass(frozen=True, slots=True)
class CountPlace:
    """The last row that a reader has counted, and its counts as JSON values."""

    number: int
    counts: Any


class AuditTail:
    """The rows of the trail behind a row, and the places of readers that count them."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def rows(self, after: int, limit: int) -> Sequence[tuple[Any, ...]]:
        """Return at most `limit` rows behind the row `after`.

        Each is (number, recorded_at, kind, outcome, actor, subject, detail), as it is stored.
        """
        with self._database.reading() as connection:
            return raw_rows(connection, _COUNTED, {"after": after, "most": limit})

    def place(self, reader: str) -> CountPlace | None:
        """Return the place that a reader saved.

        None: there is none, or the trail has another row there, as after a restored backup.
        """
        with self._database.reading() as connection:
            text = fact(connection, _PREFIX + reader)
            if text is None:
                return None
            saved = json.loads(text)
            number = int(saved["number"])
            row = connection.scalar(
                select(audit_events.c.hash).where(audit_events.c.number == number)
            )
        is_same = row is not None and row == saved["hash"]
        return CountPlace(number, saved["counts"]) if is_same else None

    def save(self, reader: str, place: CountPlace) -> None:
        """Save the place of a reader; its row is in the trail."""
        with self._database.writing() as connection:
            row = connection.scalar(
                select(audit_events.c.hash).where(audit_events.c.number == place.number)
            )
            saved = {"number": place.number, "hash": row, "counts": place.counts}
            set_fact(connection, _PREFIX + reader, json.dumps(saved))
