"""Sessions of browsers: unguessable numbers in a cookie.

Open sessions are known to this process only, so logging out ends a session for good, and a restart
(with a changed account, for example) ends all sessions.
"""

import hashlib
import secrets
import time
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass

from starlette.datastructures import Headers
from starlette.requests import cookie_parser

from daemon.web.access.identity import Principal
from daemon.web.access.roles import Role

COOKIE = "cxrd_session"
SECURE_COOKIE = f"__Host-{COOKIE}"
"""Name over TLS: a browser accepts it from this host only, encrypted and for all paths."""
MAX_SESSIONS = 256


@dataclass(slots=True)
class _Session:
    principal: Principal
    ends_at: float
    idle_at: float


class Sessions:
    """The open sessions. Runs on the event loop only, so no method blocks."""

    def __init__(
        self,
        lifetime_seconds: float,
        idle_seconds: float,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self.lifetime_seconds = lifetime_seconds
        self._idle_seconds = idle_seconds
        self._now = monotonic
        self._open: OrderedDict[bytes, _Session] = OrderedDict()

    def start(self, name: str, role: Role) -> str:
        """Open a session and return the value of its cookie; the oldest ends beyond the limit."""
        now = self._now()
        for digest, old in list(self._open.items()):
            if min(old.ends_at, old.idle_at) <= now:
                del self._open[digest]
        value = secrets.token_urlsafe(32)
        principal = Principal(name, role, csrf=secrets.token_urlsafe(32))
        self._open[digest_of(value)] = _Session(
            principal, now + self.lifetime_seconds, now + self._idle_seconds
        )
        while len(self._open) > MAX_SESSIONS:
            self._open.popitem(last=False)
        return value

    def principal(self, value: str) -> Principal | None:
        """Return the user of an open session, which then counts as used."""
        session = self._open.get(digest_of(value))
        now = self._now()
        if session is None or min(session.ends_at, session.idle_at) <= now:
            return None
        session.idle_at = now + self._idle_seconds
        return session.principal

    def end(self, value: str) -> Principal | None:
        """End a session. Returns its user; None if it was not open."""
        session = self._open.pop(digest_of(value), None)
        return session.principal if session is not None else None


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
