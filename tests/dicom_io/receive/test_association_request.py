"""Association requests that deviate harmlessly are accepted, the others refused with their item."""

import struct
import subprocess
import sys
from collections.abc import Sequence

import pytest

from dicom_io.peer.peers import Peer
from dicom_io.receive.association_request import checked_request
from dicom_io.receive.events import RejectReason
from dicom_io.receive.limits import AbortReason, LimitError
from tests.builders.images.films import ROOT, chest_film, chest_values, data_set_bytes, file_bytes
from tests.servers.dicom.raw_peer import (
    ABORT,
    ASSOCIATE_AC,
    ASSOCIATE_RJ,
    ASSOCIATE_RQ,
    CR,
    EXPLICIT,
    IMPLICIT,
    VERIFICATION,
    RawPeer,
    accepted_contexts,
    item,
    pdu,
)
from tests.servers.dicom.storage_node import Inbox, running_node
from tests.tools.paths import field_case

pytestmark = pytest.mark.network

FILM = data_set_bytes(file_bytes(chest_film(chest_values(20, 16))))
APPLICATION = b"1.2.840.10008.3.1.1.1"
MAX_LENGTH = item(0x51, struct.pack(">I", 16384))


def context(
    number: int = 3,
    abstract: bytes | None = CR.encode(),
    transfer: Sequence[bytes] = (EXPLICIT.encode(),),
    *,
    before: bytes = b"",
    after: bytes = b"",
) -> bytes:
    names = b"" if abstract is None else item(0x30, abstract)
    names += b"".join(item(0x40, name) for name in transfer)
    return item(0x20, struct.pack(">B3x", number) + before + names + after)


def request(
    *,
    calling: bytes = b"STORESCU",
    called: bytes = b"CXRD",
    application: bytes = APPLICATION,
    contexts: bytes | None = None,
    user: bytes = MAX_LENGTH + item(0x52, b"1.2.3"),
    first: bytes = b"",
    last: bytes = b"",
    version: int = 1,
) -> bytes:
    fixed = struct.pack(">H2x16s16s32x", version, called.ljust(16), calling.ljust(16))
    contexts = context() if contexts is None else contexts
    return fixed + first + item(0x10, application) + contexts + item(0x50, user) + last


def unknown(*kinds: int) -> bytes:
    return b"".join(item(kind, bytes(number)) for number, kind in enumerate(kinds))


HARMLESS = {
    "as the standard has it": request(),
    "calling title padded with NUL": request(calling=b"STORESCU".ljust(16, b"\0")),
    "called title padded with NUL": request(called=b"CXRD".ljust(16, b"\0")),
    "titles padded with NUL and spaces": request(calling=b" STORESCU \0 \0 ", called=b"CXRD \0"),
    "what was in the buffer after the NUL": request(calling=b"STORESCU\0\x7f\xfe\\xy"),
    "unknown items, some empty": request(first=unknown(0x00, 0x70), last=unknown(0xFF, 0x11, 0x70)),
    "an item of a response": request(last=item(0x21, b"\1\0\0\0")),
    "a sub-item where an item is due": request(last=item(0x30, b"1.2") + item(0x51, b"")),
    "unknown user information": request(user=unknown(0x5A, 0x00, 0xFF, 0x60) + MAX_LENGTH),
    "an item in the user information": request(user=MAX_LENGTH + item(0x10, APPLICATION)),
    "unknown sub-items of a context": request(
        contexts=context(before=unknown(0x00, 0x45), after=unknown(0xFE, 0x45, 0x41))
    ),
    "user information within a context": request(contexts=context(after=MAX_LENGTH)),
    "a version name of 17 characters": request(user=MAX_LENGTH + item(0x55, b"A_LONG_VERSION_17")),
    "a version name of 300 characters": request(user=MAX_LENGTH + item(0x55, b"v" * 300)),
    "an empty version name": request(user=MAX_LENGTH + item(0x55, b"")),
    "a version name of spaces": request(user=MAX_LENGTH + item(0x55, b" " * 16)),
    "a version name in Latin-1, with NUL": request(user=item(0x55, b"G\xe9r\xe4t \\1\0\0")),
    "two version names": request(user=item(0x55, b"A") + MAX_LENGTH + item(0x55, b"B")),
    "no class UID": request(user=MAX_LENGTH),
    "an empty class UID": request(user=MAX_LENGTH + item(0x52, b"")),
    "a class UID that is no UID": request(user=MAX_LENGTH + item(0x52, b"GE-\xff" * 30)),
    "no maximum length": request(user=item(0x52, b"1.2.3")),
    "empty user information": request(user=b""),
    "no user information": request()[: -len(item(0x50, MAX_LENGTH + item(0x52, b"1.2.3")))],
    "an asynchronous window": request(user=MAX_LENGTH + item(0x53, b"\0\0\0\0")),
    "a malformed asynchronous window": request(user=MAX_LENGTH + item(0x53, b"\1")),
    "extended negotiation": request(user=MAX_LENGTH + item(0x56, b"\0\3" + b"1.2" + b"\1\2")),
    "common extended negotiation": request(user=MAX_LENGTH + item(0x57, b"\0\1")),
    "user identity": request(user=MAX_LENGTH + item(0x58, b"\1\0\0\4user\0\0")),
    "user identity of an unknown type": request(user=MAX_LENGTH + item(0x58, b"\x09\1\0\0\0\0")),
    "a role of another class": request(user=MAX_LENGTH + item(0x54, b"\0\0041.2\0\2\xff")),
    "UIDs padded with NUL and spaces": request(
        application=APPLICATION + b"\0",
        contexts=context(abstract=CR.encode() + b"\0", transfer=[EXPLICIT.encode() + b" \0"]),
    ),
    "an unknown transfer syntax beside": request(
        contexts=context(transfer=[b"1.2.\xe9", b"", b"1." * 50, EXPLICIT.encode()])
    ),
    "a context without abstract syntax beside": request(contexts=context(5, None) + context()),
    "an empty abstract syntax beside": request(contexts=context(5, b"\0") + context()),
    "a long abstract syntax beside": request(contexts=context(5, b"1." * 60) + context()),
    "a context without transfer syntax beside": request(
        contexts=context(5, VERIFICATION.encode(), []) + context()
    ),
    "two abstract syntaxes in a context": request(contexts=context(after=item(0x30, b"1.2"))),
    "a later version, too": request(version=3),
}
"""Requests whose presentation context 3, and no other, is accepted."""


@pytest.mark.parametrize("name", HARMLESS)
def test_a_harmless_deviation_is_accepted(name: str) -> None:
    inbox = Inbox()
    with running_node(inbox) as node, RawPeer(node.port) as peer:
        peer.send(pdu(ASSOCIATE_RQ, HARMLESS[name]))
        kind, body = peer.next()
        assert kind == ASSOCIATE_AC
        assert accepted_contexts(body) == [3]
        assert peer.store(f"{ROOT}.1.1.1", FILM) == 0
    assert [stored.calling_ae_title for stored in inbox.instances] == ["STORESCU"]
    assert inbox.rejections == []


def cut(body: bytes, count: int = 1) -> bytes:
    return body[:-count]


MALFORMED = {
    "item 0x50 is longer than what holds it": cut(request()),
    "the header of an item is cut off": request(last=b"\x70\0\0"),
    "item 0x70 is longer than what holds it": request(last=item(0x70, b"ABCD", length=5)),
    "item 0x5A is longer than what holds it": request(user=item(0x5A, b"ABCD", length=5)),
    "item 0x45 is longer than what holds it": request(
        contexts=context(after=item(0x45, b"AB", length=0xFFFF))
    ),
    "a presentation context has fewer than 4 bytes": request(contexts=item(0x20, b"\1\0\0")),
    "presentation context 2: the number must be odd": request(contexts=context(2)),
    "Maximum Length (0x51) does not have 4 bytes": request(user=item(0x51, b"\0\0\1")),
    "SCP/SCU Role Selection (0x54): its lengths differ": request(
        user=MAX_LENGTH + item(0x54, b"\0\x091.2\1\1")
    ),
    "it has fewer than 68 bytes": request()[:67],
}


@pytest.mark.parametrize("detail", MALFORMED)
def test_a_length_that_contradicts_the_bytes_is_refused_and_named(detail: str) -> None:
    with pytest.raises(LimitError) as caught:
        checked_request(MALFORMED[detail])
    assert caught.value.reason is AbortReason.MALFORMED
    assert detail in caught.value.detail


def test_the_log_names_the_item_of_a_malformed_request() -> None:
    inbox = Inbox()
    with running_node(inbox) as node, RawPeer(node.port) as peer:
        peer.send(pdu(ASSOCIATE_RQ, request(last=item(0x70, b"ABCD", length=5))))
        assert peer.next()[0] == ABORT
    (rejection,) = inbox.rejections
    assert str(rejection) == (
        "a PDU or a message is not as the standard has it"
        " (A-ASSOCIATE-RQ, request: item 0x70 is longer than what holds it)"
    )


@pytest.mark.parametrize(
    ("body", "reason", "title", "detail"),
    [
        (request(calling=b""), RejectReason.CALLING_AE_TITLE, "?", "is empty"),
        (request(calling=b"\0" * 16), RejectReason.CALLING_AE_TITLE, "?", "is empty"),
        (request(calling=b"ST\xe9RE"), RejectReason.CALLING_AE_TITLE, "ST?RE", "has characters"),
        (request(calling=b"ST\\RE"), RejectReason.CALLING_AE_TITLE, "ST?RE", "has characters"),
        (request(called=b"\0X"), RejectReason.CALLED_AE_TITLE, "STORESCU", "is empty"),
        (request(called=b"CXRD2"), RejectReason.CALLED_AE_TITLE, "STORESCU", ""),
    ],
)
def test_a_title_that_is_none_is_rejected_not_aborted(
    body: bytes, reason: RejectReason, title: str, detail: str
) -> None:
    inbox = Inbox()
    peers = [Peer("STORESCU"), Peer("?"), Peer("ST?RE")]
    with running_node(inbox, peers=peers) as node, RawPeer(node.port) as peer:
        peer.send(pdu(ASSOCIATE_RQ, body))
        assert peer.next()[0] == ASSOCIATE_RJ
    (rejection,) = inbox.rejections
    assert (rejection.reason, rejection.calling_ae_title) == (reason, title)
    assert rejection.detail.startswith(detail)


@pytest.mark.parametrize(
    ("body", "reason"),
    [
        (request(application=b"1.2.3"), RejectReason.APPLICATION_CONTEXT),
        (request(application=b""), RejectReason.APPLICATION_CONTEXT),
        (request(application=b"1." * 90), RejectReason.APPLICATION_CONTEXT),
        (request(application=b"\xff\xfe"), RejectReason.APPLICATION_CONTEXT),
        (request(version=2), RejectReason.PROTOCOL_VERSION),
    ],
)
def test_another_protocol_is_rejected(body: bytes, reason: RejectReason) -> None:
    inbox = Inbox()
    with running_node(inbox) as node, RawPeer(node.port) as peer:
        peer.send(pdu(ASSOCIATE_RQ, body))
        assert peer.next()[0] == ASSOCIATE_RJ
    assert [rejection.reason for rejection in inbox.rejections] == [reason]


def test_a_storage_commitment_role_is_kept() -> None:
    sop_class = b"1.2.840.10008.1.20.1"
    roles = item(0x54, struct.pack(">H", len(sop_class) + 1) + sop_class + b"\0\0\1")
    kept = item(0x54, struct.pack(">H", len(sop_class)) + sop_class + b"\0\1")
    assert checked_request(request(user=MAX_LENGTH + roles)).body.endswith(kept)


def test_a_context_without_known_names_is_answered_as_not_accepted() -> None:
    inbox = Inbox()
    contexts = context(1, None) + context(3, transfer=[]) + context(5, b"", [IMPLICIT.encode()])
    with running_node(inbox) as node, RawPeer(node.port) as peer:
        peer.send(pdu(ASSOCIATE_RQ, request(contexts=contexts)))
        kind, body = peer.next()
    assert kind in (ASSOCIATE_AC, ABORT)
    assert kind == ABORT or accepted_contexts(body) == []


def test_the_requests_of_the_field_are_accepted() -> None:
    script = field_case("net_association.py")
    with running_node(Inbox()) as node:
        command = [sys.executable, str(script), "127.0.0.1", str(node.port), "CXRD", "STORESCU"]
        answers = subprocess.run(
            command, capture_output=True, text=True, check=True, timeout=60
        ).stdout.splitlines()
    assert len(answers) >= 7
    assert {line.rpartition(": ")[2] for line in answers} == {"accepted"}
