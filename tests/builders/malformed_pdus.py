"""Conversations that are not DICOM, made from a seed, for a `RawPeer` to send."""

import contextlib
import random
import socket
import struct
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from tests.servers.dicom.raw_peer import (
    ABORT,
    ASSOCIATE_AC,
    ASSOCIATE_RJ,
    ASSOCIATE_RQ,
    COMMAND,
    CONTEXTS,
    CR,
    EXPLICIT,
    IMPLICIT,
    LAST,
    P_DATA,
    RELEASE_RP,
    RELEASE_RQ,
    USER_INFORMATION,
    VERIFICATION,
    RawPeer,
    associate_rq,
    command,
    context_item,
    echo_elements,
    element,
    item,
    pdu,
    pdv,
    store_elements,
)

Random = random.Random
TRANSIENT = 2
AGAIN_SECONDS = 0.2
LENGTHS = (0, 1, 2, 3, 5, 0x7F, 0xFFFF, 0x10000, 0x7FFFFFFF, 0xFFFFFFFF)


@dataclass(frozen=True, slots=True)
class Conversation:
    """Bytes to send in steps; `associated` opens a proper association before them."""

    name: str
    associated: bool
    sent: tuple[bytes, ...]


def conversations(seed: int, count: int, uid: str, data_set: bytes) -> Iterator[Conversation]:
    """Yield `count` conversations, each kind in turn, around one valid object."""
    chance = random.Random(seed)
    for number in range(count):
        if number % 2:
            make = BEFORE[number // 2 % len(BEFORE)]
            yield Conversation(make.__name__, False, tuple(make(chance)))
        else:
            kind = WITHIN[number // 2 % len(WITHIN)]
            yield Conversation(
                kind.__name__, True, tuple(kind(chance, f"{uid}.{number}", data_set))
            )


def _bytes(chance: Random, most: int = 200) -> bytes:
    return chance.randbytes(chance.randrange(1, most))


def _flipped(chance: Random, data: bytes, most: int = 8) -> bytes:
    damaged = bytearray(data)
    for _ in range(chance.randrange(1, most)):
        damaged[chance.randrange(len(damaged))] = chance.randrange(256)
    return bytes(damaged)


def _cut(chance: Random, data: bytes) -> bytes:
    return data[: chance.randrange(len(data))]


def good_store(uid: str, data_set: bytes) -> bytes:
    return pdu(P_DATA, pdv(3, COMMAND | LAST, command(store_elements(uid)))) + pdu(
        P_DATA, pdv(3, LAST, data_set)
    )


def noise(chance: Random) -> list[bytes]:
    return [_bytes(chance, 2000)]


def wrong_first_pdu(chance: Random) -> list[bytes]:
    return [pdu(chance.choice([0, *range(2, 256)]), _bytes(chance))]


def wrong_request_length(chance: Random) -> list[bytes]:
    return [pdu(ASSOCIATE_RQ, associate_rq(), length=chance.choice(LENGTHS))]


def cut_off_request(chance: Random) -> list[bytes]:
    return [_cut(chance, pdu(ASSOCIATE_RQ, associate_rq()))]


def flipped_request(chance: Random) -> list[bytes]:
    return [pdu(ASSOCIATE_RQ, _flipped(chance, associate_rq()))]


def wrong_version(chance: Random) -> list[bytes]:
    return [pdu(ASSOCIATE_RQ, associate_rq(version=chance.choice([0, 2, 0xFFFF])))]


def wrong_titles(chance: Random) -> list[bytes]:
    return [pdu(ASSOCIATE_RQ, associate_rq(calling=chance.randbytes(16), called=b"\0" * 16))]


def wrong_item_lengths(chance: Random) -> list[bytes]:
    inner = item(0x30, CR.encode(), length=chance.choice(LENGTHS[:7]))
    body = struct.pack(">B3x", 1) + inner + item(0x40, EXPLICIT.encode())
    items = item(0x10, b"1.2.840.10008.3.1.1.1") + item(0x20, body) + USER_INFORMATION
    return [pdu(ASSOCIATE_RQ, associate_rq(items=items))]


def deep_items(chance: Random) -> list[bytes]:
    nested = b""
    for _ in range(chance.randrange(1, 400)):
        nested = item(chance.choice([0x20, 0x30, 0x40, 0x50, 0x54]), nested)
    return [pdu(ASSOCIATE_RQ, associate_rq(items=nested))]


def missing_items(chance: Random) -> list[bytes]:
    items = [item(0x10, b"1.2.840.10008.3.1.1.1"), context_item(CONTEXTS[0]), USER_INFORMATION]
    kept = b"".join(each for each in items if chance.random() < 0.5)
    return [pdu(ASSOCIATE_RQ, associate_rq(items=kept)), pdu(P_DATA, pdv(1, 3, b""))]


def doubled_items(chance: Random) -> list[bytes]:
    items = item(0x10, b"1.2.840.10008.3.1.1.1") * 2 + USER_INFORMATION * chance.randrange(2, 5)
    items += context_item(CONTEXTS[0]) * 3 + context_item(CONTEXTS[1])
    return [pdu(ASSOCIATE_RQ, associate_rq(items=items))]


def odd_contexts(chance: Random) -> list[bytes]:
    uids = ["", "not a uid", "1." * 100, "1.2.840.10008.1.1\0", "é"]
    contexts = [
        (chance.randrange(256), chance.choice(uids), [chance.choice([*uids, IMPLICIT])])
        for _ in range(chance.randrange(1, 300))
    ]
    return [pdu(ASSOCIATE_RQ, associate_rq(contexts=contexts))]


def odd_user_information(chance: Random) -> list[bytes]:
    kinds = [0x51, 0x52, 0x53, 0x54, 0x55, 0x56, 0x57, 0x58, 0x59, 0x5A]
    inner = b"".join(item(chance.choice(kinds), _bytes(chance, 40)) for _ in range(4))
    items = item(0x10, b"1.2.840.10008.3.1.1.1") + context_item(CONTEXTS[0])
    return [pdu(ASSOCIATE_RQ, associate_rq(items=items + item(0x50, inner)))]


def abort_at_once(chance: Random) -> list[bytes]:
    return [pdu(ABORT, b"\0\0\0\0"), _bytes(chance)]


def data_at_once(chance: Random) -> list[bytes]:
    return [pdu(P_DATA, pdv(1, COMMAND | LAST, command(echo_elements()))), _bytes(chance)]


def request_and_gone(chance: Random) -> list[bytes]:
    after = chance.choice([b"", pdu(ABORT, b"\0\0\0\0"), pdu(RELEASE_RQ, b"\0\0\0\0")])
    return [pdu(ASSOCIATE_RQ, associate_rq()) + after]


def many_requests(chance: Random) -> list[bytes]:
    return [pdu(ASSOCIATE_RQ, associate_rq()) * chance.randrange(2, 6)]


BEFORE: tuple[Callable[[Random], list[bytes]], ...] = (
    noise,
    wrong_first_pdu,
    wrong_request_length,
    cut_off_request,
    flipped_request,
    wrong_version,
    wrong_titles,
    wrong_item_lengths,
    deep_items,
    missing_items,
    doubled_items,
    odd_contexts,
    odd_user_information,
    abort_at_once,
    data_at_once,
    request_and_gone,
    many_requests,
)


def noise_within(chance: Random, _uid: str, _data: bytes) -> list[bytes]:
    return [_bytes(chance, 2000)]


def wrong_pdu(chance: Random, _uid: str, _data: bytes) -> list[bytes]:
    return [pdu(chance.choice([0, ASSOCIATE_RQ, ASSOCIATE_AC, ASSOCIATE_RJ, 9]), _bytes(chance))]


def wrong_data_length(chance: Random, uid: str, _data: bytes) -> list[bytes]:
    body = pdv(3, COMMAND | LAST, command(store_elements(uid)))
    return [pdu(P_DATA, body, length=chance.choice(LENGTHS))]


def wrong_fragment_length(chance: Random, uid: str, _data: bytes) -> list[bytes]:
    message = command(store_elements(uid))
    return [pdu(P_DATA, pdv(3, COMMAND | LAST, message, length=chance.choice(LENGTHS)))]


def wrong_context(chance: Random, uid: str, data: bytes) -> list[bytes]:
    number = chance.choice([0, 2, 5, 255])
    return [
        pdu(P_DATA, pdv(number, COMMAND | LAST, command(store_elements(uid)))),
        pdu(P_DATA, pdv(number, LAST, data)),
    ]


def wrong_control(chance: Random, uid: str, data: bytes) -> list[bytes]:
    return [
        pdu(P_DATA, pdv(3, chance.randrange(4, 256), command(store_elements(uid)))),
        pdu(P_DATA, pdv(3, chance.randrange(256), data)),
    ]


def data_without_command(chance: Random, _uid: str, data: bytes) -> list[bytes]:
    return [pdu(P_DATA, pdv(3, chance.choice([0, LAST]), data))] * 2


def command_without_data(chance: Random, uid: str, _data: bytes) -> list[bytes]:
    message = pdu(P_DATA, pdv(3, COMMAND | LAST, command(store_elements(uid))))
    return [message * chance.randrange(1, 4)]


def mixed_contexts(_chance: Random, uid: str, data: bytes) -> list[bytes]:
    half = len(data) // 2
    return [
        pdu(P_DATA, pdv(3, COMMAND | LAST, command(store_elements(uid)))),
        pdu(P_DATA, pdv(3, 0, data[:half]) + pdv(1, LAST, data[half:])),
    ]


def mixed_commands(_chance: Random, uid: str, data: bytes) -> list[bytes]:
    return [
        pdu(P_DATA, pdv(3, COMMAND, command(store_elements(uid))[:40])),
        pdu(P_DATA, pdv(1, COMMAND | LAST, command(echo_elements()))),
        pdu(P_DATA, pdv(3, LAST, data)),
    ]


def missing_element(chance: Random, uid: str, data: bytes) -> list[bytes]:
    elements = store_elements(uid)
    del elements[chance.randrange(len(elements))]
    return _message(elements, data)


def doubled_element(chance: Random, uid: str, data: bytes) -> list[bytes]:
    elements = store_elements(uid)
    return _message([*elements, chance.choice(elements)], data)


def large_element(chance: Random, uid: str, data: bytes) -> list[bytes]:
    return _message([*store_elements(uid), (0x0902, b"x" * chance.choice([100, 70000]))], data)


def odd_values(chance: Random, uid: str, data: bytes) -> list[bytes]:
    elements = [
        (number, _bytes(chance, 70) if chance.random() < 0.4 else value)
        for number, value in store_elements(uid)
    ]
    return _message(elements, data)


def other_command(chance: Random, uid: str, data: bytes) -> list[bytes]:
    field = chance.choice([0x0020, 0x0021, 0x0010, 0x0110, 0x0120, 0x0130, 0x0140, 0x0150, 0x0100])
    response = chance.choice([0, 0x8000])
    elements = store_elements(uid, chance.choice([CR, VERIFICATION, "1.2.840.10008.1.20.1"]))
    elements[1] = (0x0100, struct.pack("<H", field | response))
    if response:
        elements += [(0x0120, b"\7\0"), (0x0900, b"\0\0")]
    return _message(elements, data)


def other_class(chance: Random, uid: str, data: bytes) -> list[bytes]:
    classes = [VERIFICATION, "1.2.840.10008.1.20.1", "1.2.840.10008.5.1.4.1.2.1.1", "1.2.3"]
    return _message(store_elements(uid, chance.choice(classes)), data)


def flipped_command(chance: Random, uid: str, data: bytes) -> list[bytes]:
    message = _flipped(chance, command(store_elements(uid)))
    return [pdu(P_DATA, pdv(3, COMMAND | LAST, message)), pdu(P_DATA, pdv(3, LAST, data))]


def other_groups(chance: Random, uid: str, data: bytes) -> list[bytes]:
    message = command(store_elements(uid)) + _bytes(chance, 60) + element(0x1000, b"1.2")
    return [pdu(P_DATA, pdv(3, COMMAND | LAST, message)), pdu(P_DATA, pdv(3, LAST, data))]


def flipped_store(chance: Random, uid: str, data: bytes) -> list[bytes]:
    """Damage to the frame and to the head of the data set, not to its pixels."""
    message = good_store(uid, data)
    return [_flipped(chance, message[:900], 16) + message[900:]]


def cut_off_store(chance: Random, uid: str, data: bytes) -> list[bytes]:
    return [_cut(chance, good_store(uid, data))]


def abort_half_way(chance: Random, uid: str, data: bytes) -> list[bytes]:
    half = pdu(P_DATA, pdv(3, 0, data[: chance.randrange(len(data))]))
    begun = pdu(P_DATA, pdv(3, COMMAND | LAST, command(store_elements(uid))))
    return [begun, half, pdu(ABORT, b"\0\0\0\0")]


def release_half_way(chance: Random, uid: str, data: bytes) -> list[bytes]:
    half = pdu(P_DATA, pdv(3, 0, data[: chance.randrange(len(data))]))
    begun = pdu(P_DATA, pdv(3, COMMAND | LAST, command(store_elements(uid))))
    return [begun, half, pdu(RELEASE_RQ, b"\0\0\0\0"), pdu(P_DATA, pdv(3, LAST, data))]


def releases_that_cross(chance: Random, _uid: str, _data: bytes) -> list[bytes]:
    kinds = chance.choices([RELEASE_RQ, RELEASE_RP], k=chance.randrange(1, 5))
    return [b"".join(pdu(kind, b"\0\0\0\0") for kind in kinds)]


def release_of_any_length(chance: Random, _uid: str, _data: bytes) -> list[bytes]:
    kind = chance.choice([RELEASE_RQ, RELEASE_RP, ABORT])
    return [pdu(kind, _bytes(chance), length=chance.choice([0, 1, 3, 60, *LENGTHS]))]


def echoes_without_end(chance: Random, _uid: str, _data: bytes) -> list[bytes]:
    message = pdu(P_DATA, pdv(1, COMMAND | LAST, command(echo_elements())))
    return [message * chance.randrange(20, 60), pdu(ABORT, b"\0\0\0\0")]


def empty_pdus(_chance: Random, _uid: str, _data: bytes) -> list[bytes]:
    return [pdu(P_DATA, b"") * 50, pdu(P_DATA, pdv(3, 0, b"", length=1))]


def crumbs(chance: Random, uid: str, _data: bytes) -> list[bytes]:
    message = command(store_elements(uid))
    pieces = [pdu(P_DATA, pdv(3, COMMAND, bytes([byte]))) for byte in message]
    return [b"".join(pieces), pdu(P_DATA, pdv(3, COMMAND | LAST, _bytes(chance)))]


def _message(elements: list[tuple[int, bytes]], data: bytes) -> list[bytes]:
    return [
        pdu(P_DATA, pdv(3, COMMAND | LAST, command(elements))),
        pdu(P_DATA, pdv(3, LAST, data)),
    ]


WITHIN: tuple[Callable[[Random, str, bytes], list[bytes]], ...] = (
    noise_within,
    wrong_pdu,
    wrong_data_length,
    wrong_fragment_length,
    wrong_context,
    wrong_control,
    data_without_command,
    command_without_data,
    mixed_contexts,
    mixed_commands,
    missing_element,
    doubled_element,
    large_element,
    odd_values,
    other_command,
    other_class,
    flipped_command,
    other_groups,
    flipped_store,
    cut_off_store,
    abort_half_way,
    release_half_way,
    releases_that_cross,
    release_of_any_length,
    echoes_without_end,
    empty_pdus,
    crumbs,
)


def hold(conversation: Conversation, port: int, *, listen_seconds: float = 0.1) -> None:
    """Send every step without waiting for answers, listen for a moment and close.

    A node that has as many associations as it may have is asked again, as a sender would.
    """
    while True:
        with RawPeer(port) as peer, contextlib.suppress(OSError):
            if conversation.associated and not is_accepted(peer):
                time.sleep(AGAIN_SECONDS)
                continue
            _send_steps(conversation, peer, listen_seconds)
        return


def is_accepted(peer: RawPeer) -> bool:
    """Return True if a proper request is accepted; any rejection must be transient."""
    peer.send(pdu(ASSOCIATE_RQ, associate_rq()))
    kind, body = peer.next()
    assert kind == ASSOCIATE_AC or (kind, body[1]) == (ASSOCIATE_RJ, TRANSIENT), (kind, body)
    return kind == ASSOCIATE_AC


def _send_steps(conversation: Conversation, peer: RawPeer, listen_seconds: float) -> None:
    for part in conversation.sent:
        peer.send(part)
    peer.socket.shutdown(socket.SHUT_WR)
    peer.socket.settimeout(listen_seconds)
    with contextlib.suppress(TimeoutError):
        peer.seconds_until_closed()
