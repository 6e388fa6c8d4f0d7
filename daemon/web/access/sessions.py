"""Sessions of browsers: unguessable numbers in a cookie, whose digests are in the store.

Every request looks its session up, in a thread: a session that ends at one host, by a logout, ends
at all hosts with the next request. It ends, too, when the account or token of its login is changed
in the configuration of the host that is asked.
"""

import hashlib
import secrets
from datetime import timedelta

from starlette.concurrency import run_in_threadpool
from starlette.datastructures import Headers
from starlette.requests import cookie_parser

from daemon.web.access.identity import Principal
from daemon.web.access.roles import Role
from storage.hosts.web_sessions import WebSession, WebSessions

COOKIE = "cxrd_session"
SECURE_COOKIE = f"__Host-{COOKIE}"
"""Name over TLS: a browser accepts it from this host only, encrypted and for all paths."""


class Sessions:
    """The open sessions of all hosts."""

    def __init__(self, store: WebSessions, lifetime_seconds: float, idle_seconds: float) -> None:
        self.lifetime_seconds = lifetime_seconds
        self._store = store
        self._idle = timedelta(seconds=idle_seconds)

    async def start(self, name: str, role: Role, entry: str) -> str:
        """Open a session and return the value of its cookie; the oldest ends beyond the limit.

        `entry` is the digest of the account or token of the login. Raises StorageError.
        """
        value = secrets.token_urlsafe(32)
        session = WebSession(name, str(role), secrets.token_urlsafe(32), entry)
        lifetime = timedelta(seconds=self.lifetime_seconds)
        await run_in_threadpool(self._store.start, _stored(value), session, lifetime, self._idle)
        return value

    async def find(self, value: str) -> WebSession | None:
        """Return an open session, which then counts as used. Raises StorageError."""
        return await run_in_threadpool(self._store.find, _stored(value), self._idle)

    async def end(self, value: str) -> WebSession | None:
        """End a session. Return it if it was open. Raises StorageError."""
        return await run_in_threadpool(self._store.end, _stored(value))


def principal_of_session(session: WebSession) -> Principal:
    """Return the user of a session."""
    return Principal(session.user, Role[session.role.upper()], session.csrf)


def session_of(headers: Headers, *, is_encrypted: bool) -> str:
    """Return the value of the session cookie; a browser also sends cookies of other services.

    Over TLS only the cookie counts that no other host and no plain connection can set.
    """
    cookies = cookie_parser("; ".join(headers.getlist("cookie")))
    plain = "" if is_encrypted else cookies.get(COOKIE, "")
    return cookies.get(SECURE_COOKIE, plain)


def digest_of(value: str) -> bytes:
    """Hash a secret: digests have one length, so a comparison does not reveal the length."""
    return hashlib.sha256(value.encode("utf-8", "surrogateescape")).digest()


def _stored(value: str) -> str:
    return digest_of(value).hex()
