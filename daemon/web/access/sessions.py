"""Access control: a request needs the token, or a session that the token opened.

A session is an unguessable number in a cookie. Open sessions are known to this process only, so
logging out ends a session for good and a restart ends all sessions.
"""

import hashlib
import hmac
import secrets
import time
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import replace

from pydantic import SecretStr
from starlette.datastructures import Headers
from starlette.requests import cookie_parser

from daemon.audit.logins import LoginOutcome
from daemon.audit.repeats import counted_client
from daemon.web.access.identity import Principal
from daemon.web.access.roles import Role

COOKIE = "cxrd_session"
SESSION_SECONDS = 12 * 3600
MAX_SESSIONS = 256
FAILURES = 10
"""Wrong tokens from one client within FAILURE_SECONDS before it is throttled."""
FAILURE_SECONDS = 60.0
BEARER_SECONDS = 3600.0
"""Interval at which a client that sends the token with each request is reported."""

OnLogin = Callable[[str, LoginOutcome], None]


class Authenticator:
    """Checks tokens and sessions. Runs on the event loop only, so no method blocks."""

    def __init__(
        self,
        token: SecretStr,
        role: Role,
        on_login: OnLogin,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self._token = _digest(token.get_secret_value())
        self._bearer = Principal("token", role)
        self._on_login = on_login
        self._now = monotonic
        self._sessions: OrderedDict[bytes, tuple[float, Principal]] = OrderedDict()
        self._failures: dict[str, list[float]] = {}
        self._bearers: dict[str, float] = {}

    def accepts(self, headers: Headers, host: str) -> Principal | None:
        """Return the caller of a request with an open session, or with the token as a bearer."""
        until, principal = self._sessions.get(_digest(_session_of(headers)), (0.0, None))
        if until > self._now():
            return principal
        scheme, _, offered = headers.get("authorization", "").partition(" ")
        if scheme.lower() != "bearer":
            return None
        if self._check(offered.strip(), host) is not LoginOutcome.ACCEPTED:
            return None
        self._report_bearer(host)
        return self._bearer

    def log_in(self, offered: str, host: str) -> tuple[LoginOutcome, str]:
        """Open a session if the token is right. Returns the cookie's value, else an empty one."""
        outcome = self._check(offered.strip(), host)
        if outcome is not LoginOutcome.ACCEPTED:
            return outcome, ""
        self._on_login(host, outcome)
        session = secrets.token_urlsafe(32)
        principal = replace(self._bearer, csrf=secrets.token_urlsafe(32))
        self._sessions[_digest(session)] = self._now() + SESSION_SECONDS, principal
        while len(self._sessions) > MAX_SESSIONS:
            self._sessions.popitem(last=False)
        return outcome, session

    def log_out(self, headers: Headers, host: str) -> None:
        """End the session of a request."""
        if self._sessions.pop(_digest(_session_of(headers)), None) is not None:
            self._on_login(host, LoginOutcome.LOGGED_OUT)

    def _check(self, offered: str, host: str) -> LoginOutcome:
        """Compare a token with the right one, and report a failure.

        The right token is always accepted, because other users may share the host's address. The
        length of the token, not the throttling, makes guessing hopeless.
        """
        if hmac.compare_digest(_digest(offered), self._token):
            return LoginOutcome.ACCEPTED
        since = self._now() - FAILURE_SECONDS
        self._failures = {
            client: times for client, times in self._failures.items() if times[-1] > since
        }
        client = counted_client(host, self._failures)
        recent = [time for time in self._failures.get(client, ()) if time > since]
        outcome = LoginOutcome.THROTTLED
        if len(recent) < FAILURES:
            outcome = LoginOutcome.REFUSED
            self._failures[client] = [*recent, self._now()]
        self._on_login(host, outcome)
        return outcome

    def _report_bearer(self, host: str) -> None:
        """Report a client's first request in an hour: programs send the token with each request."""
        now = self._now()
        self._bearers = {client: end for client, end in self._bearers.items() if end > now}
        client = counted_client(host, self._bearers)
        if client not in self._bearers:
            self._bearers[client] = now + BEARER_SECONDS
            self._on_login(host, LoginOutcome.BEARER)


def _digest(value: str) -> bytes:
    """Hash a token: digests have one length, so a comparison does not reveal the length."""
    return hashlib.sha256(value.encode("utf-8", "surrogateescape")).digest()


def _session_of(headers: Headers) -> str:
    """Return the session cookie; a browser also sends cookies of other services of this host."""
    return cookie_parser("; ".join(headers.getlist("cookie"))).get(COOKIE, "")
