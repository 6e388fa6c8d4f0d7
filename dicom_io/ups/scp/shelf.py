"""The workitems that peers push to this node (PS3.4 CC.2.5; IHE RAD-80), as their keeper sees them.

The keeper implements `WorkitemShelf` durably; the messages are read and written here.
"""

from dataclasses import dataclass
from enum import IntEnum
from typing import Protocol

from dicom_io.errors import DicomError
from dicom_io.peer.peers import Caller
from dicom_io.ups.workitems import Code, Performed, StepState, WorkitemDetails


class ShelfStatus(IntEnum):
    """Status of the response to a request about a workitem of this node (PS3.4 CC.2, PS3.7 C)."""

    SUCCESS = 0x0000
    INVALID_VALUE = 0x0106
    PROCESSING_FAILURE = 0x0110
    DUPLICATE = 0x0111
    INVALID_ARGUMENT = 0x0115
    NO_SUCH_CLASS = 0x0118
    MISSING_ATTRIBUTE = 0x0120
    MISSING_VALUE = 0x0121
    NO_SUCH_ACTION = 0x0123
    NOT_AUTHORISED = 0x0124
    RESOURCE_LIMITATION = 0x0213
    ALREADY_CANCELED = 0xB304
    UNKNOWN_WORKITEM = 0xC307
    NOT_SCHEDULED = 0xC309
    ALREADY_COMPLETED = 0xC311
    PERFORMER_DECLINES = 0xC313


class ShelfRefusalError(DicomError):
    """A request about a workitem of this node is refused with a status."""

    def __init__(self, status: ShelfStatus, message: str = "") -> None:
        super().__init__(message)
        self.status = status


@dataclass(frozen=True, slots=True)
class NewWorkitem:
    """A workitem that a peer pushes.

    `attributes` is its data set as created, in explicit VR little endian; keep it as it is.
    `details` is read from it.
    """

    uid: str
    details: WorkitemDetails
    attributes: bytes


@dataclass(frozen=True, slots=True)
class KeptWorkitem:
    """A workitem of the shelf now: as created, and what its performance has changed."""

    uid: str
    attributes: bytes
    state: StepState
    progress: float | None = None
    progress_description: str = ""
    performed: Performed | None = None
    cancelled: str = ""
    """Procedure Step Cancellation DateTime, a DT value."""
    cancel_reason: str = ""
    cancel_code: Code | None = None


@dataclass(frozen=True, slots=True)
class CancelRequest:
    """The content of a request to cancel (PS3.4 table CC.2.2-1); all of it is optional."""

    reason: str = ""
    reason_code: Code | None = None
    contact: str = ""


class WorkitemShelf(Protocol):
    """Keeps the workitems that peers push.

    Each method is called from several threads at once, and returns when the change is durable. It
    raises ShelfRefusalError for the status of the response; any other exception is answered with
    status 0x0110.
    """

    def create(self, new: NewWorkitem, caller: Caller) -> None:
        """Keep a new workitem. Raises ShelfRefusalError with DUPLICATE for a UID that is kept."""

    def get(self, uid: str, caller: Caller) -> KeptWorkitem | None:
        """Return a workitem, None if there is none that the caller may see."""

    def kept(self, caller: Caller, limit: int) -> list[KeptWorkitem]:
        """Return at most `limit` workitems that the caller may see, the newest first."""

    def request_cancel(self, uid: str, request: CancelRequest, caller: Caller) -> None:
        """Take a request to cancel.

        Raises ShelfRefusalError with UNKNOWN_WORKITEM, ALREADY_COMPLETED, ALREADY_CANCELED or
        PERFORMER_DECLINES.
        """
