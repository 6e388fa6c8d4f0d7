"""The interface of all kinds of destination: open, send one result, learn what became of it."""

from collections.abc import Callable
from dataclasses import dataclass
from types import TracebackType
from typing import Protocol, Self

from dicom_io.send.store_status import Disposition


@dataclass(frozen=True, slots=True)
class Sent:
    """The outcome of sending one result.

    `detail` says why it is retried or parked, in one line without patient data. `status` is the
    DIMSE status or the HTTP status, if the destination gave one. `answer` is what an administrator
    finds the delivery by at the destination, such as the control ID that it acknowledged.
    `sop_class_uid` and `coerced_uid` are the SOP class and, if the destination chose another, the
    SOP Instance UID that it keeps. `retry_after` is the wait in seconds that it asked for.
    `is_unmatched` is True if it answered another message than the one sent.
    """

    disposition: Disposition
    detail: str = ""
    status: int | None = None
    answer: str = ""
    sop_class_uid: str = ""
    coerced_uid: str | None = ""
    retry_after: float | None = None
    is_unmatched: bool = False


@dataclass(frozen=True, slots=True)
class Probe:
    """The result of a test of a destination.

    `detail` is one line with the fault and its remedy, or says that all is well.
    """

    ok: bool
    detail: str
    is_warning: bool = False


class Channel(Protocol):
    """One way to a destination, used for many results; a context manager.

    Entering and sending raise ChannelError if the destination as a whole fails: every delivery to
    it waits then, or the operator is asked.
    """

    @property
    def is_open(self) -> bool:
        """Return True while results can be sent."""

    def __enter__(self) -> Self: ...

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None: ...

    def send(self, data: bytes, on_progress: Callable[[], object]) -> Sent:
        """Send one result, the bytes of a DICOM object, and return what became of it.

        The same bytes make the same message, so that a repeat can be recognised. `on_progress` is
        called about once a second while the destination is waited for.
        """

    def probe(self) -> Probe:
        """Test the destination without sending a result. Errors are returned, not raised."""
