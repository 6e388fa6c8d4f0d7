"""The answers of a worklist manager on an association that this node opened.

pynetdicom keeps each message of a peer in memory, of any size, and queues messages without limit.
"""

import socket
from typing import Any

from pynetdicom.association import Association
from pynetdicom.pdu_primitives import P_DATA

from dicom_io.send.request_response import MatchingProvider

MAX_ANSWER_BYTES = 8 << 20
"""Size of one answer: a workitem may refer to 20,000 images."""
MAX_ANSWERS_BYTES = 64 << 20
"""Size of all answers to one request."""


class BoundedProvider(MatchingProvider):
    """Takes the answers to a request within limits.

    A manager that exceeds a limit is cut off, and `fault` says why.
    """

    def __init__(
        self, association: Association, connection: socket.socket, peer: str, seconds: float
    ) -> None:
        super().__init__(association, connection, peer, seconds)
        self.fault = ""
        self._one = self._all = 0

    def send_msg(self, primitive: Any, context_id: int) -> None:
        """Send a message; a request starts the count of its answers anew."""
        if primitive.MessageIDBeingRespondedTo is None:
            self._all = 0
        super().send_msg(primitive, context_id)

    def receive_primitive(self, primitive: P_DATA) -> None:
        """Take a part of a message; end the association beyond a limit."""
        if self.fault:
            return
        if self.message is None:
            self._one = 0
        size = sum(len(value) for _, value in primitive.presentation_data_value_list)
        self._one += size
        self._all += size
        if self._one > MAX_ANSWER_BYTES:
            self.fault = f"an answer of more than {MAX_ANSWER_BYTES >> 20} MB"
        elif self._all > MAX_ANSWERS_BYTES:
            self.fault = f"answers of more than {MAX_ANSWERS_BYTES >> 20} MB to one request"
        if self.fault:
            # As pynetdicom does for a message that it cannot read: it ends in an A-ABORT.
            self.dul.event_queue.put("Evt19")
            return
        super().receive_primitive(primitive)
