"""Records logins in the log and the audit trail.

Any host can offer wrong tokens. So the first wrong token of a client is recorded at once, and
repeats as a count a minute.
"""

import logging
from dataclasses import dataclass
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
    REFUSED = "refused"
    THROTTLED = "throttled"
    LOGGED_OUT = "logged out"


_FAILED = (LoginOutcome.REFUSED, LoginOutcome.THROTTLED)


@dataclass(frozen=True, slots=True)
class _Login:
    address: str
    outcome: LoginOutcome


class LoginAudit(RepeatRecorder[str, _Login]):
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

    def on_login(self, address: str, outcome: LoginOutcome) -> None:
        """Record a login attempt. Returns at once."""
        login = _Login(address, outcome)
        if outcome in _FAILED:
            self.add_repeatable(login, client_of(address), OTHER_HOSTS)
        else:
            self.add(login)

    def merge(self, earlier: _Login, later: _Login) -> _Login:
        """Return the later login."""
        return later

    def write(self, key: str | None, event: _Login, count: int) -> None:
        """Write one row to the log and the audit trail."""
        client = "" if key == event.address else f", from {key}"
        detail = f"{event.outcome} ({count} times{client})" if count > 1 else event.outcome
        failed = event.outcome in _FAILED
        level = logging.WARNING if failed else logging.INFO
        web_log.log(level, "login from %s: %s", event.address, detail)
        try:
            self._audit.record(
                AuditKind.LOGIN,
                outcome=AuditOutcome.FAILURE if failed else AuditOutcome.SUCCESS,
                actor="status page",
                host=event.address,
                detail=detail,
            )
        except StorageError as error:
            log.error("a login from %s is not in the audit trail: %s", event.address, error)
