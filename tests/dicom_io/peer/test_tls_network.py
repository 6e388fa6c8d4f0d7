"""Connections over TLS: accepted and refused callers, and refused destinations."""

import socket
import ssl
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from dicom_io.commitment.messages import CommitmentAnswer, MessageStatus
from dicom_io.commitment.scp import CommitmentHandlers
from dicom_io.commitment.scu import send_answer
from dicom_io.peer.peers import Caller, Peer
from dicom_io.peer.tls import (
    ClientCertificate,
    Credentials,
    client_context,
    examine,
    server_context,
)
from dicom_io.peer.tls_handshake import TlsFault
from dicom_io.peer.tls_probe import probe
from dicom_io.receive.events import RejectReason
from dicom_io.receive.limits import AbortReason, Limits
from dicom_io.receive.node import Node
from dicom_io.send.association import Destination, Timeouts
from dicom_io.send.sender import Sender, echo
from tests.builders.certificates import Authority
from tests.builders.images.films import chest_film, file_bytes
from tests.servers.dicom.storage_node import Inbox, echoscu, running_node
from tests.tools.installed import require_tool

pytestmark = pytest.mark.network

HOST = "127.0.0.1"
SHORT = Timeouts(5, 5, 5, 5)


@contextmanager
def tls_node(
    inbox: Inbox,
    pki: Authority,
    asked: ClientCertificate = ClientCertificate.REQUIRED,
    **options: Any,
) -> Iterator[Node]:
    context = server_context(pki.of("cxrd"), ca=pki.ca, client_certificate=asked)
    with running_node(inbox, tls=context, **options) as node:
        yield node


def storescu(
    node: Node, film: Path, ca: Path, credentials: Credentials | None
) -> subprocess.CompletedProcess[str]:
    """Run dcmtk's storescu, with a client certificate if there are credentials."""
    own = ["+tla"] if credentials is None else ["+tls", credentials.key, credentials.certificate]
    command = [require_tool("storescu"), "-aet", "STORESCU", "-aec", "CXRD", *own, "+cf", ca]
    return subprocess.run(
        [*map(str, command), "localhost", str(node.port), str(film)],
        capture_output=True,
        text=True,
        check=False,
        timeout=30,
    )


@pytest.fixture
def film(tmp_path: Path) -> Path:
    path = tmp_path / "film.dcm"
    path.write_bytes(file_bytes(chest_film()))
    return path


def destination(node: Node, tls: ssl.SSLContext | None, **changes: Any) -> Destination:
    return replace(Destination("node", "CXRD", HOST, node.port, "STORESCU", SHORT, tls), **changes)


def settle(inbox: Inbox, count: int = 1) -> list[RejectReason | AbortReason]:
    """Wait for `count` rejections, which may follow the failure of the caller; return reasons."""
    deadline = time.monotonic() + 10
    while len(inbox.rejections) < count and time.monotonic() < deadline:
        time.sleep(0.01)
    assert all(rejection.host == HOST for rejection in inbox.rejections)
    return [rejection.reason for rejection in inbox.rejections]


def test_storescu_with_a_certificate_is_accepted(pki: Authority, film: Path) -> None:
    inbox = Inbox()
    with tls_node(inbox, pki) as node:
        done = storescu(node, film, pki.ca, pki.of("modality"))
    assert done.returncode == 0, done.stderr
    assert len(inbox.instances) == 1
    assert inbox.rejections == []


def test_storescu_without_or_with_a_strangers_certificate_is_refused(
    pki: Authority, strangers: Authority, film: Path
) -> None:
    inbox = Inbox()
    with tls_node(inbox, pki) as node:
        assert storescu(node, film, pki.ca, None).returncode != 0
        assert settle(inbox, 1) == [RejectReason.NO_CERTIFICATE]
        assert storescu(node, film, pki.ca, strangers.of("modality")).returncode != 0
        assert settle(inbox, 2)[1] == RejectReason.WRONG_CERTIFICATE
        assert storescu(node, film, pki.ca, pki.issue("ended", days=-1)).returncode != 0
        assert settle(inbox, 3)[2] == RejectReason.WRONG_CERTIFICATE
    assert inbox.instances == []


def test_storescu_refuses_a_node_with_an_unknown_ca(
    pki: Authority, strangers: Authority, film: Path
) -> None:
    inbox = Inbox()
    with tls_node(inbox, pki) as node:
        assert storescu(node, film, strangers.ca, pki.of("modality")).returncode != 0
        assert settle(inbox) == [RejectReason.TLS_HANDSHAKE]


def test_plain_caller_of_a_tls_port_is_refused(pki: Authority) -> None:
    inbox = Inbox()
    with tls_node(inbox, pki) as node:
        assert echoscu(node, "STORESCU").returncode != 0
        assert settle(inbox) == [RejectReason.PLAIN_CONNECTION]
        assert not echo(destination(node, None)).ok


def test_a_commitment_answer_has_the_certificate_of_its_caller(pki: Authority) -> None:
    callers: list[Caller] = []

    def take(_: CommitmentAnswer, caller: Caller) -> MessageStatus:
        callers.append(caller)
        return MessageStatus.SUCCESS

    handlers = CommitmentHandlers(lambda *_: MessageStatus.NOT_AUTHORISED, take)
    peers = [Peer("STORESCU")]
    context = client_context(pki.ca, pki.of("modality"))
    with tls_node(Inbox(), pki, peers=peers, commitment=handlers) as node:
        assert send_answer(destination(node, context), CommitmentAnswer("2.25.1", (), ())) == 0x0000
    shown = examine(pki.of("modality")).sha256
    assert callers == [Caller("STORESCU", HOST, tls=True, certificate=shown)]


def test_old_tls_is_refused(pki: Authority) -> None:
    old = client_context(pki.ca, pki.of("modality"))
    old.set_ciphers("ALL:@SECLEVEL=0")
    with pytest.warns(DeprecationWarning, match="TLSv1_1"):
        old.minimum_version = old.maximum_version = ssl.TLSVersion.TLSv1_1
    inbox = Inbox()
    with tls_node(inbox, pki) as node:
        assert probe(HOST, node.port, old, 5).problem is not None
        assert settle(inbox) == [RejectReason.TLS_HANDSHAKE]


def test_tls_1_3_is_agreed_on_and_1_2_is_possible(pki: Authority) -> None:
    newest = client_context(pki.ca, pki.of("modality"))
    older = client_context(pki.ca, pki.of("modality"))
    older.maximum_version = ssl.TLSVersion.TLSv1_2
    with tls_node(Inbox(), pki) as node:
        versions = [probe(HOST, node.port, context, 5).version for context in (newest, older)]
    assert versions == ["TLSv1.3", "TLSv1.2"]


@pytest.mark.parametrize(
    ("shown", "expected"),
    [
        ("modality", None),
        ("pacs", RejectReason.WRONG_CERTIFICATE),
        (None, RejectReason.NO_CERTIFICATE),
    ],
)
def test_pinned_title_needs_its_certificate(
    pki: Authority, shown: str | None, expected: RejectReason | None
) -> None:
    pins = frozenset({examine(pki.of("modality")).sha256, "0" * 64})
    inbox = Inbox()
    peers = [Peer("STORESCU", HOST, certificates=pins)]
    credentials = pki.of(shown) if shown else None
    with tls_node(inbox, pki, ClientCertificate.OPTIONAL, peers=peers) as node:
        answer = echo(destination(node, client_context(pki.ca, credentials)))
    assert answer.ok is (expected is None), answer.diagnosis
    assert [rejection.reason for rejection in inbox.rejections] == ([expected] if expected else [])
    assert all(rejection.calling_ae_title == "STORESCU" for rejection in inbox.rejections)


@pytest.mark.parametrize(
    "peer", [Peer("STORESCU", tls=True), Peer("STORESCU", certificates=frozenset("a"))]
)
def test_peer_that_needs_tls_is_refused_over_plain(peer: Peer) -> None:
    inbox = Inbox()
    with running_node(inbox, peers=[peer]) as node:
        done = echoscu(node, "STORESCU")
    assert done.returncode != 0
    assert [rejection.reason for rejection in inbox.rejections] == [RejectReason.PLAIN_CONNECTION]


def test_certificate_decides_what_a_shared_title_may_do(pki: Authority, film: Path) -> None:
    peers = [
        Peer("STORESCU", sends=True, certificates=frozenset({examine(pki.of("modality")).sha256})),
        Peer("STORESCU", sends=False),
    ]
    inbox = Inbox()
    with tls_node(inbox, pki, ClientCertificate.OPTIONAL, peers=peers) as node:
        assert storescu(node, film, pki.ca, pki.of("pacs")).returncode != 0
        assert storescu(node, film, pki.ca, pki.of("modality")).returncode == 0
    assert len(inbox.instances) == 1


def test_unknown_title_and_wrong_host_are_refused_over_tls_too(pki: Authority) -> None:
    context = client_context(pki.ca, pki.of("modality"))
    inbox = Inbox()
    with tls_node(inbox, pki, peers=[Peer("STORESCU", "192.0.2.7")]) as node:
        echo(destination(node, context))
        echo(destination(node, context, calling_ae_title="STRANGER"))
    assert [rejection.reason for rejection in inbox.rejections] == [
        RejectReason.CALLING_HOST,
        RejectReason.CALLING_AE_TITLE,
    ]


@pytest.mark.slow
def test_silent_callers_do_not_block_the_next(pki: Authority) -> None:
    context = client_context(pki.ca, pki.of("modality"))
    inbox = Inbox()
    with tls_node(inbox, pki, limits=Limits(request_seconds=3.0)) as node:
        silent = [socket.create_connection((HOST, node.port)) for _ in range(8)]
        silent[0].sendall(b"\x16\x03\x01")
        started = time.monotonic()
        assert echo(destination(node, context)).ok
        assert time.monotonic() - started < 2.9
        assert settle(inbox, 8) == [RejectReason.TLS_HANDSHAKE] * 8
        for client in silent:
            client.settimeout(5)
            assert client.recv(1) == b""
            client.close()


def test_port_probe_is_not_reported(pki: Authority) -> None:
    inbox = Inbox()
    with tls_node(inbox, pki) as node:
        for _ in range(3):
            socket.create_connection((HOST, node.port)).close()
        assert echo(destination(node, client_context(pki.ca, pki.of("modality")))).ok
    assert inbox.rejections == []


def test_stopping_does_not_wait_for_a_silent_caller(pki: Authority) -> None:
    inbox = Inbox()
    with (
        tls_node(inbox, pki, limits=Limits(request_seconds=60.0)) as node,
        socket.create_connection((HOST, node.port)) as silent,
    ):
        time.sleep(0.2)
        started = time.monotonic()
        node.stop()
        silent.settimeout(5)
        assert silent.recv(1) == b""
    assert time.monotonic() - started < 3
    assert inbox.rejections == []


def test_every_fault_has_its_reason() -> None:
    assert {fault.name for fault in TlsFault} <= set(RejectReason.__members__)


@contextmanager
def storescp(pki: Authority, folder: Path, name: str = "pacs") -> Iterator[int]:
    """Run dcmtk's storescp, which requires a client certificate, and yield its port."""
    with socket.create_server((HOST, 0)) as free:
        port = free.getsockname()[1]
    own = pki.of(name)
    command = [require_tool("storescp"), "-aet", "PACS", "-od", folder, "+tls", own.key]
    command += [own.certificate, "+cf", pki.ca, port]
    with subprocess.Popen([str(part) for part in command], stderr=subprocess.DEVNULL) as server:
        try:
            for _ in range(100):
                with socket.socket() as client:
                    if client.connect_ex((HOST, port)) == 0:
                        break
                time.sleep(0.05)
            yield port
        finally:
            server.terminate()


def to_storescp(port: int, tls: ssl.SSLContext | None) -> Destination:
    return Destination("archive", "PACS", "localhost", port, "CXRD", SHORT, tls)


def test_an_object_is_sent_to_storescp_over_tls(pki: Authority, tmp_path: Path, film: Path) -> None:
    folder = tmp_path / "received"
    folder.mkdir()
    tls = client_context(pki.ca, pki.of("cxrd"))
    with storescp(pki, folder) as port:
        classes = ["1.2.840.10008.5.1.4.1.1.1"]
        with Sender(to_storescp(port, tls), sop_classes=classes) as sender:
            result = sender.send(film)
    assert result.status == 0, result.detail
    assert len(list(folder.iterdir())) == 1


@pytest.mark.slow
def test_the_tls_problem_of_a_destination_is_named(
    pki: Authority, strangers: Authority, tmp_path: Path
) -> None:
    own = pki.of("cxrd")
    elsewhere = pki.issue("elsewhere", "DNS:elsewhere.example.org")
    assert elsewhere.key.is_file()
    pki.issue("late", days=-1)
    diagnoses = {}
    with storescp(pki, tmp_path) as port:
        diagnoses["unknown"] = echo(to_storescp(port, client_context(strangers.ca, own))).diagnosis
        diagnoses["without"] = echo(to_storescp(port, client_context(pki.ca))).diagnosis
        diagnoses["stranger"] = echo(
            to_storescp(port, client_context(pki.ca, strangers.of("cxrd")))
        ).diagnosis
    with storescp(pki, tmp_path, "elsewhere") as port:
        diagnoses["name"] = echo(to_storescp(port, client_context(pki.ca, own))).diagnosis
    with storescp(pki, tmp_path, "late") as port:
        diagnoses["late"] = echo(to_storescp(port, client_context(pki.ca, own))).diagnosis
    with running_node(Inbox()) as plain:
        tls = client_context(pki.ca, own)
        diagnoses["plain"] = echo(to_storescp(plain.port, tls)).diagnosis
    assert "its CA is not known here; add the CA's certificate to tls.ca" in diagnoses["unknown"]
    assert "certificate" in diagnoses["without"]
    assert "it does not know the CA of this node's certificate" in diagnoses["stranger"]
    assert "its certificate is not for localhost" in diagnoses["name"]
    assert "its certificate has expired" in diagnoses["late"]
    assert "tls: false" in diagnoses["plain"]
