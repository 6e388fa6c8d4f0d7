"""The client against servers of raw sockets: bad, slow, partial and endless answers."""

import socket
import threading
import time

import pytest

from daemon.errors import MllpError
from daemon.hl7.client import MAX_ANSWER_BYTES, MllpClient
from dicom_io.peer.tls import ClientCertificate, client_context, server_context
from tests.builders.certificates import Authority
from tests.servers.plain.scripted_mllp import (
    Act,
    ScriptedMllp,
    acknowledge,
    close,
    framed,
    send,
    silence,
)
from tests.tools.ports import HOST, free_port

pytestmark = pytest.mark.network

MESSAGE = b"MSH|^~\\&|CXRD||RIS||||ORU^R01|C1|P|2.5.1\r"


def nothing() -> None:
    """No lease to renew."""


def client(server: ScriptedMllp, seconds: float = 5.0) -> MllpClient:
    return MllpClient(HOST, server.port, seconds=seconds)


def test_one_connection_serves_many_messages() -> None:
    with ScriptedMllp(acknowledge()) as server, client(server) as connection:
        for _ in range(3):
            assert connection.is_open
            assert b"MSA|AA|C1" in connection.exchange(MESSAGE, nothing)
        assert server.received == [MESSAGE] * 3
        assert server.connections == 1


@pytest.mark.parametrize(
    ("act", "problem"),
    [
        (close, "closed the connection without an acknowledgement"),
        (send(b"HTTP/1.1 400 Bad Request\r\n\r\n"), "bytes outside an MLLP block"),
        (send(b"\x0b" + b"A" * (MAX_ANSWER_BYTES + 2)), "a message of more than 64 KiB"),
        (silence, "no acknowledgement within 0 s"),
        (send(b"\x0bMSH|^~\\&|RIS"), "no acknowledgement within 0 s"),
    ],
)
def test_a_bad_answer_is_an_error_and_closes_the_connection(act: Act, problem: str) -> None:
    with (
        ScriptedMllp(act) as server,
        client(server, 0.3) as connection,
    ):
        with pytest.raises(MllpError, match=problem) as caught:
            connection.exchange(MESSAGE, nothing)
        assert caught.value.retryable
        assert not connection.is_open


def test_an_answer_in_pieces_is_read() -> None:
    answer = framed(b"MSH|^~\\&|RIS\rMSA|AA|C1\r")

    def in_pieces(connection: socket.socket, _: bytes) -> None:
        for byte in answer:
            connection.sendall(bytes([byte]))

    with ScriptedMllp(in_pieces) as server, client(server) as connection:
        assert connection.exchange(MESSAGE, nothing) == answer[1:-2]


def test_an_endless_answer_ends_in_time() -> None:
    def drip(connection: socket.socket, _: bytes) -> None:
        connection.sendall(b"\x0b")
        while not server.released.wait(0.01):
            connection.sendall(b"A")

    with ScriptedMllp(drip) as server, client(server, 0.5) as connection:
        begun = time.monotonic()
        with pytest.raises(MllpError, match="no acknowledgement"):
            connection.exchange(MESSAGE, nothing)
        assert time.monotonic() - begun < 3


def test_a_server_that_reads_nothing_is_given_up() -> None:
    listening = socket.create_server((HOST, 0))
    with listening:
        port = listening.getsockname()[1]
        with MllpClient(HOST, port, seconds=0.5) as connection:
            with pytest.raises(MllpError, match="does not read the message within"):
                connection.exchange(b"A" * 32 * 2**20, nothing)
            assert not connection.is_open


def test_progress_is_called_while_the_answer_is_waited_for() -> None:
    calls = threading.Semaphore(0)

    def after_two_calls(connection: socket.socket, message: bytes) -> None:
        assert calls.acquire(timeout=10)
        assert calls.acquire(timeout=10)
        acknowledge()(connection, message)

    with ScriptedMllp(after_two_calls) as server, client(server, 20) as connection:
        assert b"MSA|AA" in connection.exchange(MESSAGE, calls.release)


@pytest.mark.parametrize("last", [close, send(b"unasked")])
def test_a_connection_that_the_server_closed_or_spoke_on_is_not_open(last: Act) -> None:
    done = threading.Event()

    def finish(connection: socket.socket, message: bytes) -> None:
        acknowledge()(connection, message)
        last(connection, message)
        done.set()

    with ScriptedMllp(finish) as server, client(server) as connection:
        connection.exchange(MESSAGE, nothing)
        assert done.wait(10)
        assert not connection.is_open
    with pytest.raises(MllpError, match="no longer open"):
        connection.exchange(MESSAGE, nothing)


def test_a_port_without_a_server_is_an_error() -> None:
    with (
        pytest.raises(MllpError, match="connection failed"),
        MllpClient(HOST, free_port(), seconds=2),
    ):
        pass


def test_tls_with_certificates_of_both_sides(pki: Authority) -> None:
    server_tls = server_context(
        pki.of("pacs"), ca=pki.ca, client_certificate=ClientCertificate.REQUIRED
    )
    own = client_context(pki.ca, pki.of("cxrd"))
    with (
        ScriptedMllp(acknowledge(), tls=server_tls) as server,
        MllpClient(HOST, server.port, own, seconds=5) as connection,
    ):
        for _ in range(2):
            assert connection.is_open
            assert b"MSA|AA|C1" in connection.exchange(MESSAGE, nothing)
        assert server.connections == 1


def test_a_tls_server_of_another_ca_and_a_plain_server_are_named(pki: Authority) -> None:
    own = client_context(None, None)
    with (
        ScriptedMllp(acknowledge(), tls=server_context(pki.of("pacs"))) as server,
        pytest.raises(MllpError, match="its CA is not known here"),
        MllpClient(HOST, server.port, own, seconds=5),
    ):
        pass
    with (
        ScriptedMllp(silence) as server,
        pytest.raises(MllpError, match="no answer to the TLS handshake"),
        MllpClient(HOST, server.port, own, seconds=0.3),
    ):
        pass
