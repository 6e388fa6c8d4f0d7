"""Records the listener's associations and refused objects in the audit trail.

The thread that serves an association records its acceptance and each refused object. Any remote
host can cause refused associations; a thread of its own writes those: for each host and reason the
first at once, then a count a minute with the titles and host that all counted requests share. If
the trail cannot be written, the failure is logged. An image is never acknowledged without its
audit row, because both are in one transaction.
"""

import logging
from dataclasses import dataclass

from daemon.audit.repeats import MERGE_SECONDS, STOP_SECONDS, RepeatRecorder
from dicom_io.receive.events import AssociationOpened, RefusedObject, Rejection
from storage.audit.records import AuditKind, AuditOutcome, subject_of
from storage.audit.trail import Audit
from storage.errors import StorageError

log = logging.getLogger("audit")

NOT_A_PEER = "C-ECHO alone; not a peer: it may not store"

MOST_KEYS = 1000
"""Pairs of host and reason that are counted separately; beyond them only reasons are."""


@dataclass(frozen=True, slots=True)
class CallOfAnyone:
    """A row about a caller that need not be a peer; detail, titles and host may be empty."""

    kind: AuditKind
    reason: str
    detail: str
    calling_ae_title: str
    called_ae_title: str
    host: str


class NetworkAudit(RepeatRecorder[tuple[str, str], CallOfAnyone]):
    """Records associations and refused objects.

    A context manager: open, it writes rejections and the associations of callers that are no peers.
    """

    def __init__(
        self,
        audit: Audit,
        *,
        most_keys: int = MOST_KEYS,
        merge_seconds: float = MERGE_SECONDS,
        stop_seconds: float = STOP_SECONDS,
    ) -> None:
        super().__init__(
            "refused association",
            most_keys,
            merge_seconds=merge_seconds,
            stop_seconds=stop_seconds,
        )
        self._audit = audit

    def accepted(self, opening: AssociationOpened) -> None:
        """Record an accepted association. For a caller that is not a peer, return at once."""
        if not opening.is_peer:
            self._add(AuditKind.ASSOCIATION_ACCEPTED, NOT_A_PEER, "", opening)
            return
        self._record(
            AuditKind.ASSOCIATION_ACCEPTED,
            AuditOutcome.SUCCESS,
            opening.calling_ae_title,
            opening.host,
            detail=f"called {opening.called_ae_title}",
        )

    def rejected(self, rejection: Rejection) -> None:
        """Record a rejected association request or connection. Returns at once."""
        reason = rejection.reason.value
        self._add(AuditKind.ASSOCIATION_REFUSED, reason, rejection.detail, rejection)

    def refused(self, refused: RefusedObject) -> None:
        """Record an object that was answered with a failure status."""
        self._record(
            AuditKind.INSTANCE_REFUSED,
            AuditOutcome.FAILURE,
            refused.calling_ae_title,
            refused.host,
            subject_of(instance=refused.sop_instance_uid, sop_class=refused.sop_class_uid),
            f"status 0x{refused.status:04X}: {refused.comment or 'no reason given'}",
        )

    def merge(self, earlier: CallOfAnyone, later: CallOfAnyone) -> CallOfAnyone:
        """Return a call with the detail, the titles and the host that both have in common."""
        pairs = (
            (earlier.detail, later.detail),
            (earlier.calling_ae_title, later.calling_ae_title),
            (earlier.called_ae_title, later.called_ae_title),
            (earlier.host, later.host),
        )
        common = (a if a == b else "" for a, b in pairs)
        return CallOfAnyone(earlier.kind, earlier.reason, *common)

    def write(self, key: tuple[str, str] | None, event: CallOfAnyone, count: int) -> None:
        """Write one row for `count` calls."""
        called = f"called {event.called_ae_title}: " if event.called_ae_title else ""
        times = f" ({count} times)" if count > 1 else ""
        detail = f" ({event.detail})" if event.detail else ""
        accepted = event.kind is AuditKind.ASSOCIATION_ACCEPTED
        self._record(
            event.kind,
            AuditOutcome.SUCCESS if accepted else AuditOutcome.FAILURE,
            event.calling_ae_title,
            event.host,
            detail=f"{called}{event.reason}{detail}{times}",
        )

    def _add(
        self, kind: AuditKind, reason: str, detail: str, call: Rejection | AssociationOpened
    ) -> None:
        titles = call.calling_ae_title, call.called_ae_title
        event = CallOfAnyone(kind, reason, detail, *titles, call.host)
        self.add_repeatable(event, (call.host, reason), ("", reason))

    def _record(
        self,
        kind: AuditKind,
        outcome: AuditOutcome,
        actor: str,
        host: str,
        subject: str = "",
        detail: str = "",
    ) -> None:
        try:
            self._audit.record(
                kind, outcome=outcome, actor=actor, host=host, subject=subject, detail=detail
            )
        except StorageError as error:
            log.error("%s from %s as %r is not in the audit trail: %s", kind, host, actor, error)
