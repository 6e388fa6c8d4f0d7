"""The open sessions of browsers: a login at one web host is valid at all hosts of the store.

A row has the SHA-256 of the cookie, never the cookie. Nothing is kept in the process, so that a
session which ends at one host ends at all hosts at once.
"""

import contextlib
import functools
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta

from sqlalchemy import Connection, Delete, Select, Update, delete, or_, select, update

from storage.errors import StorageError
from storage.tables.database import Database, parameter
from storage.tables.hosts import web_sessions

MAX_SESSIONS = 256
"""Open sessions of a store; beyond them the oldest ends."""
_RENEW_AFTER = timedelta(minutes=1)


@dataclass(frozen=True, slots=True)
class WebSession:
    """A login.

    `entry` is the digest of the account or token with which the user logged in: a caller compares
    it with its own, so that a changed account ends its sessions. `csrf` is the secret of the
    session's forms.
    """

    user: str
    role: str
    csrf: str
    entry: str


class WebSessions:
    """The table of sessions. The times are those of the store's clock."""

    def __init__(self, database: Database, clock: Callable[[], datetime]) -> None:
        self._database = database
        self._now = clock

    def start(self, digest: str, session: WebSession, lifetime: timedelta, idle: timedelta) -> None:
        """Open a session under the digest of its cookie; remove what has ended."""
        now = self._now()
        row = {
            "digest": digest,
            "user": session.user,
            "role": session.role,
            "csrf": session.csrf,
            "entry": session.entry,
            "started_at": now,
            "ends_at": now + lifetime,
            "idle_at": now + idle,
        }
        with self._database.writing() as connection:
            connection.execute(_ended(), {"now": now})
            connection.execute(web_sessions.insert(), row)
            _end_oldest(connection)

    def find(self, digest: str, idle: timedelta) -> WebSession | None:
        """Return an open session, which then counts as used; None if there is none.

        The use is recorded a minute after the last one that was, or later: most requests only read.
        So a session ends after `idle` without a request, or up to a minute earlier.
        """
        now = self._now()
        with self._database.reading() as connection:
            row = connection.execute(_one(), {"digest": digest}).one_or_none()
        if row is None or min(row.ends_at, row.idle_at) <= now:
            return None
        if row.idle_at < now + idle - min(_RENEW_AFTER, idle / 10):
            self._renew(digest, now + idle)
        return WebSession(row.user, row.role, row.csrf, row.entry)

    def _renew(self, digest: str, idle_at: datetime) -> None:
        """Record the use of a session. A store that cannot be written ends no session."""
        with contextlib.suppress(StorageError), self._database.writing() as connection:
            connection.execute(_renewal(), {"renewed": digest, "until": idle_at})

    def end(self, digest: str) -> WebSession | None:
        """End a session. Return it if it was open."""
        now = self._now()
        with self._database.writing() as connection:
            row = connection.execute(_one(), {"digest": digest}).one_or_none()
            deleted = connection.execute(_removal(), {"removed": digest}).rowcount
        if row is None or not deleted or min(row.ends_at, row.idle_at) <= now:
            return None
        return WebSession(row.user, row.role, row.csrf, row.entry)


def _end_oldest(connection: Connection) -> None:
    newest = (
        select(web_sessions.c.digest)
        .order_by(web_sessions.c.started_at.desc(), web_sessions.c.digest)
        .offset(MAX_SESSIONS)
    )
    beyond = connection.scalars(newest).all()
    if beyond:
        connection.execute(delete(web_sessions).where(web_sessions.c.digest.in_(beyond)))


@functools.cache
def _one() -> Select[tuple[object, ...]]:
    return select(web_sessions).where(
        web_sessions.c.digest == parameter(web_sessions.c.digest, "digest")
    )


@functools.cache
def _ended() -> Delete:
    now = parameter(web_sessions.c.ends_at, "now")
    return delete(web_sessions).where(
        or_(web_sessions.c.ends_at <= now, web_sessions.c.idle_at <= now)
    )


@functools.cache
def _renewal() -> Update:
    columns = web_sessions.c
    return (
        update(web_sessions)
        .where(columns.digest == parameter(columns.digest, "renewed"))
        .values(idle_at=parameter(columns.idle_at, "until"))
    )


@functools.cache
def _removal() -> Delete:
    return delete(web_sessions).where(
        web_sessions.c.digest == parameter(web_sessions.c.digest, "removed")
    )
