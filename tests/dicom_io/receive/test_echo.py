"""C-ECHO of callers that are no peers: answered, in few slots, briefly, and never past TLS."""

import time
from contextlib import ExitStack
from dataclasses import replace

import pytest
from pynetdicom import build_context
from pynetdicom.pdu_primitives import A_ASSOCIATE

from dicom_io.peer.peers import Caller, Peer
from dicom_io.receive.admission import Admission
from dicom_io.receive.association_request import AssociationRequest
from dicom_io.receive.events import AssociationOpened, RejectReason
from dicom_io.receive.limits import AbortReason, Limits
from dicom_io.receive.node import Node
from tests.builders.images.films import ROOT, chest_film, chest_values, data_set_bytes, file_bytes
from tests.servers.dicom.raw_peer import (
    ABORT,
    ASSOCIATE_AC,
    ASSOCIATE_RJ,
    ASSOCIATE_RQ,
    COMMAND,
    CR,
    EXPLICIT,
    IMPLICIT,
    LAST,
    P_DATA,
    VERIFICATION,
    Context,
    RawPeer,
    accepted_contexts,
    associate_rq,
    command,
    echo_elements,
    pdu,
    pdv,
    store_elements,
)
from tests.servers.dicom.storage_node import Inbox, echoscu, running_node
from tests.tools.waiting import wait_until

pytestmark = pytest.mark.network

FILM = data_set_bytes(file_bytes(chest_film(chest_values(20, 16))))
COMMITMENT = "1.2.840.10008.1.20.1"
ECHO: tuple[Context, ...] = ((1, VERIFICATION, [IMPLICIT]),)
TWO_ECHOES: tuple[Context, ...] = (*ECHO, (3, VERIFICATION, [EXPLICIT]))


def ask(
    peer: RawPeer,
    calling: bytes = b"STRANGER",
    called: bytes = b"CXRD",
    contexts: tuple[Context, ...] = ECHO,
) -> tuple[int, bytes]:
    peer.send(pdu(ASSOCIATE_RQ, associate_rq(calling=calling, called=called, contexts=contexts)))
    return peer.next()


def asked(node: Node, **request: object) -> int:
    with RawPeer(node.port) as peer:
        return ask(peer, **request)[0]  # type: ignore[arg-type]


def test_any_caller_is_answered() -> None:
    inbox, opened = Inbox(), list[AssociationOpened]()
    with running_node(inbox, echo_to_any=True, on_accepted=opened.append) as node:
        assert echoscu(node, "STRANGER").returncode == 0
        assert echoscu(node, "STORESCU").returncode == 0
        with RawPeer(node.port) as peer:
            kind, body = ask(peer, contexts=TWO_ECHOES)
            assert (kind, accepted_contexts(body)) == (ASSOCIATE_AC, [1, 3])
            assert peer.echo() == 0
    assert [(one.calling_ae_title, one.is_peer) for one in opened] == [
        ("STRANGER", False),
        ("STORESCU", True),
        ("STRANGER", False),
    ]
    assert inbox.rejections == []


@pytest.mark.parametrize(
    "contexts",
    [
        (*ECHO, (3, CR, [EXPLICIT])),
        ((1, CR, [EXPLICIT]),),
        (*ECHO, (3, COMMITMENT, [IMPLICIT])),
        (*ECHO, (3, "1.2.3", [IMPLICIT])),
        (),
    ],
)
def test_a_caller_that_proposes_more_than_echo_is_rejected(contexts: tuple[Context, ...]) -> None:
    inbox = Inbox()
    with running_node(inbox, echo_to_any=True) as node:
        assert asked(node, contexts=contexts) == ASSOCIATE_RJ
    assert [found.reason for found in inbox.rejections] == [RejectReason.CALLING_AE_TITLE]


def test_such_a_caller_cannot_store() -> None:
    inbox = Inbox()
    with running_node(inbox, echo_to_any=True) as node, RawPeer(node.port) as peer:
        assert ask(peer)[0] == ASSOCIATE_AC
        peer.send(pdu(P_DATA, pdv(1, COMMAND | LAST, command(store_elements(f"{ROOT}.1.1.1")))))
        peer.send(pdu(P_DATA, pdv(1, LAST, FILM)))
        peer.next()
    assert inbox.instances == []
    assert len(inbox.refusals) == 1


def test_a_peer_from_another_host_is_answered_and_may_not_store() -> None:
    inbox, opened = Inbox(), list[AssociationOpened]()
    options = {"peers": [Peer("FAR", "192.0.2.1")], "on_accepted": opened.append}
    with running_node(inbox, echo_to_any=True, **options) as node:
        assert asked(node, calling=b"FAR") == ASSOCIATE_AC
        assert asked(node, calling=b"FAR", contexts=((1, CR, [EXPLICIT]),)) == ASSOCIATE_RJ
    assert [one.is_peer for one in opened] == [False]
    assert [found.reason for found in inbox.rejections] == [RejectReason.CALLING_HOST]


def test_the_called_title_is_checked_for_every_caller() -> None:
    inbox = Inbox()
    with running_node(inbox, echo_to_any=True) as node:
        assert asked(node, called=b"OTHER") == ASSOCIATE_RJ
    assert [found.reason for found in inbox.rejections] == [RejectReason.CALLED_AE_TITLE]


def test_four_at_once_and_none_of_them_takes_the_slot_of_a_peer() -> None:
    inbox = Inbox()
    with ExitStack() as stack:
        node = stack.enter_context(running_node(inbox, echo_to_any=True, max_associations=1))
        held = [stack.enter_context(RawPeer(node.port)) for _ in range(4)]
        assert [ask(peer)[0] for peer in held] == [ASSOCIATE_AC] * 4
        with RawPeer(node.port) as fifth:
            kind, body = ask(fifth)
        assert (kind, list(body[1:])) == (ASSOCIATE_RJ, [2, 3, 2])
        with RawPeer(node.port) as sender:
            assert sender.associate().store(f"{ROOT}.1.1.1", FILM) == 0
    assert [found.reason for found in inbox.rejections] == [RejectReason.TOO_MANY]


QUICK = Limits(echo_idle_seconds=0.4, echo_seconds=1.2)


def test_a_silent_caller_frees_its_slot_soon() -> None:
    inbox = Inbox()
    limits = replace(QUICK, max_echoes=1)
    with (
        running_node(inbox, echo_to_any=True, limits=limits) as node,
        RawPeer(node.port) as idle,
        RawPeer(node.port) as sender,
    ):
        sender.associate()
        assert ask(idle)[0] == ASSOCIATE_AC
        assert idle.next()[0] == ABORT
        assert idle.seconds_until_closed() < 3
        wait_until(lambda: asked(node) == ASSOCIATE_AC, seconds=5)
        assert sender.store(f"{ROOT}.1.1.1", FILM) == 0
    assert inbox.rejections[0].reason is AbortReason.IDLE


def test_a_caller_that_goes_on_without_end_is_aborted() -> None:
    inbox = Inbox()
    with running_node(inbox, echo_to_any=True, limits=QUICK) as node, RawPeer(node.port) as peer:
        assert ask(peer)[0] == ASSOCIATE_AC
        started = time.monotonic()
        kind = P_DATA
        while kind == P_DATA and time.monotonic() - started < 10:
            peer.send(pdu(P_DATA, pdv(1, COMMAND | LAST, command(echo_elements()))))
            kind, _ = peer.next()
        assert kind == ABORT
        assert time.monotonic() - started < 5
    assert [found.reason for found in inbox.rejections] == [AbortReason.ECHO_TIME]


def test_a_message_without_end_is_aborted() -> None:
    inbox = Inbox()
    with running_node(inbox, echo_to_any=True, limits=QUICK) as node, RawPeer(node.port) as peer:
        assert ask(peer)[0] == ASSOCIATE_AC
        peer.send(pdu(P_DATA, b"", length=1 << 20))
        assert peer.next()[0] == ABORT
    assert [found.reason for found in inbox.rejections] == [AbortReason.ECHO_TIME]


PLAIN, CERTIFIED = Caller("STRANGER", "192.0.2.9"), Caller("STRANGER", "192.0.2.9", True, "ab")
BARE_TLS = Caller("STRANGER", "192.0.2.9", True)
OPEN, TLS, PINNED = (
    Peer("A"),
    Peer("A", tls=True),
    Peer("A", certificates=frozenset({"ab"})),
)


@pytest.mark.parametrize(
    ("peers", "caller", "reason"),
    [
        ([], PLAIN, None),
        ([OPEN, TLS], PLAIN, None),
        ([TLS], PLAIN, RejectReason.PLAIN_CONNECTION),
        ([TLS], BARE_TLS, None),
        ([PINNED], PLAIN, RejectReason.PLAIN_CONNECTION),
        ([PINNED], BARE_TLS, RejectReason.NO_CERTIFICATE),
        ([PINNED], replace(CERTIFIED, certificate="cd"), RejectReason.WRONG_CERTIFICATE),
        ([PINNED], CERTIFIED, None),
        ([PINNED], replace(PLAIN, ae_title="A"), RejectReason.PLAIN_CONNECTION),
        ([TLS, OPEN], replace(PLAIN, ae_title="A"), None),
        ([TLS, Peer("B")], replace(PLAIN, ae_title="A"), RejectReason.PLAIN_CONNECTION),
    ],
)
def test_no_caller_passes_the_rules_of_tls(
    peers: list[Peer], caller: Caller, reason: RejectReason | None
) -> None:
    request = A_ASSOCIATE()
    request.presentation_context_definition_list = [build_context(VERIFICATION)]
    admission = Admission("CXRD", peers, require_called_ae_title=False, echo_to_any=True)
    verdict = admission.verdict(caller, request, AssociationRequest(b"", True, "", ""))
    assert verdict.reason is reason
