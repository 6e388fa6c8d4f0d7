"""C-STORE of any bytes, valid or not."""

from collections.abc import Iterable, Iterator
from contextlib import contextmanager

from tests.servers.dicom.raw_peer import (
    COMMAND,
    LAST,
    P_DATA,
    RELEASE_RP,
    RELEASE_RQ,
    RawPeer,
    associate_rq,
    command,
    pdu,
    pdv,
    status_of,
    store_elements,
)

ANSWER_SECONDS = 60.0
FRAGMENT = 1 << 20


class RawSender:
    """An association that sends data sets unchanged."""

    def __init__(self, peer: RawPeer, contexts: dict[tuple[str, str], int]) -> None:
        self._peer = peer
        self._contexts = contexts

    def send(self, sop_class: str, syntax: str, uid: str, data_set: bytes) -> int | None:
        """Send an object; return the status of the answer, or None if the peer aborted."""
        number = self._contexts[sop_class, syntax]
        request = command(store_elements(uid, sop_class))
        self._peer.send(pdu(P_DATA, pdv(number, COMMAND | LAST, request)))
        for start in range(0, max(1, len(data_set)), FRAGMENT):
            last = LAST if start + FRAGMENT >= len(data_set) else 0
            self._peer.send(pdu(P_DATA, pdv(number, last, data_set[start : start + FRAGMENT])))
        kind, body = self._peer.next()
        return status_of(body) if kind == P_DATA else None


@contextmanager
def raw_sender(port: int, pairs: Iterable[tuple[str, str]]) -> Iterator[RawSender]:
    """Open an association for pairs of SOP class and transfer syntax."""
    contexts = {pair: 2 * place + 1 for place, pair in enumerate(dict.fromkeys(pairs))}
    asked = [(number, sop_class, [syntax]) for (sop_class, syntax), number in contexts.items()]
    with RawPeer(port, ANSWER_SECONDS) as peer:
        peer.associate(associate_rq(contexts=asked))
        yield RawSender(peer, contexts)
        peer.send(pdu(RELEASE_RQ, bytes(4)))
        assert peer.next()[0] == RELEASE_RP
