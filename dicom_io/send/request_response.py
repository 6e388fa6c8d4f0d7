"""A request and its response on an association that we opened (PS3.7 9 and 10).

pynetdicom takes whatever response comes next for the answer, and gives up so long after a request
was queued, be it still on its way over a slow line.
"""

import itertools
import queue
import socket
import struct
import time
from collections.abc import Callable
from contextlib import suppress
from typing import Any

from pynetdicom.association import Association
from pynetdicom.dimse import DIMSEServiceProvider
from pynetdicom.dimse_primitives import C_STORE

from dicom_io.errors import AssociationError

_LOOK_SECONDS = 1.0

_BYTES_ACKED = struct.Struct("@120xQ")
"""`tcpi_bytes_acked` in Linux's `struct tcp_info`."""


class Exchange(DIMSEServiceProvider):
    """Numbers the requests of one association and waits for the response to each.

    It waits for as long as bytes arrive at the other side, then for `seconds`. Meanwhile `on_wait`
    is called about once a second; what it raises ends the association.
    """

    def __init__(
        self, association: Association, connection: socket.socket, peer: str, seconds: float
    ) -> None:
        super().__init__(association)
        self.on_wait: Callable[[], object] = lambda: None
        self._connection = connection
        self._peer = peer
        self._seconds = seconds
        self._numbers = itertools.count()
        self._request: Any = None

    def send_msg(self, primitive: Any, context_id: int) -> None:
        """Send a message. Raises AssociationError for a request that has a response already."""
        if primitive.MessageIDBeingRespondedTo is None:
            if self.peek_msg()[1] is not None:
                raise self._out_of_step("it came before the request")
            primitive.MessageID = next(self._numbers) % 0xFFFF + 1
            self._request = primitive
        super().send_msg(primitive, context_id)

    def get_msg(self, block: bool = False) -> tuple[Any, Any]:
        """A message that is there, or None; with `block`, the response to the last request.

        Raises AssociationError where what comes is no response to it.
        """
        if not block:
            return super().get_msg()
        context_id, message = self._wait()
        difference = "" if message is None else _difference(message, self._request)
        if difference:
            raise self._out_of_step(difference)
        return context_id, message

    def _wait(self) -> tuple[Any, Any]:
        arrived, since = self._arrived(), time.monotonic()
        while time.monotonic() - since < self._seconds:
            try:
                return self.msg_queue.get(timeout=min(_LOOK_SECONDS, self._seconds))
            except queue.Empty:
                self._call_on_wait()
            before, arrived = arrived, self._arrived()
            if arrived != before:
                since = time.monotonic()
        return None, None

    def _call_on_wait(self) -> None:
        try:
            self.on_wait()
        except BaseException:
            # An A-ABORT would wait its turn behind all that is still to be sent.
            with suppress(OSError):
                socket.socket.shutdown(self._connection, socket.SHUT_RDWR)
            self.assoc.abort()
            raise

    def _arrived(self) -> int:
        """How many bytes the other side's system has confirmed; 0 where this one does not say.

        What was written does not tell: the kernel takes megabytes at once.
        """
        try:
            found = self._connection.getsockopt(
                socket.IPPROTO_TCP, socket.TCP_INFO, _BYTES_ACKED.size
            )
            return int(_BYTES_ACKED.unpack(found)[0])
        except (AttributeError, OSError, struct.error):
            return 0

    def _out_of_step(self, difference: str) -> AssociationError:
        self.assoc.abort()
        return AssociationError(
            f"{self._peer} gave a response that does not answer the request ({difference}), so the "
            "association was ended; if this goes on, tell the vendor of its software",
            retryable=True,
        )


def _difference(message: Any, request: Any) -> str:
    """Why a message is not the response to a request, or nothing."""
    if type(message) is not type(request):
        return "it is of another service"
    if message.MessageIDBeingRespondedTo != request.MessageID:
        return f"Message ID {message.MessageIDBeingRespondedTo} instead of {request.MessageID}"
    # Optional in a response (PS3.7 table 9.3-2).
    if isinstance(request, C_STORE) and message.AffectedSOPInstanceUID not in (
        None,
        request.AffectedSOPInstanceUID,
    ):
        return "another SOP Instance UID"
    return ""
