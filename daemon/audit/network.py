"""Records the listener's associations and refused objects in the audit trail.

The thread that serves an association records its acceptance and each refused object. Any remote
host can cause refused associations; a thread of its own writes those: for each host and reason the
first at once, then a count a minute with the titles and host that all counted requests share. If
the trail cannot be written, the failure is logged. An image is never acknowledged without its
audit row, because both are in one transaction.
"""

import logging

from daemon.audit.repeats import MERGE_SECONDS, STOP_SECONDS, RepeatRecorder
from dicom_io.receive.events import AssociationOpened, RefusedObject, Rejection
from storage.audit.records import AuditKind, AuditOutcome, subject_of
from storage.audit.trail import Audit
from storage.errors import StorageError

log = logging.getLogger("audit")

MOST_KEYS = 1000
"""Pairs of host and reason that are counted separately; beyond them only reasons are."""


class NetworkAudit(RepeatRecorder[tuple[str, str], Rejection]):
    """Records associations and refused objects. A context manager: open, it writes rejections."""

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
        """Record an accepted association."""
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
        self.add_repeatable(rejection, (rejection.host, reason), ("", reason))

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

    def merge(self, earlier: Rejection, later: Rejection) -> Rejection:
        """Return a rejection with the titles and the host that both have in common."""
        pairs = (
            (earlier.calling_ae_title, later.calling_ae_title),
            (earlier.called_ae_title, later.called_ae_title),
            (earlier.host, later.host),
        )
        return Rejection(earlier.reason, *(a if a == b else "" for a, b in pairs))

    def write(self, key: tuple[str, str] | None, event: Rejection, count: int) -> None:
        """Write one row for `count` rejections."""
        called = f"called {event.called_ae_title}: " if event.called_ae_title else ""
        times = f" ({count} times)" if count > 1 else ""
        self._record(
            AuditKind.ASSOCIATION_REFUSED,
            AuditOutcome.FAILURE,
            event.calling_ae_title,
            event.host,
            detail=f"{called}{event.reason}{times}",
        )

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
