"""C-STORE of any bytes at all: what a sound sender would not put on the wire."""

import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from io import BytesIO

from pynetdicom import AE, build_context
from pynetdicom.association import Association
from pynetdicom.dimse_primitives import C_STORE

from tests.daemon.running import HOST, NODE, SENDER


class RawSender:
    """An association that sends data sets as they are."""

    def __init__(self, association: Association) -> None:
        self._association = association
        self._contexts = {
            (str(one.abstract_syntax), str(one.transfer_syntax[0])): one.context_id or 0
            for one in association.accepted_contexts
        }
        self._sent = 0

    def send(self, sop_class: str, syntax: str, uid: str, data_set: bytes) -> int | None:
        """The status of the answer, None where none came."""
        self._sent += 1
        request = C_STORE()
        request.MessageID = self._sent % 65536
        request.Priority = 2
        request.AffectedSOPClassUID, request.AffectedSOPInstanceUID = sop_class, uid
        request.DataSet = BytesIO(data_set)
        association = self._association
        association._reactor_checkpoint.clear()
        while not association._is_paused:
            time.sleep(0.0001)
        association.dimse.send_msg(request, self._contexts[sop_class, syntax])
        _, answer = association.dimse.get_msg(block=True)
        association._reactor_checkpoint.set()
        # Else the next call would take this pause for its own, and lose its answer.
        while association._is_paused:
            time.sleep(0.0001)
        return (
            int(answer.Status)
            if isinstance(answer, C_STORE) and answer.Status is not None
            else None
        )


@contextmanager
def raw_sender(port: int, pairs: Iterable[tuple[str, str]]) -> Iterator[RawSender]:
    """An association for these SOP classes and transfer syntaxes."""
    ae = AE(ae_title=SENDER)
    contexts = [build_context(sop_class, syntax) for sop_class, syntax in dict.fromkeys(pairs)]
    association = ae.associate(HOST, port, contexts=contexts, ae_title=NODE)
    assert association.is_established
    try:
        yield RawSender(association)
    finally:
        association.release()
