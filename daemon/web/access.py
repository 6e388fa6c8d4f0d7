"""Who is let in: by the token itself, or by a session that the token has opened.

A session is an unguessable number in a cookie; this process alone knows which are open, so
logging out ends one for good and a restart ends all.
"""

import hashlib
import hmac
import logging
import secrets
import time
from collections import OrderedDict
from collections.abc import Callable
from enum import StrEnum

from pydantic import SecretStr
from starlette.datastructures import Headers
from starlette.requests import cookie_parser

log = logging.getLogger("web")

COOKIE = "cxrd_session"
SESSION_SECONDS = 12 * 3600
MAX_SESSIONS = 256
FAILURES = 10
"""Wrong tokens from one host within FAILURE_SECONDS, after which no more of them are reported."""
FAILURE_SECONDS = 60.0
_MAX_HOSTS = 1024


class LoginOutcome(StrEnum):
    """What became of an attempt."""

    ACCEPTED = "accepted"
    REFUSED = "refused"
    THROTTLED = "throttled"
    LOGGED_OUT = "logged out"


OnLogin = Callable[[str, LoginOutcome], None]


def log_login(host: str, outcome: LoginOutcome) -> None:
    """Default for who watches logins: the log."""
    level = logging.INFO if outcome in _WELL else logging.WARNING
    log.log(level, "login from %s: %s", host, outcome)


_WELL = (LoginOutcome.ACCEPTED, LoginOutcome.LOGGED_OUT)


class Access:
    """Checks tokens and sessions. Used on the event loop only, so nothing in it waits."""

    def __init__(
        self,
        token: SecretStr,
        on_login: OnLogin = log_login,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self._token = _digest(token.get_secret_value())
        self._on_login = on_login
        self._now = monotonic
        self._sessions: OrderedDict[bytes, float] = OrderedDict()
        self._failures: OrderedDict[str, list[float]] = OrderedDict()

    def is_open_to(self, headers: Headers, host: str) -> bool:
        """Whether a request comes with an open session, or with the token as a bearer."""
        if self._sessions.get(_digest(_session_of(headers)), 0.0) > self._now():
            return True
        scheme, _, offered = headers.get("authorization", "").partition(" ")
        if scheme.lower() != "bearer":
            return False
        return self._judge(offered.strip(), host) is LoginOutcome.ACCEPTED

    def log_in(self, offered: str, host: str) -> tuple[LoginOutcome, str]:
        """Open a session where the token is right; the cookie's value, else empty."""
        outcome = self._judge(offered.strip(), host)
        if outcome is not LoginOutcome.ACCEPTED:
            return outcome, ""
        self._on_login(host, outcome)
        session = secrets.token_urlsafe(32)
        self._sessions[_digest(session)] = self._now() + SESSION_SECONDS
        while len(self._sessions) > MAX_SESSIONS:
            self._sessions.popitem(last=False)
        return outcome, session

    def log_out(self, headers: Headers, host: str) -> None:
        """End the session that a request comes with."""
        if self._sessions.pop(_digest(_session_of(headers)), None) is not None:
            self._on_login(host, LoginOutcome.LOGGED_OUT)

    def _judge(self, offered: str, host: str) -> LoginOutcome:
        """Compare, and report a failure; of a host with too many this is said once.

        The right token is always let in, for others may share the host's address. That wrong
        ones are hopeless is a matter of the token's length; what is limited here is the log.
        """
        if hmac.compare_digest(_digest(offered), self._token):
            return LoginOutcome.ACCEPTED
        now = self._now()
        recent = [at for at in self._failures.get(host, ()) if now - at < FAILURE_SECONDS]
        if len(recent) > FAILURES:
            return LoginOutcome.THROTTLED
        outcome = LoginOutcome.REFUSED if len(recent) < FAILURES else LoginOutcome.THROTTLED
        self._failures[host] = [*recent, now]
        self._failures.move_to_end(host)
        if len(self._failures) > _MAX_HOSTS:
            self._failures.popitem(last=False)
        self._on_login(host, outcome)
        return outcome


def _digest(value: str) -> bytes:
    """Of equal length for all, so that comparing tells nothing."""
    return hashlib.sha256(value.encode("utf-8", "surrogateescape")).digest()


def _session_of(headers: Headers) -> str:
    """Whatever else the browser sends: cookies of a host are shared by all that is served there."""
    return cookie_parser("; ".join(headers.getlist("cookie"))).get(COOKIE, "")
