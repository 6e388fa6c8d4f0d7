"""Logins to the log and the audit trail, from a thread: the event loop must not wait for the store.

Anyone can offer wrong tokens: of each host the first is recorded at once and then a count a minute.
"""

import logging
import threading
import time
from collections import deque
from dataclasses import dataclass
from enum import StrEnum
from types import TracebackType
from typing import Self

from daemon.audit.repeats import told_apart
from storage.audit.records import AuditKind, AuditOutcome
from storage.audit.trail import Audit
from storage.errors import StorageError


class LoginOutcome(StrEnum):
    """What became of an attempt."""

    ACCEPTED = "accepted"
    BEARER = "accepted as a bearer"
    REFUSED = "refused"
    THROTTLED = "throttled"
    LOGGED_OUT = "logged out"


log = logging.getLogger("audit")

web_log = logging.getLogger("web")

_FAILED = (LoginOutcome.REFUSED, LoginOutcome.THROTTLED)

_MERGE_SECONDS = 60.0

_LOOK_SECONDS = 1.0

_WRITE_SECONDS = 5.0
"""What the rows not yet written are given when the role stops."""


@dataclass(slots=True)
class _Attempts:
    """One attempt, or how many failed after the first of a host, and the last one's address."""

    host: str
    address: str
    outcome: LoginOutcome
    count: int = 1
    until: float = 0.0

    @property
    def detail(self) -> str:
        """As the trail and the log say it."""
        if self.count == 1:
            return self.outcome
        hosts = "" if self.host == self.address else f", from {self.host}"
        return f"{self.outcome} ({self.count} times{hosts})"


class LoginAudit:
    """Hears of logins and records them in their order; a context manager."""

    def __init__(self, audit: Audit, *, merge_seconds: float = _MERGE_SECONDS) -> None:
        self._audit = audit
        self._merge_seconds = merge_seconds
        self._heard: deque[_Attempts] = deque()
        self._failed: dict[str, _Attempts] = {}
        self._changed = threading.Condition()
        self._stopping = False
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
        with self._changed:
            self._stopping = True
            self._changed.notify()
        self._thread.join(_WRITE_SECONDS)
        if self._thread.is_alive():
            left = sum(one.count for one in (*self._heard, *self._failed.values()))
            log.error("%d login(s) are not in the audit trail: the store does not answer", left)

    def on_login(self, address: str, outcome: LoginOutcome) -> None:
        """Take note of an attempt; returns at once."""
        with self._changed:
            host = told_apart(address, self._failed)
            if outcome in _FAILED and (known := self._failed.get(host)) is not None:
                known.address, known.outcome = address, outcome
                known.count += 1
                return
            self._heard.append(_Attempts(host, address, outcome))
            if outcome in _FAILED:
                until = time.monotonic() + self._merge_seconds
                self._failed[host] = _Attempts(host, address, outcome, 0, until)
            self._changed.notify()

    def _write(self) -> None:
        stopping = False
        while not stopping:
            with self._changed:
                self._changed.wait_for(
                    lambda: self._stopping or self._heard,
                    _LOOK_SECONDS if self._failed else None,
                )
                stopping = self._stopping
                self._count(everything=stopping)
            while self._heard:
                self._record(self._heard[0])
                self._heard.popleft()

    def _count(self, *, everything: bool) -> None:
        """Have recorded what was only counted for long enough."""
        now = time.monotonic()
        for host, one in list(self._failed.items()):
            if now < one.until and not everything:
                continue
            del self._failed[host]
            if one.count:
                self._heard.append(one)
                until = now + self._merge_seconds
                self._failed[host] = _Attempts(host, one.address, one.outcome, 0, until)

    def _record(self, attempts: _Attempts) -> None:
        failed = attempts.outcome in _FAILED
        web_log.log(
            logging.WARNING if failed else logging.INFO,
            "login from %s: %s",
            attempts.address,
            attempts.detail,
        )
        try:
            self._audit.record(
                AuditKind.LOGIN,
                outcome=AuditOutcome.FAILURE if failed else AuditOutcome.SUCCESS,
                actor="status page",
                host=attempts.address,
                detail=attempts.detail,
            )
        except StorageError as error:
            log.error("a login from %s is not in the audit trail: %s", attempts.address, error)
