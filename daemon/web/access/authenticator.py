"""Finds the caller of a request: a session, a token, or a user who logged in at a proxy."""

import hmac
import secrets
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from starlette.datastructures import Headers

from daemon.audit.logins import LoginOutcome
from daemon.audit.repeats import MOST_HOSTS, counted_client
from daemon.config.web import WebConfig
from daemon.web.access.identity import Principal
from daemon.web.access.passwords import Accounts
from daemon.web.access.proxies import IdentityError, ProxyUser
from daemon.web.access.roles import Role
from daemon.web.access.sessions import Sessions, digest_of, session_of
from daemon.web.access.throttle import FailureCount, PasswordThrottle
from daemon.web.access.token_file import KnownToken
from daemon.web.problems import BusyError

REPORT_SECONDS = 3600.0
"""Interval at which a caller is reported who proves the identity with each request."""

OnLogin = Callable[[str, LoginOutcome, str], None]
"""Called with the client's address, the outcome, and the user's name if it is known."""


@dataclass(frozen=True, slots=True)
class Login:
    """Result of a login form: the cookie's value if it was accepted, else the time to wait."""

    outcome: LoginOutcome
    session: str = ""
    wait_seconds: float = 0.0


class Authenticator:
    """Checks tokens, passwords and sessions. Runs on the event loop only, so no method blocks."""

    def __init__(
        self,
        tokens: Sequence[KnownToken],
        web: WebConfig,
        on_login: OnLogin,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self._tokens = [
            (digest_of(each.token.get_secret_value()), Principal(each.name, each.role))
            for each in tokens
        ]
        self.accounts = Accounts(web.accounts)
        self.sessions = Sessions(3600 * web.session_hours, 60 * web.idle_minutes, monotonic)
        self._on_login = on_login
        self._now = monotonic
        self._wrong_tokens = FailureCount(MOST_HOSTS, monotonic)
        self._passwords = PasswordThrottle(monotonic)
        self._reported: dict[tuple[str, str], float] = {}
        self._csrf_key = secrets.token_bytes(32)

    def accepts(
        self, headers: Headers, host: str, *, is_encrypted: bool = False
    ) -> Principal | None:
        """Return the caller of a request with an open session, or with a token as a bearer."""
        session = session_of(headers, is_encrypted=is_encrypted)
        principal = self.sessions.principal(session) if session else None
        if principal is not None:
            return principal
        scheme, _, offered = headers.get("authorization", "").partition(" ")
        if scheme.lower() != "bearer":
            return None
        found, _ = self._holder(offered.strip(), host)
        if found is not None:
            self._report(host, found.name, LoginOutcome.BEARER)
        return found

    def accepts_user(self, user: ProxyUser, host: str) -> Principal:
        """Return the caller who logged in at a proxy. Raises IdentityError without a role."""
        if user.role is None:
            self._report(host, user.name, LoginOutcome.NO_ROLE)
            raise IdentityError(
                f"You are logged in at the proxy as {user.name}, but this node gives neither that"
                " user nor a group of that user a role: an administrator can add it to"
                " web.proxy_roles.",
                403,
            )
        self._report(host, user.name, LoginOutcome.PROXY)
        csrf = hmac.new(self._csrf_key, user.name.encode("utf-8", "surrogatepass"), "sha256")
        return Principal(user.name, user.role, csrf.hexdigest(), by_proxy=True)

    def log_in(self, offered: str, host: str) -> Login:
        """Open a session if a token is right."""
        found, outcome = self._holder(offered.strip(), host)
        if found is None:
            return Login(outcome, wait_seconds=self._wrong_tokens.wait(host))
        return self._accepted(found.name, found.role, host)

    async def log_in_by_password(self, name: str, password: str, host: str) -> Login:
        """Open a session if name and password fit. Raises BusyError."""
        known = name if self.accounts.knows(name) else ""
        wait = self._passwords.admit(name, host)
        if wait:
            self._on_login(host, LoginOutcome.THROTTLED, known)
            return Login(LoginOutcome.THROTTLED, wait_seconds=wait)
        try:
            account = await self.accounts.check(name, password)
        except BusyError:
            self._passwords.take_back(name, host)
            raise
        if account is None:
            self._on_login(host, LoginOutcome.REFUSED, known)
            return Login(LoginOutcome.REFUSED)
        self._passwords.take_back(name, host)
        return self._accepted(account.name, Role.of(account.role), host)

    def log_out(self, headers: Headers, host: str, *, is_encrypted: bool = False) -> None:
        """End the session of a request."""
        ended = self.sessions.end(session_of(headers, is_encrypted=is_encrypted))
        if ended is not None:
            self._on_login(host, LoginOutcome.LOGGED_OUT, ended.name)

    def _accepted(self, name: str, role: Role, host: str) -> Login:
        self._on_login(host, LoginOutcome.ACCEPTED, name)
        return Login(LoginOutcome.ACCEPTED, self.sessions.start(name, role))

    def _holder(self, offered: str, host: str) -> tuple[Principal | None, LoginOutcome]:
        """Return the user of a token; else report a failure.

        The right token is always accepted, because other users may share the host's address. The
        length of the token, not the throttling, makes guessing hopeless.
        """
        digest = digest_of(offered)
        # Every token is compared, so that the time does not tell which it was.
        found = [
            principal for token, principal in self._tokens if hmac.compare_digest(digest, token)
        ]
        if found:
            return found[0], LoginOutcome.ACCEPTED
        outcome = LoginOutcome.THROTTLED
        if not self._wrong_tokens.wait(host):
            outcome = LoginOutcome.REFUSED
            self._wrong_tokens.add(host)
        self._on_login(host, outcome, "")
        return None, outcome

    def _report(self, host: str, name: str, outcome: LoginOutcome) -> None:
        """Report a user's first request from a client in an hour."""
        now = self._now()
        self._reported = {key: end for key, end in self._reported.items() if end > now}
        key = (counted_client(host, {client for client, _ in self._reported}), name)
        if key not in self._reported:
            self._reported[key] = now + REPORT_SECONDS
            self._on_login(host, outcome, name)
