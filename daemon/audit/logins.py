"""Records logins in the log and the audit trail.

Any host can offer wrong tokens. So the first failure of a client is recorded at once, and repeats
as a count a minute. A row names the user only if the node knows the name: an unknown name may be a
password that was typed into the wrong field.
"""

import logging
from dataclasses import dataclass, replace
from enum import StrEnum

from daemon.audit.repeats import (
    MERGE_SECONDS,
    MOST_HOSTS,
    OTHER_HOSTS,
    STOP_SECONDS,
    RepeatRecorder,
    client_of,
)
from storage.audit.records import AuditKind, AuditOutcome
from storage.audit.trail import Audit
from storage.errors import StorageError

log = logging.getLogger("audit")
web_log = logging.getLogger("web")


class LoginOutcome(StrEnum):
    """Result of a login attempt."""

    ACCEPTED = "accepted"
    BEARER = "accepted as a bearer"
    PROXY = "accepted from a proxy"
    REFUSED = "refused"
    NO_ROLE = "refused: web.proxy_roles gives this user no role"
    THROTTLED = "throttled"
    LOGGED_OUT = "logged out"


_FAILED = (LoginOutcome.REFUSED, LoginOutcome.NO_ROLE, LoginOutcome.THROTTLED)
_UNKNOWN = "unknown user"


@dataclass(frozen=True, slots=True)
class _Login:
    address: str
    outcome: LoginOutcome
    name: str


class LoginAudit(RepeatRecorder[tuple[str, str], _Login]):
    """Records logins in the order in which they happened; a context manager."""

    def __init__(
        self,
        audit: Audit,
        *,
        merge_seconds: float = MERGE_SECONDS,
        stop_seconds: float = STOP_SECONDS,
    ) -> None:
        super().__init__(
            "login", MOST_HOSTS, merge_seconds=merge_seconds, stop_seconds=stop_seconds
        )
        self._audit = audit

    def on_login(self, address: str, outcome: LoginOutcome, name: str = "") -> None:
        """Record a login attempt; `name` is empty for an unknown user. Returns at once."""
        login = _Login(address, outcome, name)
        if outcome in _FAILED:
            self.add_repeatable(login, (client_of(address), name), (OTHER_HOSTS, ""))
        else:
            self.add(login)

    def merge(self, earlier: _Login, later: _Login) -> _Login:
        """Return the later login; without a name if both are of different users."""
        return later if earlier.name == later.name else replace(later, name="")

    def write(self, key: tuple[str, str] | None, event: _Login, count: int) -> None:
        """Write one row to the log and the audit trail."""
        client = "" if key is None or key[0] == event.address else f", from {key[0]}"
        detail = f"{event.outcome} ({count} times{client})" if count > 1 else event.outcome
        failed = event.outcome in _FAILED
        level = logging.WARNING if failed else logging.INFO
        user = f" of {event.name}" if event.name else ""
        web_log.log(level, "login%s from %s: %s", user, event.address, detail)
        try:
            self._audit.record(
                AuditKind.LOGIN,
                outcome=AuditOutcome.FAILURE if failed else AuditOutcome.SUCCESS,
                actor=event.name or _UNKNOWN,
                host=event.address,
                detail=detail,
            )
        except StorageError as error:
            log.error("a login from %s is not in the audit trail: %s", event.address, error)
