"""One malformed UID in a C-STORE command costs that object, not the rest of the association."""

import pytest

from dicom_io.receive.store_request import StoreStatus
from tests.builders.images.films import ROOT, chest_film, chest_values, data_set_bytes, file_bytes
from tests.servers.dicom.raw_peer import (
    COMMAND,
    CR,
    LAST,
    P_DATA,
    Element,
    RawPeer,
    command,
    pdu,
    pdv,
    status_of,
    store_elements,
)
from tests.servers.dicom.storage_node import Inbox, running_node

pytestmark = pytest.mark.network

FILM = data_set_bytes(file_bytes(chest_film(chest_values(20, 16))))
UID = f"{ROOT}.1.1.1"


def changed(number: int, value: bytes | None) -> list[Element]:
    """Return the command of a C-STORE with another value of an element, or without it."""
    kept = [element for element in store_elements(UID) if element[0] != number]
    return kept if value is None else sorted([*kept, (number, value)])


def answer(peer: RawPeer, elements: list[Element]) -> tuple[int, bytes]:
    """Send the film and return status and body of the answer."""
    peer.send(pdu(P_DATA, pdv(3, COMMAND | LAST, command(elements)) + pdv(3, LAST, FILM)))
    kind, body = peer.next()
    assert kind == P_DATA, kind
    return status_of(body), body


FAULTS = {
    "70 characters": (0x1000, b"1." * 35, "SOP Instance UID (0000,1000) has 70 characters"),
    "4000 characters": (0x1000, b"1." * 2000, "SOP Instance UID (0000,1000) has 4000 characters"),
    "letters": (0x1000, b"1.2.IMG1", "SOP Instance UID (0000,1000) has other than digits and dots"),
    "no text": (0x1000, b"\xff\x00\x80\n", "(0000,1000) has other than digits and dots"),
    "two values": (0x1000, b"1.2\\1.3 ", "(0000,1000) has other than digits and dots"),
    "empty": (0x1000, b"", "SOP Instance UID (0000,1000) is empty"),
    "spaces": (0x1000, b"    ", "SOP Instance UID (0000,1000) is empty"),
    "absent": (0x1000, None, "SOP Instance UID (0000,1000) is empty"),
    "long class": (0x0002, b"1." * 40, "SOP Class UID (0000,0002) has 80 characters"),
    "named class": (0x0002, b"CRImage\0", "SOP Class UID (0000,0002) has other than digits"),
    "empty class": (0x0002, b"", "SOP Class UID (0000,0002) is empty"),
    "unknown class": (0x0002, b"1.2.3.4 ", "SOP Class UID (0000,0002) is not a storage class"),
    "another class": (
        0x0002,
        b"1.2.840.10008.5.1.4.1.1.2\0",
        "SOP Class UID (0000,0002) differs from the presentation context",
    ),
}


@pytest.mark.parametrize("name", FAULTS)
def test_the_object_is_refused_by_name_and_the_next_one_taken(name: str) -> None:
    number, value, comment = FAULTS[name]
    inbox = Inbox()
    with running_node(inbox) as node, RawPeer(node.port) as peer:
        peer.associate()
        assert answer(peer, store_elements(UID))[0] == 0
        status, body = answer(peer, changed(number, value))
        assert peer.store(UID, FILM) == 0
    refused = StoreStatus.SOP_CLASS_MISMATCH if name == "another class" else 0xC000
    assert status == refused
    assert comment.encode() in body
    assert len(inbox.instances) == 2
    assert inbox.rejections == []
    (refusal,) = inbox.refusals
    assert (refusal.status, refusal.calling_ae_title) == (status, "STORESCU")
    assert comment in refusal.comment


def test_the_answer_does_not_repeat_the_malformed_uid() -> None:
    with running_node(Inbox()) as node, RawPeer(node.port) as peer:
        peer.associate()
        _, body = answer(peer, changed(0x1000, b"1." * 35))
    assert b"1.1.1.1.1" not in body
    assert CR.encode() not in body


@pytest.mark.filterwarnings("ignore:Invalid value for VR UI")
@pytest.mark.parametrize("uid", [f"{ROOT}.1.001", UID])
def test_leading_zeros_and_spaces_are_taken(uid: str) -> None:
    value, film = f"{uid} ".encode(), FILM.replace(UID.encode(), uid.encode())
    inbox = Inbox()
    with running_node(inbox) as node, RawPeer(node.port) as peer:
        peer.associate()
        message = command(changed(0x1000, value))
        peer.send(pdu(P_DATA, pdv(3, COMMAND | LAST, message) + pdv(3, LAST, film)))
        assert status_of(peer.next()[1]) == 0
    assert [stored.sop_instance_uid for stored in inbox.instances] == [uid]


def test_the_study_uid_is_named() -> None:
    study = f"{ROOT}.1".encode()
    assert FILM.count(b"\x20\0\x0d\0UI\x1e\0" + study) == 1
    film = FILM.replace(
        b"\x20\0\x0d\0UI\x1e\0" + study, b"\x20\0\x0d\0UI\x1e\0" + b"STUDY".ljust(len(study))
    )
    inbox = Inbox()
    with running_node(inbox) as node, RawPeer(node.port) as peer:
        peer.associate()
        assert peer.store(UID, film) == StoreStatus.CANNOT_UNDERSTAND
    (refusal,) = inbox.refusals
    assert refusal.comment == "Study Instance UID (0020,000D) has other than digits and dots"
