"""A message in any fragmentation (PS3.8 annex E) is stored as it was sent."""

import threading

import pytest

from dicom_io.receive.store_request import ReceivedInstance, StoreStatus
from tests.builders.images.films import ROOT, chest_film, chest_values, data_set_bytes, file_bytes
from tests.servers.dicom.raw_peer import (
    ABORT,
    COMMAND,
    LAST,
    P_DATA,
    RawPeer,
    command,
    pdu,
    pdv,
    status_of,
    store_elements,
)
from tests.servers.dicom.storage_node import Inbox, running_node
from tests.servers.watching import threads_of_connections
from tests.tools.waiting import wait_until

pytestmark = pytest.mark.network

FILM = data_set_bytes(file_bytes(chest_film(chest_values(20, 16))))
LARGE = data_set_bytes(file_bytes(chest_film(chest_values(900, 801))))
UID = f"{ROOT}.1.1.1"
MESSAGE = command(store_elements(UID))


def fragments(control: int, data: bytes, size: int) -> list[bytes]:
    """Return the presentation data values of a command set or data set; the last is marked."""
    starts = range(0, len(data), size)
    return [
        pdv(3, control | (LAST if start == starts[-1] else 0), data[start : start + size])
        for start in starts
    ]


def kept(inbox: Inbox) -> list[bytes]:
    return [data_set_bytes(one.data) for one in inbox.instances]


@pytest.mark.parametrize("size", [1, 7, 4096])
@pytest.mark.parametrize("values_in_a_pdu", [1, 3, 10_000])
def test_any_fragments_make_the_same_object(size: int, values_in_a_pdu: int) -> None:
    inbox = Inbox()
    values = fragments(COMMAND, MESSAGE, size) + fragments(0, FILM, size)
    with running_node(inbox) as node, RawPeer(node.port) as peer:
        peer.associate()
        for _ in range(2):
            for start in range(0, len(values), values_in_a_pdu):
                peer.send(pdu(P_DATA, b"".join(values[start : start + values_in_a_pdu])))
            assert status_of(peer.next()[1]) == StoreStatus.SUCCESS
    assert kept(inbox) == [FILM] * 2


@pytest.mark.parametrize("size", [16384, 131072, 1 << 24])
def test_a_large_object_is_stored_byte_for_byte(size: int) -> None:
    inbox = Inbox()
    with running_node(inbox) as node, RawPeer(node.port) as peer:
        assert peer.associate().store(UID, LARGE, fragment=size) == StoreStatus.SUCCESS
    assert kept(inbox) == [LARGE]


def test_bytes_sent_one_by_one_make_the_same_object() -> None:
    inbox = Inbox()
    with running_node(inbox) as node, RawPeer(node.port) as peer:
        peer.associate()
        for byte in pdu(P_DATA, pdv(3, COMMAND | LAST, MESSAGE)) + pdu(P_DATA, pdv(3, LAST, FILM)):
            peer.send(bytes([byte]))
        assert status_of(peer.next()[1]) == StoreStatus.SUCCESS
    assert kept(inbox) == [FILM]


def test_a_peer_that_aborts_during_storage_does_not_disturb_another() -> None:
    begun, release = threading.Event(), threading.Event()

    def slowly(_: ReceivedInstance) -> StoreStatus:
        begun.set()
        release.wait(10)
        return StoreStatus.SUCCESS

    with running_node(Inbox(), on_store=slowly) as node, RawPeer(node.port) as other:
        with RawPeer(node.port) as peer:
            peer.associate().begin_store(UID)
            peer.send(pdu(P_DATA, pdv(3, LAST, FILM)))
            assert begun.wait(5)
            peer.send(pdu(ABORT, b"\0\0\0\0"))
        assert other.associate().echo() == 0
        release.set()
        other.socket.close()
        wait_until(lambda: not threads_of_connections(), seconds=5)
