"""A peer that sends any bytes, DICOM or not."""

import socket
import struct
import time
from collections.abc import Iterable, Sequence
from types import TracebackType
from typing import Self

HOST = "127.0.0.1"
CR = "1.2.840.10008.5.1.4.1.1.1"
VERIFICATION = "1.2.840.10008.1.1"
EXPLICIT = "1.2.840.10008.1.2.1"
IMPLICIT = "1.2.840.10008.1.2"

ASSOCIATE_RQ, ASSOCIATE_AC, ASSOCIATE_RJ, P_DATA, RELEASE_RQ, RELEASE_RP, ABORT = range(1, 8)
COMMAND, LAST = 1, 2
CLOSED = 0
"""Type that `RawPeer.next` returns at the end of the connection; no PDU has it."""

Element = tuple[int, bytes]
Context = tuple[int, str, Sequence[str]]


def pdu(kind: int, body: bytes, length: int | None = None) -> bytes:
    return struct.pack(">BxI", kind, len(body) if length is None else length) + body


def item(kind: int, body: bytes, length: int | None = None) -> bytes:
    return struct.pack(">BxH", kind, len(body) if length is None else length) + body


def context_item(context: Context) -> bytes:
    number, sop_class, syntaxes = context
    body = struct.pack(">B3x", number) + item(0x30, sop_class.encode())
    return item(0x20, body + b"".join(item(0x40, uid.encode()) for uid in syntaxes))


CONTEXTS: tuple[Context, ...] = ((1, VERIFICATION, [IMPLICIT]), (3, CR, [EXPLICIT]))
USER_INFORMATION = item(
    0x50, item(0x51, struct.pack(">I", 16384)) + item(0x52, b"1.2.3") + item(0x55, b"RAW")
)


def associate_rq(
    *,
    calling: bytes = b"STORESCU",
    called: bytes = b"CXRD",
    contexts: Iterable[Context] = CONTEXTS,
    version: int = 1,
    items: bytes | None = None,
) -> bytes:
    """Return the body of an A-ASSOCIATE-RQ (PS3.8 9.3.2)."""
    fixed = struct.pack(">H2x16s16s32x", version, called.ljust(16), calling.ljust(16))
    if items is None:
        items = item(0x10, b"1.2.840.10008.3.1.1.1")
        items += b"".join(map(context_item, contexts)) + USER_INFORMATION
    return fixed + items


def pdv(context: int, control: int, data: bytes, length: int | None = None) -> bytes:
    return struct.pack(">IBB", len(data) + 2 if length is None else length, context, control) + data


def element(number: int, value: bytes) -> bytes:
    return struct.pack("<HHI", 0, number, len(value)) + value


def uid_value(uid: str) -> bytes:
    return uid.encode() + b"\0" * (len(uid) % 2)


def store_elements(uid: str, sop_class: str = CR) -> list[Element]:
    """Return the command set of a C-STORE-RQ without its group length."""
    return [
        (0x0002, uid_value(sop_class)),
        (0x0100, b"\x01\0"),
        (0x0110, b"\x07\0"),
        (0x0700, b"\0\0"),
        (0x0800, b"\0\0"),
        (0x1000, uid_value(uid)),
    ]


def echo_elements() -> list[Element]:
    return [
        (0x0002, uid_value(VERIFICATION)),
        (0x0100, b"\x30\0"),
        (0x0110, b"\x07\0"),
        (0x0800, b"\x01\x01"),
    ]


def command(elements: Iterable[Element]) -> bytes:
    body = b"".join(element(*one) for one in elements)
    return element(0, struct.pack("<I", len(body))) + body


def status_of(body: bytes) -> int:
    """Return the status of the response in a P-DATA-TF."""
    place = body.index(struct.pack("<HHI", 0, 0x0900, 2))
    return int.from_bytes(body[place + 8 : place + 10], "little")


def accepted_contexts(body: bytes) -> list[int]:
    """Return the numbers of the presentation contexts that an A-ASSOCIATE-AC accepts."""
    accepted, offset = [], 68
    while offset < len(body):
        kind, length = struct.unpack_from(">BxH", body, offset)
        if kind == 0x21 and body[offset + 6] == 0:
            accepted.append(body[offset + 4])
        offset += 4 + length
    return accepted


class RawPeer:
    """One connection; a context manager."""

    def __init__(self, port: int, seconds: float = 10.0) -> None:
        self.socket = socket.create_connection((HOST, port), timeout=seconds)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.socket.close()

    def send(self, data: bytes) -> None:
        self.socket.sendall(data)

    def associate(self, body: bytes | None = None) -> Self:
        self.send(pdu(ASSOCIATE_RQ, associate_rq() if body is None else body))
        kind, _ = self.next()
        assert kind == ASSOCIATE_AC, kind
        return self

    def next(self) -> tuple[int, bytes]:
        """Return type and body of the next PDU."""
        header = self._read(6)
        if len(header) < 6:
            return CLOSED, b""
        kind, length = struct.unpack(">BxI", header)
        return int(kind), self._read(length)

    def store(self, uid: str, data_set: bytes, *, fragment: int = 1 << 20) -> int:
        """Send an object and return the status of the answer."""
        self.begin_store(uid)
        for start in range(0, len(data_set), fragment):
            part = data_set[start : start + fragment]
            last = LAST if start + fragment >= len(data_set) else 0
            self.send(pdu(P_DATA, pdv(3, last, part)))
        kind, body = self.next()
        assert kind == P_DATA, kind
        return status_of(body)

    def begin_store(self, uid: str) -> None:
        self.send(pdu(P_DATA, pdv(3, COMMAND | LAST, command(store_elements(uid)))))

    def echo(self) -> int:
        self.send(pdu(P_DATA, pdv(1, COMMAND | LAST, command(echo_elements()))))
        kind, body = self.next()
        assert kind == P_DATA, kind
        return status_of(body)

    def seconds_until_closed(self) -> float:
        """Read until the other side closes and return the seconds until then."""
        started = time.monotonic()
        while self.next()[0] != CLOSED:
            continue
        return time.monotonic() - started

    def _read(self, count: int) -> bytes:
        found = b""
        while len(found) < count:
            try:
                more = self.socket.recv(count - len(found))
            except ConnectionError:
                break
            if not more:
                break
            found += more
        return found
