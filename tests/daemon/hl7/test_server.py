"""The server against raw sockets: many, slow, endless, malformed and strange callers."""

import contextlib
import socket
import ssl
import threading
import time
from collections.abc import Iterator

import pytest

from daemon.hl7.server import Answer, MllpCaller, MllpLimits, MllpServer, Refused
from dicom_io.errors import PortInUseError
from dicom_io.peer.tls import ClientCertificate, client_context, examine, server_context
from tests.builders.certificates import Authority
from tests.servers.plain.scripted_mllp import framed
from tests.tools.ports import HOST, free_port
from tests.tools.waiting import wait_until

pytestmark = pytest.mark.network

LIMITS = MllpLimits(
    max_connections=4, max_message_bytes=64 * 1024, idle_seconds=5.0, message_seconds=5.0
)


class Echo:
    """A handler that answers a message with itself, and admits what a test says."""

    def __init__(self) -> None:
        self.hosts = True
        self.certificates: set[str] | None = None
        self.callers: list[MllpCaller] = []
        self.reasons: list[Refused] = []
        self.changed = threading.Condition()
        self.held = threading.Event()
        self.begun = threading.Event()
        self.held.set()

    def admits_host(self, host: str) -> bool:
        return self.hosts and host == HOST

    def admits(self, caller: MllpCaller) -> bool:
        self.callers.append(caller)
        return self.certificates is None or caller.certificate in self.certificates

    def answer(self, message: bytes, caller: MllpCaller) -> Answer:
        self.begun.set()
        assert self.held.wait(20)
        if message == b"nothing":
            return Answer(None)
        return Answer(None, closes=True) if message == b"close" else Answer(message)

    def refused(self, reason: Refused, host: str) -> None:
        assert host == HOST
        with self.changed:
            self.reasons.append(reason)
            self.changed.notify_all()

    def wait_for(self, *reasons: Refused) -> None:
        with self.changed:
            assert self.changed.wait_for(lambda: self.reasons == list(reasons), 10), self.reasons


@contextlib.contextmanager
def serving(
    handler: Echo, limits: MllpLimits = LIMITS, tls: ssl.SSLContext | None = None
) -> Iterator[int]:
    port = free_port()
    server = MllpServer(HOST, port, handler, limits, tls=tls)
    server.start()
    try:
        yield port
    finally:
        server.stop()


def limits(**changes: float) -> MllpLimits:
    values = {name: getattr(LIMITS, name) for name in MllpLimits.__slots__}
    return MllpLimits(**(values | changes))


def call(port: int) -> socket.socket:
    return socket.create_connection((HOST, port), 10)


def answers(connection: socket.socket, number: int = 1) -> list[bytes]:
    """Read so many blocks."""
    data = b""
    while data.count(b"\x1c\r") < number:
        more = connection.recv(65536)
        assert more, f"closed after {data!r}"
        data += more
    return [part.removeprefix(b"\x0b") for part in data.split(b"\x1c\r")[:-1]]


def is_closed(connection: socket.socket) -> bool:
    try:
        return connection.recv(1) == b""
    except ConnectionResetError:
        return True


def test_messages_of_one_connection_are_answered_in_their_order() -> None:
    with serving(Echo()) as port, call(port) as connection:
        connection.sendall(framed(b"one") + b"\r\n" + framed(b"nothing") + framed(b"two"))
        assert answers(connection, 2) == [b"one", b"two"]
        for byte in framed(b"three"):
            connection.sendall(bytes([byte]))
        assert answers(connection) == [b"three"]


def test_a_message_that_cannot_be_kept_closes_the_connection_without_an_answer() -> None:
    with serving(Echo()) as port, call(port) as connection:
        connection.sendall(framed(b"close") + framed(b"after"))
        assert is_closed(connection)


def test_a_host_that_is_not_listed_is_closed_before_it_says_anything() -> None:
    handler = Echo()
    handler.hosts = False
    with serving(handler) as port, call(port) as connection:
        assert is_closed(connection)
        handler.wait_for(Refused.NOT_LISTED)
        assert handler.callers == []


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b"GET / HTTP/1.1\r\n\r\n", Refused.NO_BLOCK),
        (framed(b"one") + b"junk", Refused.NO_BLOCK),
        (b"\x0b" + b"A" * (64 * 1024 + 2), Refused.TOO_LARGE),
    ],
)
def test_what_is_no_message_closes_the_connection(data: bytes, reason: Refused) -> None:
    handler = Echo()
    with serving(handler) as port, call(port) as connection:
        connection.sendall(data)
        handler.wait_for(reason)
        with contextlib.suppress(ConnectionResetError):
            while connection.recv(65536):
                pass


def test_the_largest_message_is_answered() -> None:
    with serving(Echo()) as port, call(port) as connection:
        connection.sendall(framed(b"A" * 64 * 1024))
        assert answers(connection) == [b"A" * 64 * 1024]


def test_a_message_that_drips_in_is_given_up() -> None:
    handler = Echo()
    with serving(handler, limits(message_seconds=0.3)) as port, call(port) as connection:
        begun = time.monotonic()
        connection.sendall(b"\x0b")
        with contextlib.suppress(OSError):
            while not handler.reasons and time.monotonic() < begun + 10:
                connection.sendall(b"A")
                time.sleep(0.02)
        handler.wait_for(Refused.TOO_SLOW)


def test_a_silent_connection_is_closed_and_frees_its_place() -> None:
    handler = Echo()
    few = limits(max_connections=1, idle_seconds=0.2)
    with serving(handler, few) as port, call(port) as silent:
        assert is_closed(silent)

        def answered() -> bool:
            with call(port) as connection:
                connection.sendall(framed(b"one"))
                return connection.recv(100) == framed(b"one")

        wait_until(answered)
        assert Refused.TOO_SLOW not in handler.reasons


def test_more_connections_than_allowed_are_closed_and_the_others_served() -> None:
    handler = Echo()
    with serving(handler, limits(max_connections=1)) as port, call(port) as first:
        first.sendall(framed(b"one"))
        assert answers(first) == [b"one"]
        with call(port) as second:
            assert is_closed(second)
        handler.wait_for(Refused.TOO_MANY)
        first.sendall(framed(b"two"))
        assert answers(first) == [b"two"]


def test_a_caller_that_takes_no_answer_is_given_up() -> None:
    few = limits(max_connections=1, message_seconds=0.3, max_message_bytes=16 * 2**20)
    with serving(Echo(), few) as port, call(port) as connection:
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        connection.sendall(framed(b"A" * 15 * 2**20))

        def answered() -> bool:
            with call(port) as other, contextlib.suppress(OSError):
                other.sendall(framed(b"one"))
                return other.recv(100) == framed(b"one")
            return False

        wait_until(answered)


def test_a_stop_answers_the_message_in_work_and_ends_idle_connections() -> None:
    handler = Echo()
    handler.held.clear()
    port = free_port()
    server = MllpServer(HOST, port, handler, LIMITS)
    server.start()
    with call(port) as idle, call(port) as busy:
        busy.sendall(framed(b"one"))
        assert handler.begun.wait(10)
        stopping = threading.Thread(target=server.stop)
        stopping.start()
        assert is_closed(idle)
        handler.held.set()
        assert answers(busy) == [b"one"]
        stopping.join(10)
        assert is_closed(busy)
    with pytest.raises(OSError, match="refused"):
        call(port)


def test_a_port_in_use_is_named_with_its_key() -> None:
    with serving(Echo()) as port, pytest.raises(PortInUseError, match=r"in use.*set hl7\.port"):
        MllpServer(HOST, port, Echo(), LIMITS).start()


def test_an_address_of_another_machine_is_named_with_its_key() -> None:
    with pytest.raises(PortInUseError, match=r"check hl7\.host"):
        MllpServer("192.0.2.1", free_port(), Echo(), LIMITS).start()


def tls_context(pki: Authority) -> ssl.SSLContext:
    return server_context(pki.of("cxrd"), ca=pki.ca, client_certificate=ClientCertificate.REQUIRED)


def test_tls_shows_the_certificate_of_the_caller(pki: Authority) -> None:
    handler = Echo()
    handler.certificates = {examine(pki.of("pacs")).sha256}
    with serving(handler, tls=tls_context(pki)) as port:
        context = client_context(pki.ca, pki.of("pacs"))
        with call(port) as plain, context.wrap_socket(plain, server_hostname=HOST) as connection:
            connection.sendall(framed(b"one"))
            assert answers(connection) == [b"one"]
        assert handler.callers == [MllpCaller(HOST, True, *handler.certificates)]
        other = client_context(pki.ca, pki.of("modality"))
        with call(port) as plain, other.wrap_socket(plain, server_hostname=HOST) as connection:
            assert is_closed(connection)
        handler.wait_for(Refused.CERTIFICATE)


def test_a_plain_or_unknown_caller_of_a_tls_port_is_refused(
    pki: Authority, strangers: Authority
) -> None:
    handler = Echo()
    with serving(handler, tls=tls_context(pki)) as port:
        with call(port) as plain:
            plain.sendall(framed(b"one"))
            assert is_closed(plain)
        handler.wait_for(Refused.TLS_HANDSHAKE)
        context = client_context(pki.ca, strangers.of("pacs"))
        with (
            call(port) as plain,
            contextlib.suppress(OSError),
            context.wrap_socket(plain, server_hostname=HOST) as connection,
        ):
            connection.recv(1)
        handler.wait_for(Refused.TLS_HANDSHAKE, Refused.TLS_HANDSHAKE)
        assert handler.callers == []


def test_a_stop_ends_a_handshake_that_does_not_begin(pki: Authority) -> None:
    server = MllpServer(HOST, port := free_port(), Echo(), LIMITS, tls=tls_context(pki))
    server.start()
    with call(port) as silent:
        begun = time.monotonic()
        server.stop()
        assert time.monotonic() - begun < 4
        assert is_closed(silent)
