"""What the listener tells the audit trail beyond what the store records by itself.

It is recorded before it is answered. Where the trail cannot be written that
is logged: no image is acknowledged without its row, because both are one transaction.
"""

import logging

from dicom_io.node import Rejection
from dicom_io.observed import Opening, RefusedObject
from storage.audit import Audit
from storage.audit_records import AuditKind, AuditOutcome, subject_of
from storage.errors import StorageError

log = logging.getLogger("audit")


class NetworkAudit:
    """What the listener records of associations and of objects it refuses."""

    def __init__(self, audit: Audit) -> None:
        self._audit = audit

    def accepted(self, opening: Opening) -> None:
        """An association was opened."""
        self._record(
            AuditKind.ASSOCIATION_ACCEPTED,
            AuditOutcome.SUCCESS,
            opening.calling_ae_title,
            opening.host,
            detail=f"called {opening.called_ae_title}",
        )

    def rejected(self, rejection: Rejection) -> None:
        """An association request was turned away."""
        self._record(
            AuditKind.ASSOCIATION_REFUSED,
            AuditOutcome.FAILURE,
            rejection.calling_ae_title,
            rejection.host,
            detail=f"called {rejection.called_ae_title}: {rejection.reason}",
        )

    def refused(self, refused: RefusedObject) -> None:
        """An object was answered with a failure."""
        self._record(
            AuditKind.INSTANCE_REFUSED,
            AuditOutcome.FAILURE,
            refused.calling_ae_title,
            refused.host,
            subject_of(instance=refused.sop_instance_uid, sop_class=refused.sop_class_uid),
            f"status 0x{refused.status:04X}: {refused.comment or 'no reason given'}",
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
