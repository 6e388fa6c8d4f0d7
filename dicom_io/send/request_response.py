"""A request and its response on an association that this node opened (PS3.7 9 and 10).

pynetdicom accepts the next response that arrives, to whatever request, and starts its timeout when
a request is queued, even if the request is still on its way over a slow line.
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

from dicom_io.errors import UnmatchedResponseError
from dicom_io.read.header import is_uid
from dicom_io.send.store_status import is_warning

_POLL_SECONDS = 1.0
_QUICK_ACKNOWLEDGEMENT: int | None = getattr(socket, "TCP_QUICKACK", None)
"""The option of Linux; other systems have none."""
_BYTES_ACKED = struct.Struct("@120xQ")
"""`tcpi_bytes_acked` in Linux's `struct tcp_info`."""


class MatchingProvider(DIMSEServiceProvider):
    """Numbers the requests of one association and waits for the response to each.

    The wait ends `seconds` after the last byte has arrived at the peer. Meanwhile `on_wait` is
    called about once a second; an exception in it ends the association.
    `coerced_uid` is the UID under which the peer keeps the object of the last C-STORE, if it
    announced another one than that of the request; otherwise it is empty.
    """

    def __init__(
        self, association: Association, connection: socket.socket, peer: str, seconds: float
    ) -> None:
        super().__init__(association)
        self.on_wait: Callable[[], object] = lambda: None
        self.coerced_uid = ""
        self._connection = connection
        self._peer = peer
        self._seconds = seconds
        self._numbers = itertools.count()
        self._request: Any = None

    @property
    def message_id(self) -> int:
        """The Message ID of the last request, 0 before the first."""
        return 0 if self._request is None else int(self._request.MessageID)

    def send_msg(self, primitive: Any, context_id: int) -> None:
        """Send a message. Raises AssociationError if a response is already there."""
        if primitive.MessageIDBeingRespondedTo is None:
            if self.peek_msg()[1] is not None:
                raise self._mismatch("it came before the request")
            primitive.MessageID = next(self._numbers) % 0xFFFF + 1
            self._request = primitive
        super().send_msg(primitive, context_id)

    def get_msg(self, block: bool = False) -> tuple[Any, Any]:
        """Return a queued message, if any; with `block`, the response to the last request.

        Raises AssociationError if another message arrives.
        """
        if not block:
            return super().get_msg()
        context_id, message = self._wait()
        is_expected = message is None or self.is_part(message, self._request)
        difference = "" if is_expected else _difference(message, self._request)
        if difference:
            raise self._mismatch(difference)
        self.coerced_uid = _other_uid(message, self._request) if message is not None else ""
        return context_id, message

    def is_part(self, message: Any, request: Any) -> bool:
        """Return True if a message that is no response belongs to the service of a request."""
        return False

    def _wait(self) -> tuple[Any, Any]:
        acknowledged, since = self._acknowledged_bytes(), time.monotonic()
        while time.monotonic() - since < self._seconds:
            try:
                return self.msg_queue.get(timeout=min(_POLL_SECONDS, self._seconds))
            except queue.Empty:
                self._call_on_wait()
            before, acknowledged = acknowledged, self._acknowledged_bytes()
            if acknowledged != before:
                since = time.monotonic()
        return None, None

    def _call_on_wait(self) -> None:
        try:
            self.on_wait()
        except BaseException:
            # An A-ABORT alone would be queued behind the rest of the request.
            with suppress(OSError):
                socket.socket.shutdown(self._connection, socket.SHUT_RDWR)
            self.assoc.abort()
            raise

    def _acknowledged_bytes(self) -> int:
        """Return the number of bytes that the peer's system acknowledged, 0 if unknown.

        The number of bytes written is no measure: the kernel buffers megabytes.
        """
        try:
            found = self._connection.getsockopt(
                socket.IPPROTO_TCP, socket.TCP_INFO, _BYTES_ACKED.size
            )
            return int(_BYTES_ACKED.unpack(found)[0])
        except (AttributeError, OSError, struct.error):
            return 0

    def _mismatch(self, difference: str) -> UnmatchedResponseError:
        self.assoc.abort()
        return UnmatchedResponseError(
            f"{self._peer} gave a response that does not answer the request ({difference}), so the "
            "association was ended; if this goes on, tell the vendor of its software"
        )


def match_responses(
    association: Association,
    peer: str,
    response_seconds: float,
    network_seconds: float,
    provider: type[MatchingProvider] = MatchingProvider,
) -> None:
    """Give an association whose connection is open a MatchingProvider and a socket timeout."""
    transport: Any = association.dul.socket
    # pynetdicom waits without a timeout for a peer that does not read.
    transport.socket.settimeout(network_seconds)
    association.dimse = provider(association, transport.socket, peer, response_seconds)
    _send_and_acknowledge_at_once(transport)


def _send_and_acknowledge_at_once(transport: Any) -> None:
    """Let neither side of a connection hold back the end of a message.

    Nagle's algorithm holds back a small packet until the one before it is acknowledged, and the
    other side may acknowledge that one after 40 ms: once for each request and once for each
    response that is written in two parts, as by dcmtk.
    """
    connection = transport.socket
    connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    if _QUICK_ACKNOWLEDGEMENT is None:
        return
    read = transport.recv

    def read_at_once(count: int) -> Any:
        # The option does not stay set. A connection that is gone fails at the read.
        with suppress(OSError):
            connection.setsockopt(socket.IPPROTO_TCP, _QUICK_ACKNOWLEDGEMENT, 1)
        return read(count)

    transport.recv = read_at_once


def _difference(message: Any, request: Any) -> str:
    """Return the reason why a message is not the response to a request, or an empty text."""
    if type(message) is not type(request):
        return "it is of another service"
    if message.MessageIDBeingRespondedTo != request.MessageID:
        return f"Message ID {message.MessageIDBeingRespondedTo} instead of {request.MessageID}"
    other = _other_uid(message, request)
    if other and not (is_warning(int(message.Status or 0)) and is_uid(other)):
        return "another SOP Instance UID"
    return ""


def _other_uid(message: Any, request: Any) -> str:
    """Return the SOP Instance UID of a C-STORE response if it is not that of the request.

    The UID is optional in a response (PS3.7 table 9.3-2). With a warning another UID is a coercion:
    the peer keeps the object under it (PS3.4 B.2.3, status B000).
    """
    if not isinstance(request, C_STORE):
        return ""
    found = str(message.AffectedSOPInstanceUID or "")
    return "" if found == str(request.AffectedSOPInstanceUID) else found
