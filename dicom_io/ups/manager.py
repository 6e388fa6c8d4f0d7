"""The interface of a worklist manager that a performer uses, whatever carries it."""

from types import TracebackType
from typing import Protocol, Self

from dicom_io.ups.workitems import (
    Code,
    FoundWorkitem,
    Performed,
    WorkitemDetails,
    WorkitemFilter,
)


class WorklistManager(Protocol):
    """A worklist manager: the other side of a Task Performer (IHE RAD AIW-I); a context manager.

    Every method raises WorklistError (see `errors`). Methods that change a workitem may be
    repeated after a failure with the same arguments: the workitem is changed once. A Transaction
    UID is known to the manager and its performer alone: never log it.
    """

    name: str

    def __enter__(self) -> Self: ...

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None: ...

    def find(self, wanted: WorkitemFilter) -> list[FoundWorkitem]:
        """Return at most `wanted.limit` workitems (C-FIND; RAD-81)."""

    def get(self, uid: str) -> WorkitemDetails:
        """Return a workitem (N-GET; RAD-83). Raises UnknownWorkitemError."""

    def claim(self, uid: str, transaction_uid: str) -> None:
        """Set a workitem to IN PROGRESS under this Transaction UID (N-ACTION; RAD-82).

        Returns as well if it is in progress under this very UID. Raises AlreadyInProgressError if
        another performer has it, WorkitemClosedError or UnknownWorkitemError.
        """

    def progress(
        self, uid: str, transaction_uid: str, percent: float, description: str = ""
    ) -> None:
        """Report progress, 0 to 100 per cent (N-SET; RAD-84).

        Raises TransactionUidError, NotInProgressError, WorkitemClosedError or UnknownWorkitemError.
        """

    def set_performed(self, uid: str, transaction_uid: str, performed: Performed) -> None:
        """Set what was done and its results, before `complete` or `cancel` (N-SET; RAD-84).

        Raises as `progress`. A repeat replaces what was set before.
        """

    def complete(self, uid: str, transaction_uid: str) -> None:
        """Set a workitem to COMPLETED (N-ACTION; RAD-85).

        Returns as well if it is completed already. Raises FinalStateError, and as `progress`;
        WorkitemClosedError means that it is cancelled.
        """

    def cancel(
        self, uid: str, transaction_uid: str, reason_code: Code | None = None, reason: str = ""
    ) -> None:
        """Set the reason, then the workitem to CANCELED (N-SET, N-ACTION; RAD-85).

        Returns as well if it is cancelled already. Raises FinalStateError, and as `progress`;
        WorkitemClosedError means that it is completed.
        """

    def subscribe(self, uid: str | None = None) -> None:
        """Ask for events of a workitem, or of all if `uid` is None (N-ACTION; RAD-86).

        Raises UnknownWorkitemError.
        """

    def unsubscribe(self, uid: str | None = None) -> None:
        """Ask for no more events of a workitem, or of all if `uid` is None (N-ACTION; RAD-86)."""

    def probe(self) -> str:
        """Return one line about the manager that answers and offers the service, for a check."""
