"""Limits on the memory, connections and time that a peer can take of a node."""

import contextlib
import socket
import ssl
import subprocess
import threading
import time
from collections.abc import Callable, Iterable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from dicom_io.peer.peers import Caller, Peer
from dicom_io.peer.tls_handshake import Handshakes, TlsFault
from dicom_io.receive.events import Rejection, RejectReason
from dicom_io.receive.limits import (
    MAX_REQUEST_BYTES,
    AbortReason,
    LimitError,
    Limits,
    MemoryBudget,
    ReceivedData,
    StallTimer,
)
from dicom_io.receive.server import BoundedEntity, Capacity
from dicom_io.receive.store_request import StoreStatus
from tests.builders.images.films import ROOT, chest_film, data_set_bytes, file_bytes
from tests.servers.dicom import raw_peer
from tests.servers.dicom.raw_peer import (
    ABORT,
    ASSOCIATE_RQ,
    COMMAND,
    HOST,
    LAST,
    P_DATA,
    USER_INFORMATION,
    RawPeer,
    associate_rq,
    command,
    echo_elements,
    item,
    pdu,
    pdv,
    store_elements,
)
from tests.servers.dicom.storage_node import Inbox, running_node
from tests.servers.watching import threads_of_connections
from tests.tools.installed import require_tool
from tests.tools.waiting import wait_until

pytestmark = pytest.mark.network

FILM = data_set_bytes(file_bytes(chest_film()))
UID = f"{ROOT}.1.1.1"
SMALL = Limits(max_instance_bytes=len(FILM), max_receiving_bytes=len(FILM) + (1 << 20))
QUICK = Limits(request_seconds=0.6, stall_seconds=0.6, idle_seconds=0.8)


def reasons(inbox: Inbox) -> list[Any]:
    return [rejection.reason for rejection in inbox.rejections]


def test_an_object_that_is_too_large_is_refused_and_the_next_object_received() -> None:
    inbox = Inbox()
    with running_node(inbox, limits=SMALL) as node, RawPeer(node.port) as peer:
        peer.associate()
        assert peer.store(UID, FILM + b"\0" * 2) == StoreStatus.OUT_OF_RESOURCES
        assert peer.store(UID, FILM) == StoreStatus.SUCCESS
        assert peer.store(UID, FILM + b"\0" * len(FILM), fragment=4096) == 0xA700
        assert peer.store(UID, FILM) == StoreStatus.SUCCESS
    assert len(inbox.instances) == 2
    assert [(refused.comment, refused.sop_instance_uid) for refused in inbox.refusals] == [
        (AbortReason.TOO_LARGE, UID)
    ] * 2


def test_an_object_without_end_ends_the_association() -> None:
    inbox = Inbox()
    with running_node(inbox, limits=SMALL) as node, RawPeer(node.port) as peer:
        peer.associate().begin_store(UID)
        # A sender that is delayed for a moment may find the connection closed.
        with contextlib.suppress(ConnectionError):
            for _ in range(10):
                peer.send(pdu(P_DATA, pdv(3, 0, FILM)))
        assert peer.next()[0] == ABORT
        assert peer.seconds_until_closed() < 5
    assert reasons(inbox) == [AbortReason.TOO_LARGE]


def test_a_peer_that_is_still_sending_receives_the_abort() -> None:
    inbox = Inbox()
    with running_node(inbox, limits=SMALL) as node, RawPeer(node.port) as peer:
        peer.associate().send(pdu(P_DATA, pdv(3, 0, b"")))
        for _ in range(20):
            peer.send(bytes(1 << 20))
            time.sleep(0.01)
        assert peer.next()[0] == ABORT
        started = time.monotonic()
        assert peer.next()[0] == raw_peer.CLOSED
        assert time.monotonic() - started < 5
    assert reasons(inbox) == [AbortReason.MALFORMED]


@pytest.mark.parametrize(
    "declared",
    [
        pdu(P_DATA, pdv(3, 0, b""), length=0xFFFFFFFF),
        pdu(P_DATA, pdv(3, COMMAND, b"", length=1 << 20), length=2 << 20),
        pdu(raw_peer.RELEASE_RQ, b"", length=1 << 30),
    ],
)
def test_a_declared_length_that_is_too_large_ends_the_association_at_once(declared: bytes) -> None:
    inbox = Inbox()
    with running_node(inbox, limits=SMALL) as node, RawPeer(node.port) as peer:
        peer.associate().send(declared)
        assert peer.next()[0] == ABORT
        assert peer.seconds_until_closed() < 5
    assert reasons(inbox) == [AbortReason.TOO_LARGE]


def test_a_request_that_is_too_large_is_not_read() -> None:
    inbox = Inbox()
    with running_node(inbox) as node, RawPeer(node.port) as peer:
        peer.send(pdu(ASSOCIATE_RQ, associate_rq()[:40], length=0xFFFFFFFF))
        assert peer.next()[0] == ABORT
    assert reasons(inbox) == [AbortReason.TOO_LARGE]


def test_a_request_that_is_cut_off_is_malformed() -> None:
    inbox = Inbox()
    with running_node(inbox) as node, RawPeer(node.port) as peer:
        peer.send(pdu(ASSOCIATE_RQ, associate_rq()[:32]))
        assert peer.next()[0] == ABORT
    assert inbox.rejections == [
        Rejection(AbortReason.MALFORMED, "", "", HOST, "A-ASSOCIATE-RQ, it has fewer than 68 bytes")
    ]


@pytest.mark.slow
def test_no_ae_title_of_a_request_that_is_not_dicom_is_reported() -> None:
    inbox = Inbox()
    request = pdu(ASSOCIATE_RQ, associate_rq(items=USER_INFORMATION))
    with running_node(inbox) as node:
        for _ in range(30):
            with RawPeer(node.port) as peer:
                # The bytes after the request may end the association before the request is checked.
                peer.send(request + b"more, which is nothing" * 4)
                peer.seconds_until_closed()
    assert len(inbox.rejections) >= 30
    titles = {(found.calling_ae_title, found.called_ae_title) for found in inbox.rejections}
    assert titles == {("", "")}


def test_messages_are_read_only_as_fast_as_they_are_answered() -> None:
    release, inside = threading.Event(), threading.Semaphore(0)

    def slowly(_: object) -> StoreStatus:
        inside.release()
        release.wait(20)
        return StoreStatus.SUCCESS

    with running_node(Inbox(), on_store=slowly) as node, RawPeer(node.port) as peer:
        peer.associate()
        message = pdu(P_DATA, pdv(3, COMMAND | LAST, command(store_elements(UID))))
        message += pdu(P_DATA, pdv(3, LAST, FILM))
        sender = threading.Thread(target=lambda: peer.send(message * 40), daemon=True)
        sender.start()
        assert inside.acquire(timeout=10)
        time.sleep(0.5)
        (association,) = [thread for thread in threads_of_connections() if hasattr(thread, "dimse")]
        assert association.dimse.msg_queue.qsize() <= 4
        release.set()
        for _ in range(40):
            assert raw_peer.status_of(peer.next()[1]) == StoreStatus.SUCCESS
        sender.join(10)


def http(peer: RawPeer) -> None:
    peer.send(b"GET / HTTP/1.1\r\nHost: pacs\r\n\r\n")


def tls_hello(peer: RawPeer) -> None:
    peer.send(bytes.fromhex("16030100f8010000f40303") + bytes(237))


def garbage(peer: RawPeer) -> None:
    peer.send(bytes(range(255, 0, -1)) * 20)


def silence(_: RawPeer) -> None:
    """Send no byte."""


def half_a_request(peer: RawPeer) -> None:
    peer.send(pdu(ASSOCIATE_RQ, associate_rq())[:50])


def half_a_header(peer: RawPeer) -> None:
    peer.send(b"\x01\0\0")


def data_before_association(peer: RawPeer) -> None:
    peer.send(pdu(P_DATA, pdv(1, COMMAND | LAST, command(echo_elements()))))


@pytest.mark.parametrize(
    ("probe", "reason"),
    [
        (http, AbortReason.NOT_DICOM),
        (tls_hello, AbortReason.NOT_DICOM),
        (garbage, AbortReason.NOT_DICOM),
        (data_before_association, AbortReason.NOT_DICOM),
        (silence, AbortReason.NO_REQUEST),
        (half_a_request, AbortReason.TOO_SLOW),
        (half_a_header, AbortReason.TOO_SLOW),
    ],
)
def test_a_connection_without_a_request_ends_in_time(
    probe: Callable[[RawPeer], None], reason: AbortReason
) -> None:
    inbox = Inbox()
    with running_node(inbox, limits=QUICK) as node, RawPeer(node.port) as peer:
        probe(peer)
        assert peer.seconds_until_closed() < 5
        wait_until(lambda: not threads_of_connections(), seconds=5)
        wait_until(lambda: reasons(inbox) == [reason], seconds=5)
    (rejection,) = inbox.rejections
    assert replace(rejection, detail="") == Rejection(reason, "", "", HOST)


def test_a_port_probe_leaves_no_thread_and_is_not_reported() -> None:
    inbox = Inbox()
    with running_node(inbox) as node:
        for _ in range(20):
            RawPeer(node.port).socket.close()
        wait_until(lambda: not threads_of_connections(), seconds=5)
    assert inbox.rejections == []


def dribble(peer: RawPeer, pieces: Iterable[bytes]) -> float:
    """Send piece by piece, slowly; return the seconds until sending failed."""
    started = time.monotonic()
    try:
        for piece in pieces:
            peer.send(piece)
            time.sleep(0.05)
    except ConnectionError:
        return time.monotonic() - started
    raise AssertionError("everything could be sent")


def bytewise(data: bytes) -> list[bytes]:
    return [bytes([byte]) for byte in data]


def test_a_request_byte_by_byte_ends_in_time() -> None:
    inbox = Inbox()
    with running_node(inbox, limits=QUICK) as node, RawPeer(node.port) as peer:
        assert dribble(peer, bytewise(pdu(ASSOCIATE_RQ, associate_rq()))) < 5
    assert reasons(inbox) == [AbortReason.TOO_SLOW]


def test_an_object_byte_by_byte_ends_in_time() -> None:
    inbox = Inbox()
    with running_node(inbox, limits=QUICK) as node, RawPeer(node.port) as peer:
        peer.associate().begin_store(UID)
        assert dribble(peer, bytewise(pdu(P_DATA, pdv(3, LAST, FILM)))) < 5
        wait_until(lambda: not threads_of_connections(), seconds=5)
    assert reasons(inbox) == [AbortReason.TOO_SLOW]


def test_an_object_in_small_pdus_ends_in_time() -> None:
    inbox = Inbox()
    with running_node(inbox, limits=QUICK) as node, RawPeer(node.port) as peer:
        peer.associate().begin_store(UID)
        assert dribble(peer, [pdu(P_DATA, pdv(3, 0, b"\0\0"))] * 100) < 5
    assert reasons(inbox) == [AbortReason.TOO_SLOW]


def test_an_object_that_stops_half_way_ends_in_time() -> None:
    inbox = Inbox()
    with running_node(inbox, limits=QUICK) as node, RawPeer(node.port) as peer:
        peer.associate().begin_store(UID)
        assert peer.next()[0] == ABORT
        assert peer.seconds_until_closed() < 5
    assert reasons(inbox) == [AbortReason.TOO_SLOW]


def test_an_idle_association_is_aborted() -> None:
    inbox = Inbox()
    with running_node(inbox, limits=QUICK) as node, RawPeer(node.port) as peer:
        peer.associate()
        time.sleep(QUICK.idle_seconds / 2)
        assert peer.echo() == 0
        started = time.monotonic()
        assert peer.next()[0] == ABORT
        assert QUICK.idle_seconds * 0.9 < time.monotonic() - started < 5
    assert inbox.rejections == [Rejection(AbortReason.IDLE, "STORESCU", "CXRD", HOST)]


def test_a_slow_callback_does_not_count_as_a_slow_peer() -> None:
    def slowly(_: object) -> StoreStatus:
        time.sleep(QUICK.idle_seconds * 2)
        return StoreStatus.SUCCESS

    inbox = Inbox()
    with running_node(inbox, limits=QUICK, on_store=slowly) as node, RawPeer(node.port) as peer:
        assert peer.associate().store(UID, FILM) == StoreStatus.SUCCESS
        assert peer.echo() == 0
    assert inbox.rejections == []


def test_connections_without_an_association_are_limited_per_host() -> None:
    inbox = Inbox()
    few = Limits(max_waiting=8, max_waiting_per_host=3, request_seconds=30.0)
    with running_node(inbox, limits=few) as node:
        held = [RawPeer(node.port) for _ in range(3)]
        wait_until(lambda: len(threads_of_connections()) == 6, seconds=5)
        with RawPeer(node.port) as refused:
            assert refused.seconds_until_closed() < 5
        assert reasons(inbox) == [AbortReason.TOO_MANY_CONNECTIONS]
        held[0].associate()
        with RawPeer(node.port) as peer:
            assert peer.associate().echo() == 0
        for waiting in held:
            waiting.socket.close()
        wait_until(lambda: not threads_of_connections(), seconds=5)
        with RawPeer(node.port) as peer:
            assert peer.associate().echo() == 0


def test_a_peer_that_vanished_is_noticed() -> None:
    repair = 19
    inbox = Inbox()
    with running_node(inbox, limits=Limits(keepalive_seconds=1)) as node:
        peer = RawPeer(node.port).associate()
        try:
            peer.socket.setsockopt(socket.IPPROTO_TCP, repair, 1)
        except OSError as error:
            peer.socket.close()
            pytest.skip(f"a connection cannot be made to vanish without CAP_NET_ADMIN: {error}")
        # In repair mode a close sends no packet, as when a machine loses its power.
        peer.socket.close()
        wait_until(lambda: not threads_of_connections(), seconds=8)


def test_a_store_of_a_class_outside_storage_is_refused() -> None:
    inbox = Inbox()
    with running_node(inbox) as node, RawPeer(node.port) as peer:
        peer.associate()
        message = command(store_elements(UID, raw_peer.VERIFICATION))
        peer.send(pdu(P_DATA, pdv(1, COMMAND | LAST, message) + pdv(1, LAST, FILM)))
        kind, body = peer.next()
        assert (kind, raw_peer.status_of(body)) == (P_DATA, StoreStatus.CANNOT_UNDERSTAND)
        assert peer.store(UID, FILM) == StoreStatus.SUCCESS
    assert [found.sop_instance_uid for found in inbox.instances] == [UID]
    (refusal,) = inbox.refusals
    assert refusal.comment == "SOP Class UID (0000,0002) is not a storage class"
    assert inbox.rejections == []


def stranger_is_rejected(port: int) -> bool:
    with RawPeer(port) as stranger, contextlib.suppress(ConnectionError):
        stranger.send(pdu(ASSOCIATE_RQ, associate_rq(calling=b"STRANGER")))
        return stranger.next()[0] == raw_peer.ASSOCIATE_RJ and stranger.seconds_until_closed() < 5
    return False


def test_a_node_still_answers_after_its_rejection_handler_failed(
    caplog: pytest.LogCaptureFixture,
) -> None:
    def fail(_: Rejection) -> None:
        raise RuntimeError("the disk is full")

    few = Limits(max_waiting_per_host=1)
    with running_node(Inbox(), on_rejected=fail, limits=few) as node:
        with RawPeer(node.port), RawPeer(node.port) as refused:
            assert refused.seconds_until_closed() < 5
        # While the first connection waits, the limit for its host is reached.
        wait_until(lambda: stranger_is_rejected(node.port), seconds=5)
        wait_until(lambda: not threads_of_connections(), seconds=5)
        with RawPeer(node.port) as peer:
            assert peer.associate().echo() == 0
    assert "rejection handler failed" in caplog.text


class BrokenPeer(Peer):
    """A peer that cannot be compared with a caller."""

    def matches(self, caller: Caller) -> bool:
        raise RuntimeError("broken")


class SlowPeer(Peer):
    """A peer whose host takes a while to look up."""

    def matches(self, caller: Caller) -> bool:
        time.sleep(0.2)
        return Peer.matches(self, caller)


def test_a_request_that_cannot_be_checked_is_not_accepted() -> None:
    inbox = Inbox()
    with (
        running_node(inbox, peers=[BrokenPeer("STORESCU")]) as node,
        RawPeer(node.port) as peer,
    ):
        peer.send(pdu(ASSOCIATE_RQ, associate_rq()))
        assert peer.next()[0] == ABORT
        assert peer.seconds_until_closed() < 5


@pytest.mark.parametrize("reject", [True, False])
def test_stopping_just_after_a_request_raises_in_no_thread(reject: bool) -> None:
    """Ending an association twice must not raise in a thread, which would fail the test."""
    for _ in range(5):
        with running_node(Inbox(), peers=[] if reject else [Peer("STORESCU")]) as node:
            peers = [RawPeer(node.port) for _ in range(4)]
            for peer in peers:
                peer.send(pdu(ASSOCIATE_RQ, associate_rq()))
        for peer in peers:
            peer.socket.close()
        wait_until(lambda: not threads_of_connections(), seconds=5)


def test_a_silent_tls_client_does_not_block_the_next(tmp_path: Path) -> None:
    key, certificate = tmp_path / "key.pem", tmp_path / "certificate.pem"
    make = [require_tool("openssl"), "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2"]
    make += ["-subj", "/CN=cxrd", "-keyout", str(key), "-out", str(certificate)]
    subprocess.run(make, check=True, capture_output=True)
    ours = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    ours.load_cert_chain(certificate, key)
    theirs = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    theirs.load_verify_locations(certificate)
    theirs.check_hostname = False
    seen: list[AbortReason | TlsFault] = []
    entity = BoundedEntity(
        "CXRD", QUICK, Capacity(QUICK, 1), lambda reason, *_: seen.append(reason)
    )
    entity.add_supported_context(raw_peer.VERIFICATION)
    server = entity.start_server((HOST, 0), block=False, ssl_context=ours)
    assert server is not None
    port = int(server.server_address[1])
    try:
        with RawPeer(port) as silent, RawPeer(port) as rude:
            http(rude)
            with RawPeer(port) as peer:
                peer.socket = theirs.wrap_socket(peer.socket, server_hostname=HOST)
                assert peer.associate().echo() == 0
            assert silent.seconds_until_closed() < 5
        wait_until(lambda: seen == [TlsFault.PLAIN_CONNECTION, TlsFault.TLS_HANDSHAKE], seconds=5)
        wait_until(lambda: not threads_of_connections(), seconds=5)
    finally:
        server.shutdown()


def test_a_tls_handshake_has_one_timeout_for_all_its_bytes() -> None:
    here, there = socket.socketpair()
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    client = context.wrap_socket(here, server_side=True, do_handshake_on_connect=False)
    faults: list[TlsFault] = []
    with client, there:
        late = threading.Timer(1.5, there.sendall, (b"\x16",))
        late.start()
        started = time.monotonic()
        assert not Handshakes(2.0, lambda _, fault: faults.append(fault)).perform(client, HOST)
        assert time.monotonic() - started < 3
        late.join()
    assert faults == [TlsFault.TLS_HANDSHAKE]


def test_a_full_node_rejects_with_its_own_reason() -> None:
    inbox = Inbox()
    with running_node(inbox, max_associations=1) as node, RawPeer(node.port) as held:
        held.associate()
        with RawPeer(node.port) as peer:
            peer.send(pdu(ASSOCIATE_RQ, associate_rq()))
            assert peer.next() == (raw_peer.ASSOCIATE_RJ, b"\0\x02\x03\x02")
    assert reasons(inbox) == [RejectReason.TOO_MANY]


OTHER_CONTEXT = item(0x10, b"1.2.3") + b"".join(map(raw_peer.context_item, raw_peer.CONTEXTS))


@pytest.mark.parametrize(
    ("request_body", "answer", "reason"),
    [
        (associate_rq(version=2), b"\0\x01\x02\x02", RejectReason.PROTOCOL_VERSION),
        (
            associate_rq(items=OTHER_CONTEXT + raw_peer.USER_INFORMATION),
            b"\0\x01\x01\x02",
            RejectReason.APPLICATION_CONTEXT,
        ),
    ],
)
def test_a_request_for_another_protocol_is_rejected_and_reported(
    request_body: bytes, answer: bytes, reason: RejectReason
) -> None:
    inbox = Inbox()
    with running_node(inbox) as node, RawPeer(node.port) as peer:
        peer.send(pdu(ASSOCIATE_RQ, request_body))
        assert peer.next() == (raw_peer.ASSOCIATE_RJ, answer)
    assert inbox.rejections == [Rejection(reason, "", "", HOST)]


def test_a_peer_with_later_protocol_versions_too_is_accepted() -> None:
    with running_node(Inbox()) as node, RawPeer(node.port) as peer:
        assert peer.associate(associate_rq(version=3)).echo() == 0


def test_simultaneous_requests_do_not_exceed_the_limit_of_associations() -> None:
    """All requests are checked at once, each while the host of its peer is looked up."""
    with running_node(Inbox(), max_associations=2, peers=[SlowPeer("STORESCU")]) as node:
        peers = [RawPeer(node.port) for _ in range(12)]
        for peer in peers:
            peer.send(pdu(ASSOCIATE_RQ, associate_rq()))
        kinds = [peer.next()[0] for peer in peers]
        for peer in peers:
            peer.socket.close()
    assert kinds.count(raw_peer.ASSOCIATE_AC) == 2
    assert kinds.count(raw_peer.ASSOCIATE_RJ) == 10


def test_two_nodes_share_one_capacity() -> None:
    few = Limits(max_receiving_bytes=len(FILM), max_waiting_per_host=2)
    capacity = Capacity(few, 2)
    first, second = Inbox(), Inbox()
    with (
        running_node(first, limits=few, capacity=capacity) as plain,
        running_node(second, limits=few, capacity=capacity) as encrypted,
        RawPeer(plain.port) as holding,
        RawPeer(encrypted.port) as sending,
    ):
        holding.associate().begin_store(UID)
        holding.send(pdu(P_DATA, pdv(3, 0, FILM[: len(FILM) // 2])))
        wait_until(lambda: capacity.budget.left < len(FILM), seconds=5)
        assert sending.associate().store(UID, FILM) == StoreStatus.OUT_OF_RESOURCES
        with RawPeer(plain.port) as surplus:
            surplus.send(pdu(ASSOCIATE_RQ, associate_rq()))
            assert surplus.next()[0] == raw_peer.ASSOCIATE_RJ
        with RawPeer(plain.port), RawPeer(encrypted.port):
            wait_until(lambda: len(threads_of_connections()) == 8, seconds=5)
            with RawPeer(plain.port) as refused:
                assert refused.seconds_until_closed() < 5
    assert reasons(first) == [RejectReason.TOO_MANY, AbortReason.TOO_MANY_CONNECTIONS]


def test_stopping_does_not_wait_for_an_unfinished_object() -> None:
    inbox = Inbox()
    with running_node(inbox) as node, RawPeer(node.port) as peer:
        peer.associate().begin_store(UID)
        peer.send(pdu(P_DATA, pdv(3, LAST, FILM))[:-100])
        time.sleep(0.3)
        stopping = threading.Thread(target=node.stop, args=(30.0,))
        stopping.start()
        assert peer.next()[0] == ABORT
        peer.socket.close()
        stopping.join(10)
        assert not stopping.is_alive()
    assert inbox.instances == []


def test_received_data_counts_what_it_holds() -> None:
    budget = MemoryBudget(100)
    data = ReceivedData(Limits(max_instance_bytes=60), budget)
    data.write(b"x" * 50)
    assert (budget.left, data.getvalue()) == (50, b"x" * 50)
    data.write(b"x" * 11)
    assert data.refusal is AbortReason.TOO_LARGE
    assert (budget.left, data.getvalue()) == (100, b"")
    data.write(b"x" * 179)
    with pytest.raises(LimitError):
        data.write(b"x")
    data.release()
    assert budget.left == 100


def test_received_data_is_refused_beyond_the_budget() -> None:
    budget = MemoryBudget(100)
    first, second = (ReceivedData(Limits(), budget) for _ in range(2))
    first.write(b"x" * 80)
    second.write(b"x" * 21)
    assert second.refusal is AbortReason.NO_MEMORY
    first.release()
    first.release()
    assert budget.left == 100


def test_received_data_leaves_the_budget_when_it_is_deleted() -> None:
    budget = MemoryBudget(100)
    data = ReceivedData(Limits(), budget)
    data.write(b"x" * 80)
    del data
    assert budget.left == 100


CANCEL = [(0x0100, b"\xff\x0f"), (0x0120, b"\7\0"), (0x0800, b"\0\0")]
ECHO_WITH_DATA = [*echo_elements()[:-1], (0x0800, b"\0\0")]


@pytest.mark.parametrize("elements", [CANCEL, ECHO_WITH_DATA])
def test_data_of_a_command_without_a_data_set_leaves_the_budget(
    elements: list[tuple[int, bytes]],
) -> None:
    inbox = Inbox()
    with running_node(inbox, limits=SMALL) as node:
        for _ in range(3):
            with RawPeer(node.port) as peer:
                peer.associate()
                peer.send(pdu(P_DATA, pdv(1, COMMAND | LAST, command(elements))))
                peer.send(pdu(P_DATA, pdv(1, LAST, FILM)))
                assert peer.next()[0] == ABORT
        with RawPeer(node.port) as peer:
            assert peer.associate().store(UID, FILM) == StoreStatus.SUCCESS
    assert reasons(inbox) == [AbortReason.MALFORMED] * 3


def test_a_steady_sender_is_not_too_slow() -> None:
    timer = StallTimer(0.1, 10)
    for _ in range(4):
        time.sleep(0.06)
        timer.count(10)
        timer.check()
    time.sleep(0.11)
    with pytest.raises(LimitError, match="did not come in time"):
        timer.check()


@pytest.mark.parametrize(
    "items",
    [
        b"".join(map(raw_peer.context_item, raw_peer.CONTEXTS)) * 65 + raw_peer.USER_INFORMATION,
        raw_peer.context_item((1, raw_peer.CR, ["1"] * 9000)),
        raw_peer.USER_INFORMATION * 2,
        item(0x50, item(0x54, b"") * 9000),
    ],
)
def test_a_request_with_too_many_items_is_not_decoded(items: bytes) -> None:
    inbox = Inbox()
    with running_node(inbox) as node, RawPeer(node.port) as peer:
        body = associate_rq(items=item(0x10, b"1.2.840.10008.3.1.1.1") + items)
        peer.send(pdu(ASSOCIATE_RQ, body))
        assert peer.next()[0] == ABORT
    assert reasons(inbox) == [AbortReason.TOO_LARGE]


def test_a_request_with_the_most_contexts_is_accepted() -> None:
    syntaxes = [f"1.2.840.10008.1.2.4.{number}" for number in range(100, 130)]
    contexts = [(2 * number + 1, raw_peer.CR, syntaxes) for number in range(128)]
    body = associate_rq(contexts=contexts)
    inbox = Inbox()
    with running_node(inbox) as node, RawPeer(node.port) as peer:
        peer.send(pdu(ASSOCIATE_RQ, body))
        kind, answer = peer.next()
    assert kind == raw_peer.ASSOCIATE_AC
    assert raw_peer.accepted_contexts(answer) == [number for number, _, _ in contexts]
    assert inbox.rejections == []
    assert len(body) < MAX_REQUEST_BYTES / 2
