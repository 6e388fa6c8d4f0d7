"""Logins to the audit trail, from a thread: the event loop must not wait for the store."""

import logging
import queue
import threading
from types import TracebackType
from typing import Self

from daemon.web.access import LoginOutcome, log_login
from storage.audit import Audit
from storage.audit_records import AuditKind, AuditOutcome
from storage.errors import StorageError

log = logging.getLogger("audit")

_FAILED = (LoginOutcome.REFUSED, LoginOutcome.THROTTLED)
_WRITE_SECONDS = 5.0
"""What the rows not yet written are given when the role stops."""


class LoginAudit:
    """Hears of logins and records them in their order; a context manager."""

    def __init__(self, audit: Audit) -> None:
        self._audit = audit
        self._heard: queue.SimpleQueue[tuple[str, LoginOutcome] | None] = queue.SimpleQueue()
        self._thread = threading.Thread(target=self._write, name="login audit", daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._heard.put(None)
        self._thread.join(_WRITE_SECONDS)

    def on_login(self, host: str, outcome: LoginOutcome) -> None:
        """Take note of an attempt; returns at once."""
        log_login(host, outcome)
        self._heard.put((host, outcome))

    def _write(self) -> None:
        while (heard := self._heard.get()) is not None:
            host, outcome = heard
            try:
                self._audit.record(
                    AuditKind.LOGIN,
                    outcome=AuditOutcome.FAILURE if outcome in _FAILED else AuditOutcome.SUCCESS,
                    actor="status page",
                    host=host,
                    detail=outcome,
                )
            except StorageError as error:
                log.error("a login from %s is not in the audit trail: %s", host, error)
