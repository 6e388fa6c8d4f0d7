"""Who is let in: by the token itself, or by a session that the token has opened.

A session is an unguessable number in a cookie; this process alone knows which are open, so
logging out ends one for good and a restart ends all.
"""

import hashlib
import hmac
import secrets
import time
from collections import OrderedDict
from collections.abc import Callable

from pydantic import SecretStr, TypeAdapter, ValidationError
from starlette.datastructures import Headers
from starlette.requests import cookie_parser

from daemon.audit.logins import LoginOutcome
from daemon.audit.repeats import told_apart
from daemon.config.fields import TOKEN_CHARACTERS, Token, read_secret
from daemon.config.settings import TOKEN_FILE, Config
from daemon.errors import ConfigError
from storage.files.durable import durable_file

COOKIE = "cxrd_session"

SESSION_SECONDS = 12 * 3600

MAX_SESSIONS = 256

FAILURES = 10
"""Wrong tokens from one host within FAILURE_SECONDS, after which it is told to wait."""

FAILURE_SECONDS = 60.0

BEARER_SECONDS = 3600.0
"""How often a host that sends the token with each request is reported."""


OnLogin = Callable[[str, LoginOutcome], None]


class Access:
    """Checks tokens and sessions. Used on the event loop only, so nothing in it waits."""

    def __init__(
        self,
        token: SecretStr,
        on_login: OnLogin,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self._token = _digest(token.get_secret_value())
        self._on_login = on_login
        self._now = monotonic
        self._sessions: OrderedDict[bytes, float] = OrderedDict()
        self._failures: dict[str, list[float]] = {}
        self._bearers: dict[str, float] = {}

    def is_open_to(self, headers: Headers, host: str) -> bool:
        """Whether a request comes with an open session, or with the token as a bearer."""
        if self._sessions.get(_digest(_session_of(headers)), 0.0) > self._now():
            return True
        scheme, _, offered = headers.get("authorization", "").partition(" ")
        if scheme.lower() != "bearer":
            return False
        if self._judge(offered.strip(), host) is not LoginOutcome.ACCEPTED:
            return False
        self._report_bearer(host)
        return True

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
        """Compare, and report a failure.

        The right token is always let in, for others may share the host's address. That wrong
        ones are hopeless is a matter of the token's length.
        """
        if hmac.compare_digest(_digest(offered), self._token):
            return LoginOutcome.ACCEPTED
        since = self._now() - FAILURE_SECONDS
        self._failures = {one: at for one, at in self._failures.items() if at[-1] > since}
        known = told_apart(host, self._failures)
        recent = [at for at in self._failures.get(known, ()) if at > since]
        outcome = LoginOutcome.THROTTLED
        if len(recent) < FAILURES:
            outcome = LoginOutcome.REFUSED
            self._failures[known] = [*recent, self._now()]
        self._on_login(host, outcome)
        return outcome

    def _report_bearer(self, host: str) -> None:
        """Programs send the token with each request: of a host the first in an hour is reported."""
        now = self._now()
        self._bearers = {one: until for one, until in self._bearers.items() if until > now}
        known = told_apart(host, self._bearers)
        if known not in self._bearers:
            self._bearers[known] = now + BEARER_SECONDS
            self._on_login(host, LoginOutcome.BEARER)


def _digest(value: str) -> bytes:
    """Of equal length for all, so that comparing tells nothing."""
    return hashlib.sha256(value.encode("utf-8", "surrogateescape")).digest()


def _session_of(headers: Headers) -> str:
    """Whatever else the browser sends: cookies of a host are shared by all that is served there."""
    return cookie_parser("; ".join(headers.getlist("cookie"))).get(COOKIE, "")


def token_of(config: Config) -> SecretStr:
    """The token. At the first start one is made, in a file that its owner alone may read.

    Raises ConfigError for one that could be guessed or cannot be read, SpoolError for a disk
    that cannot keep it.
    """
    if config.web.token is not None:
        return config.web.token
    path = config.web.token_file or config.data_dir / TOKEN_FILE
    if config.web.token_file is None and not path.exists():
        with durable_file(path, path.parent) as file:
            file.write(f"{secrets.token_urlsafe(32)}\n".encode())
    token = read_secret(path)
    try:
        return TypeAdapter(Token).validate_python(token)
    except ValidationError:
        raise ConfigError(
            f"{path}: a token has at least {TOKEN_CHARACTERS} printable ASCII characters and no"
            " space"
        ) from None
