"""The ends of messages are neither held back nor acknowledged late, on both sides of a node."""

import socket
from dataclasses import dataclass, field
from typing import Any, cast

import pytest
from pynetdicom.association import Association

from dicom_io.receive.upper_layer import BoundedSocket, ConnectionGoneError
from dicom_io.send.request_response import match_responses

QUICK = getattr(socket, "TCP_QUICKACK", None)
TCP = socket.IPPROTO_TCP

pytestmark = [
    pytest.mark.network,
    pytest.mark.skipif(QUICK is None, reason="only Linux has the option TCP_QUICKACK"),
]


@dataclass
class RecordingSocket:
    """A connection that gives `data` and keeps the calls in their order."""

    data: bytes = b"abcdef"
    calls: list[Any] = field(default_factory=list)

    def settimeout(self, seconds: float) -> None:
        pass

    def setsockopt(self, *option: int) -> None:
        self.calls.append(option)

    def recv_into(self, view: memoryview) -> int:
        self.calls.append("read")
        view[: len(self.data)] = self.data
        return len(self.data)


@dataclass
class Transport:
    """The socket of pynetdicom around a connection."""

    socket: RecordingSocket

    def recv(self, count: int) -> bytes:
        self.socket.calls.append("read")
        return self.socket.data[:count]


@dataclass
class Dul:
    """The upper layer of an association, as far as a transport."""

    socket: Transport


@dataclass
class Opened:
    """An association whose connection is open."""

    dul: Dul
    dimse: Any = None


def bounded(connection: RecordingSocket) -> BoundedSocket:
    made = BoundedSocket.__new__(BoundedSocket)
    made.__dict__.update(_connection=connection)
    return made


def test_the_node_acknowledges_each_read_at_once() -> None:
    connection = RecordingSocket()
    received = bytearray(8)
    assert bounded(connection).read_into(memoryview(received)) == 6
    assert connection.calls == ["read", (TCP, QUICK, 1)]


def test_a_connection_that_ended_has_no_bytes_to_acknowledge() -> None:
    with pytest.raises(ConnectionGoneError):
        bounded(RecordingSocket(b"")).read_into(memoryview(bytearray(8)))


def test_a_sender_holds_nothing_back_and_acknowledges_before_each_read() -> None:
    connection = RecordingSocket()
    association = Opened(Dul(Transport(connection)))
    match_responses(cast(Association, association), "peer", 1.0, 1.0)
    assert connection.calls == [(TCP, socket.TCP_NODELAY, 1)]
    transport: Any = association.dul.socket
    assert transport.recv(3) == b"abc"
    assert connection.calls[1:] == [(TCP, QUICK, 1), "read"]
