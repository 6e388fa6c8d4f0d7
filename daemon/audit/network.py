"""What the listener tells the audit trail beyond what the store records by itself.

An association that is accepted and an object that is refused are recorded by the thread that serves
them; what strangers can cause at will is only noted there and written by a thread of its own, of
each host and reason the first at once and then a count a minute, with what all counted share. Where
the trail cannot be written that is logged: no image is acknowledged without its row, because both
are one transaction.
"""

import logging
import threading
import time
from dataclasses import dataclass
from types import TracebackType
from typing import Self

from dicom_io.receive.events import Opening, RefusedObject
from dicom_io.receive.node import Rejection
from storage.audit.records import AuditKind, AuditOutcome, subject_of
from storage.audit.trail import Audit
from storage.errors import StorageError

log = logging.getLogger("audit")


_MERGE_SECONDS = 60.0

_LOOK_SECONDS = 1.0

_WRITE_SECONDS = 5.0
"""What the rows not yet written are given when the role stops."""

_MOST_HOSTS = 1000
"""Hosts and reasons told apart at once; of further hosts only the reasons are."""


@dataclass(slots=True)
class _Repeated:
    """Rejections of one host for one reason: the first until it is recorded, and those since."""

    first: Rejection | None
    until: float = 0.0
    later: Rejection | None = None
    count: int = 0

    def add(self, one: Rejection) -> None:
        """Count one more, and keep of it what all of them share."""
        self.later = _shared(self.later, one) if self.later else one
        self.count += 1


def _shared(one: Rejection, other: Rejection) -> Rejection:
    return Rejection(
        one.reason,
        *(
            mine if mine == theirs else ""
            for mine, theirs in (
                (one.calling_ae_title, other.calling_ae_title),
                (one.called_ae_title, other.called_ae_title),
                (one.host, other.host),
            )
        ),
    )


class NetworkAudit:
    """What the listener records of associations and of objects it refuses.

    A context manager: rejections are written while it is open.
    """

    def __init__(self, audit: Audit, *, merge_seconds: float = _MERGE_SECONDS) -> None:
        self._audit = audit
        self._merge_seconds = merge_seconds
        self._rejected: dict[tuple[str, str], _Repeated] = {}
        self._changed = threading.Condition()
        self._stopping = False
        self._thread = threading.Thread(target=self._write, name="network audit", daemon=True)

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
        """An association request or a connection was turned away; returns at once."""
        with self._changed:
            key = (rejection.host, rejection.reason.value)
            if key not in self._rejected and len(self._rejected) >= _MOST_HOSTS:
                key = ("", rejection.reason.value)
            if key in self._rejected:
                self._rejected[key].add(rejection)
            else:
                self._rejected[key] = _Repeated(rejection)
            self._changed.notify()

    def _write(self) -> None:
        stopping = False
        while not stopping:
            with self._changed:
                if not self._stopping and not self._first_ones():
                    self._changed.wait(_LOOK_SECONDS if self._rejected else None)
                stopping = self._stopping
                due = self._due(everything=stopping)
            for rejection, count in due:
                called = rejection.called_ae_title
                where = f"called {called}: " if called else ""
                times = f" ({count} times)" if count > 1 else ""
                self._record(
                    AuditKind.ASSOCIATION_REFUSED,
                    AuditOutcome.FAILURE,
                    rejection.calling_ae_title,
                    rejection.host,
                    detail=f"{where}{rejection.reason}{times}",
                )

    def _first_ones(self) -> bool:
        return any(one.first for one in self._rejected.values())

    def _due(self, *, everything: bool) -> list[tuple[Rejection, int]]:
        """What is to be recorded now, and how often it happened."""
        now, due = time.monotonic(), []
        for key, one in list(self._rejected.items()):
            if one.first is not None:
                due.append((one.first, 1))
                one.first, one.until = None, now + self._merge_seconds
            if now < one.until and not everything:
                continue
            if one.later is not None:
                due.append((one.later, one.count))
                one.later, one.count, one.until = None, 0, now + self._merge_seconds
            else:
                del self._rejected[key]
        return due

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
