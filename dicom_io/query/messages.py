"""The messages of a query or a retrieval on an association that this node opened.

pynetdicom keeps each message of a peer in memory, of any size, and queues messages without limit.
"""

import socket
from typing import Any

from pynetdicom.association import Association
from pynetdicom.dimse_primitives import C_GET, C_STORE
from pynetdicom.pdu_primitives import P_DATA

from dicom_io.send.request_response import MatchingProvider

MAX_ANSWER_BYTES = 1 << 20
"""Size of one answer to a query."""
MAX_ANSWERS_BYTES = 64 << 20
"""Size of all answers to one query."""
_MAX_WAITING_STORES = 4
"""C-STORE requests that wait for their response; a peer sends one at a time (PS3.7 9.1.1)."""


class QueryProvider(MatchingProvider):
    """Takes the answers to a query, and the C-STORE requests that a C-GET brings, within limits.

    `max_object_bytes` is the size of one C-STORE request. A peer that exceeds a limit is cut off,
    and `fault` says why.
    """

    def __init__(
        self, association: Association, connection: socket.socket, peer: str, seconds: float
    ) -> None:
        super().__init__(association, connection, peer, seconds)
        self.max_object_bytes = 0
        self.fault = ""
        self._bytes = self._all_bytes = 0

    def send_msg(self, primitive: Any, context_id: int) -> None:
        """Send a message; a request starts the count of its answers anew."""
        if primitive.MessageIDBeingRespondedTo is None:
            self._all_bytes = 0
        super().send_msg(primitive, context_id)

    def receive_primitive(self, primitive: P_DATA) -> None:
        """Take a part of a message; beyond a limit drop all that follows."""
        if self.fault:
            return
        if self.message is None:
            self._bytes = 0
        size = sum(len(value) for _, value in primitive.presentation_data_value_list)
        self._bytes += size
        self._all_bytes += size
        self.fault = self._excess()
        if self.fault:
            # The thread that waits for an answer ends the association, as after a timeout.
            self.msg_queue.put((None, None))
            return
        super().receive_primitive(primitive)

    def is_part(self, message: Any, request: Any) -> bool:
        """Return True for a C-STORE request that a C-GET brings."""
        is_store = isinstance(request, C_GET) and isinstance(message, C_STORE)
        return is_store and message.MessageIDBeingRespondedTo is None

    def _excess(self) -> str:
        is_get = isinstance(self._request, C_GET)
        if self._bytes > max(MAX_ANSWER_BYTES, self.max_object_bytes if is_get else 0):
            return f"a message of more than {self._bytes >> 20} MB"
        if not is_get and self._all_bytes > MAX_ANSWERS_BYTES:
            return f"answers of more than {MAX_ANSWERS_BYTES >> 20} MB to one query"
        if is_get and self.msg_queue.qsize() > _MAX_WAITING_STORES:
            return "objects without waiting for the response to each"
        return ""
