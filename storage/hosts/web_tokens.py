"""The main token of the pages by its digest, and the key of forms: the same at all web hosts."""

import functools
import secrets
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import Select, select, update

from storage.audit.records import AuditEntry
from storage.audit.trail import append
from storage.tables.database import Database, insert, parameter
from storage.tables.facts import add_fact, fact
from storage.tables.hosts import web_tokens

_FORM_KEY = "form_key"


@dataclass(frozen=True, slots=True)
class RecordedToken:
    """The SHA-256 of a token in hexadecimal, and the time of its record."""

    digest: str
    created_at: datetime


class WebTokens:
    """The table of tokens."""

    def __init__(self, database: Database, clock: Callable[[], datetime]) -> None:
        self._database = database
        self._now = clock

    def find(self, name: str) -> RecordedToken | None:
        """Return the token of this name, or None."""
        with self._database.reading() as connection:
            row = connection.execute(_one(), {"name": name}).one_or_none()
        return None if row is None else RecordedToken(row.digest, row.created_at)

    def adopt(self, name: str, digest: str) -> RecordedToken:
        """Record a token if the store has none of this name. Return the one that it then has."""
        now = self._now()
        with self._database.writing() as connection:
            new = insert(connection, web_tokens).values(name=name, digest=digest, created_at=now)
            connection.execute(new.on_conflict_do_nothing(index_elements=[web_tokens.c.name]))
            row = connection.execute(_one(), {"name": name}).one()
        return RecordedToken(row.digest, row.created_at)

    def replace(self, name: str, digest: str, entry: AuditEntry) -> RecordedToken:
        """Record another token in the place of the one of this name, and an event with it."""
        now = self._now()
        changed = (
            update(web_tokens)
            .where(web_tokens.c.name == name)
            .values(digest=digest, created_at=now)
        )
        with self._database.writing() as connection:
            connection.execute(changed)
            append(connection, entry, now)
        return RecordedToken(digest, now)

    def form_key(self) -> bytes:
        """Return the key of the forms of users who log in at a proxy; make it at the first call."""
        with self._database.reading() as connection:
            found = fact(connection, _FORM_KEY)
        if found is None:
            with self._database.writing() as connection:
                found = add_fact(connection, _FORM_KEY, secrets.token_hex(32))
        return bytes.fromhex(found)


@functools.cache
def _one() -> Select[tuple[object, ...]]:
    return select(web_tokens).where(web_tokens.c.name == parameter(web_tokens.c.name, "name"))
