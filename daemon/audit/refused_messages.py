"""Records the HL7 messages and connections that were not accepted.

A host that is not listed can cause connections without end, and a sender can repeat a message. A
thread of its own writes the first of each host and reason at once, then a count a minute.
"""

import logging
from dataclasses import dataclass

from daemon.audit.repeats import MERGE_SECONDS, STOP_SECONDS, RepeatRecorder
from storage.audit.records import AuditKind, AuditOutcome
from storage.audit.trail import Audit
from storage.errors import StorageError

log = logging.getLogger("audit")

MOST_KEYS = 200
"""Pairs of host and reason that are counted separately; beyond them only reasons are."""


@dataclass(frozen=True, slots=True)
class Refusal:
    """A message or a connection that was not accepted; `sender` is empty if it is not known."""

    reason: str
    sender: str
    host: str


class RefusedMessages(RepeatRecorder[tuple[str, str], Refusal]):
    """A context manager: open, it writes what `connection` and `message` were given."""

    def __init__(self, audit: Audit, *, merge_seconds: float = MERGE_SECONDS) -> None:
        super().__init__(
            "refused message", MOST_KEYS, merge_seconds=merge_seconds, stop_seconds=STOP_SECONDS
        )
        self._audit = audit

    def connection(self, reason: str, host: str) -> None:
        """Record a connection that was closed. Returns at once."""
        self.message(reason, "", host)

    def message(self, reason: str, sender: str, host: str) -> None:
        """Record a message that was answered with an error. Returns at once."""
        self.add_repeatable(Refusal(reason, sender, host), (host, reason), ("", reason))

    def merge(self, earlier: Refusal, later: Refusal) -> Refusal:
        """Return a refusal with the sender and the host that both have in common."""
        return Refusal(
            earlier.reason,
            earlier.sender if earlier.sender == later.sender else "",
            earlier.host if earlier.host == later.host else "",
        )

    def write(self, key: tuple[str, str] | None, event: Refusal, count: int) -> None:
        """Write one row for `count` refusals."""
        try:
            self._audit.record(
                AuditKind.MESSAGE_REFUSED,
                outcome=AuditOutcome.FAILURE,
                actor=event.sender,
                host=event.host,
                detail=event.reason + (f" ({count} times)" if count > 1 else ""),
            )
        except StorageError as error:
            log.error("a refused message is not in the audit trail: %s", error)
