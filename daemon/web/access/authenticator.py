"""Finds the caller of a request: a session, a token, or a user who logged in at a proxy."""

import contextlib
import hashlib
import hmac
import secrets
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

from starlette.concurrency import run_in_threadpool
from starlette.datastructures import Headers

from daemon.audit.logins import LoginOutcome
from daemon.audit.repeats import MOST_HOSTS, counted_client
from daemon.config.sections.web import MAIN_TOKEN, AccountConfig, WebConfig
from daemon.web.access.identity import Principal
from daemon.web.access.passwords import Accounts
from daemon.web.access.proxies import IdentityError, ProxyUser
from daemon.web.access.roles import Role
from daemon.web.access.sessions import Sessions, digest_of, principal_of_session, session_of
from daemon.web.access.throttle import FailureCount, PasswordThrottle
from daemon.web.access.token_file import KnownToken
from daemon.web.problems import BusyError
from storage.errors import StorageError
from storage.store import Store

REPORT_SECONDS = 3600.0
"""Interval at which a caller is reported who proves the identity with each request."""

REFRESH_SECONDS = 5.0
"""Interval at which the main token of the store is read again, while it is asked for."""

OnLogin = Callable[[str, LoginOutcome, str], None]
"""Called with the client's address, the outcome, and the user's name if it is known."""


@dataclass(frozen=True, slots=True)
class Login:
    """Result of a login form: the cookie's value if it was accepted, else the time to wait."""

    outcome: LoginOutcome
    session: str = ""
    wait_seconds: float = 0.0


class Authenticator:
    """Checks tokens, passwords and sessions.

    Runs on the event loop only, so no method blocks: the store is asked in threads. `tokens` are
    those of this host; the main token is that of the store unless the configuration has one.
    """

    def __init__(
        self,
        tokens: Sequence[KnownToken],
        web: WebConfig,
        store: Store,
        on_login: OnLogin,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self._tokens = list(tokens)
        self._stored_tokens = store.web_tokens
        self._refresh_at = 0.0
        self.accounts = Accounts(web.accounts)
        self._account_entries = {_account_entry(each) for each in web.accounts}
        self.sessions = Sessions(
            store.web_sessions, 3600 * web.session_hours, 60 * web.idle_minutes
        )
        self._on_login = on_login
        self._now = monotonic
        self._wrong_tokens = FailureCount(MOST_HOSTS, monotonic)
        self._passwords = PasswordThrottle(monotonic)
        self._reported: dict[tuple[str, str], float] = {}
        # A page of one host may post to another, behind the same proxy.
        has_proxies = bool(web.proxy_networks)
        self._csrf_key = store.web_tokens.form_key() if has_proxies else secrets.token_bytes(32)

    async def accepts(
        self, headers: Headers, host: str, *, is_encrypted: bool = False
    ) -> Principal | None:
        """Return the caller of a request with an open session, or with a token as a bearer.

        Raises StorageError if the session cannot be looked up: no user is logged out by that.
        """
        value = session_of(headers, is_encrypted=is_encrypted)
        session = await self.sessions.find(value) if value else None
        if session is not None:
            await self._refresh()
            if session.entry in self._entries():
                return principal_of_session(session)
        scheme, _, offered = headers.get("authorization", "").partition(" ")
        if scheme.lower() != "bearer":
            return None
        await self._refresh()
        found, _ = self._holder(offered.strip(), host)
        if found is None:
            return None
        self._report(host, found.name, LoginOutcome.BEARER)
        return Principal(found.name, found.role)

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

    async def log_in(self, offered: str, host: str) -> Login:
        """Open a session if a token is right. Raises StorageError."""
        await self._refresh()
        found, outcome = self._holder(offered.strip(), host)
        if found is None:
            return Login(outcome, wait_seconds=self._wrong_tokens.wait(host))
        return await self._accepted(found.name, found.role, _token_entry(found), host)

    async def log_in_by_password(self, name: str, password: str, host: str) -> Login:
        """Open a session if name and password fit. Raises BusyError or StorageError."""
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
        role = Role.of(account.role)
        return await self._accepted(account.name, role, _account_entry(account), host)

    async def log_out(self, headers: Headers, host: str, *, is_encrypted: bool = False) -> None:
        """End the session of a request, at all hosts. Raises StorageError."""
        value = session_of(headers, is_encrypted=is_encrypted)
        ended = await self.sessions.end(value) if value else None
        if ended is not None:
            self._on_login(host, LoginOutcome.LOGGED_OUT, ended.user)

    async def _accepted(self, name: str, role: Role, entry: str, host: str) -> Login:
        session = await self.sessions.start(name, role, entry)
        self._on_login(host, LoginOutcome.ACCEPTED, name)
        return Login(LoginOutcome.ACCEPTED, session)

    async def _refresh(self) -> None:
        """Read the main token of the store again, if it is of the store and known for a while.

        Another host may have started with a new one. Without the store, the last one is the token.
        """
        now = self._now()
        if now < self._refresh_at or not (self._tokens and self._tokens[0].is_shared):
            return
        self._refresh_at = now + REFRESH_SECONDS
        with contextlib.suppress(StorageError):
            found = await run_in_threadpool(self._stored_tokens.find, MAIN_TOKEN)
            if found is not None:
                self._tokens[0] = replace(self._tokens[0], digest=bytes.fromhex(found.digest))

    def _entries(self) -> set[str]:
        """Return the digests of the accounts and tokens as they are now."""
        return self._account_entries | {_token_entry(each) for each in self._tokens}

    def _holder(self, offered: str, host: str) -> tuple[KnownToken | None, LoginOutcome]:
        """Return the user of a token; else report a failure.

        The right token is always accepted, because other users may share the host's address. The
        length of the token, not the throttling, makes guessing hopeless.
        """
        digest = digest_of(offered)
        # Every token is compared, so that the time does not tell which it was.
        found = [each for each in self._tokens if hmac.compare_digest(digest, each.digest)]
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


def _account_entry(account: AccountConfig) -> str:
    secret = account.password_hash.get_secret_value()
    return _entry("account", account.name, str(Role.of(account.role)), secret)


def _token_entry(token: KnownToken) -> str:
    return _entry("token", token.name, str(token.role), token.digest.hex())


def _entry(*parts: str) -> str:
    """Return the digest of an account or token, which changes with each of its parts."""
    return hashlib.sha256("\0".join(parts).encode()).hexdigest()
