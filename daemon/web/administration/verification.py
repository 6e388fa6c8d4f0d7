"""The verification of the audit trail in the background: one at a time, with its progress."""

import logging
import threading
from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import datetime
from enum import StrEnum

from storage.audit.records import AuditHead
from storage.errors import StorageError, TrailAlteredError
from storage.store import Store

log = logging.getLogger("web")


class VerificationState(StrEnum):
    """The states of a verification."""

    NONE = "none"  # none was started since the start of the web role
    RUNNING = "running"
    UNALTERED = "unaltered"
    ALTERED = "altered"
    FAILED = "failed"  # the store could not be read


@dataclass(frozen=True, slots=True)
class VerificationView:
    """The last verification.

    `rows` of `total` rows are verified. `head` is NUMBER:HASH of the last verified row, empty until
    all are. `noted` is the earlier head that the trail had to contain. `problem` says what was
    found, or why the trail could not be read.
    """

    state: VerificationState = VerificationState.NONE
    rows: int = 0
    total: int = 0
    started_at: datetime | None = None
    ended_at: datetime | None = None
    started_by: str = ""
    noted: str = ""
    head: str = ""
    problem: str = ""


class Verification:
    """Verifies the trail in a thread; thread-safe."""

    def __init__(self, store: Store, clock: Callable[[], datetime]) -> None:
        self._store = store
        self._now = clock
        self._lock = threading.Lock()
        self._view = VerificationView()

    @property
    def view(self) -> VerificationView:
        """The state of the last verification."""
        with self._lock:
            return self._view

    def start(self, started_by: str, noted: AuditHead | None = None) -> bool:
        """Begin to verify every row; return False while a verification is running."""
        total = self._store.audit.head().number
        with self._lock:
            if self._view.state is VerificationState.RUNNING:
                return False
            self._view = VerificationView(
                VerificationState.RUNNING,
                total=total,
                started_at=self._now(),
                started_by=started_by,
                noted="" if noted is None else str(noted),
            )
        threading.Thread(target=self._run, args=(noted,), daemon=True).start()
        return True

    def _run(self, noted: AuditHead | None) -> None:
        try:
            head = self._store.audit.verify(noted, self._progress)
        except TrailAlteredError as error:
            log.error("the audit trail was altered: %s", error)
            self._end(VerificationState.ALTERED, problem=str(error))
        except StorageError as error:
            log.error("the audit trail was not verified: %s", error)
            self._end(VerificationState.FAILED, problem=str(error))
        else:
            self._end(VerificationState.UNALTERED, head=str(head), rows=head.number)

    def _progress(self, rows: int) -> None:
        with self._lock:
            done = self._view.rows + rows
            self._view = replace(self._view, rows=done, total=max(done, self._view.total))

    def _end(self, state: VerificationState, **changes: str | int) -> None:
        with self._lock:
            self._view = replace(self._view, state=state, ended_at=self._now(), **changes)  # type: ignore[arg-type]
