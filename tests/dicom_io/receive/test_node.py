import socket
import subprocess
import threading
import time
from io import BytesIO
from pathlib import Path

import pytest
from pydicom import Dataset, dcmread
from pydicom.uid import (
    CTImageStorage,
    DeflatedExplicitVRLittleEndian,
    EncapsulatedPDFStorage,
    ExplicitVRBigEndian,
    ImplicitVRLittleEndian,
    JPEG2000Lossless,
    RLELossless,
)
from pynetdicom import AE, build_context

from dicom_io.errors import PortInUseError
from dicom_io.peer.peers import Caller, Peer
from dicom_io.receive.events import Rejection, RejectReason
from dicom_io.receive.node import Node
from dicom_io.receive.store_request import ReceivedInstance, StoreStatus
from tests.builders.images.films import ROOT, chest_film, data_set_bytes, file_bytes
from tests.servers.dicom.storage_node import CR, Inbox, echoscu, running_node, store_raw
from tests.tools.installed import require_tool
from tests.tools.waiting import wait_until

pytestmark = pytest.mark.network


def storescu(
    node: Node, *files: Path, options: tuple[str, ...] = ()
) -> subprocess.CompletedProcess[str]:
    command = [require_tool("storescu"), "-v", "-aet", "STORESCU", "-aec", "CXRD", *options]
    return subprocess.run(
        [*command, "127.0.0.1", str(node.port), *map(str, files)],
        capture_output=True,
        text=True,
        check=False,
        timeout=30,
    )


def test_the_data_set_is_kept_byte_for_byte() -> None:
    film = data_set_bytes(file_bytes(chest_film()))
    # An odd private element, a malformed value and trailing padding are all kept.
    strange = film + bytes.fromhex("fcfffcff") + b"OB\0\0\4\0\0\0" + b"\1\2\3\4"
    inbox = Inbox()
    with running_node(inbox) as node:
        assert store_raw(node, strange).Status == 0
    (instance,) = inbox.instances
    assert data_set_bytes(instance.data) == strange
    assert instance.data[:132] == b"\0" * 128 + b"DICM"
    assert instance.sop_instance_uid == instance.header.sop_instance_uid == f"{ROOT}.1.1.1"
    assert instance.sop_class_uid == CR
    assert instance.transfer_syntax_uid == "1.2.840.10008.1.2.1"
    assert instance.calling_ae_title == "STORESCU"
    assert instance.calling_host == "127.0.0.1"
    assert instance.header.study_instance_uid == f"{ROOT}.1"


@pytest.mark.parametrize(
    ("syntax", "option"),
    [
        (ImplicitVRLittleEndian, "-xi"),
        (ExplicitVRBigEndian, "-xb"),
        (DeflatedExplicitVRLittleEndian, "-xd"),
        (JPEG2000Lossless, "-xv"),
        (RLELossless, "-xr"),
    ],
)
def test_dcmtk_sends_in_every_encoding(tmp_path: Path, syntax: str, option: str) -> None:
    if syntax in (JPEG2000Lossless, RLELossless):
        ds = chest_film()
        ds.compress(syntax, generate_instance_uid=False)
    else:
        ds = chest_film(syntax=syntax)
    film = tmp_path / "film.dcm"
    film.write_bytes(file_bytes(ds))
    inbox = Inbox()
    with running_node(inbox) as node:
        sent = storescu(node, film, options=(option,))
    assert sent.returncode == 0, sent.stderr
    (instance,) = inbox.instances
    assert instance.transfer_syntax_uid == syntax
    (tmp_path / "kept.dcm").write_bytes(instance.data)
    kept = dcmread(tmp_path / "kept.dcm")
    assert kept.file_meta.MediaStorageSOPInstanceUID == ds.SOPInstanceUID
    assert kept.PixelData == dcmread(film).PixelData


def test_storage_classes_that_are_not_analysed_are_received() -> None:
    inbox = Inbox()
    with running_node(inbox) as node:
        for uid in (CTImageStorage, EncapsulatedPDFStorage):
            ds = chest_film(sop_class=uid)
            data = data_set_bytes(file_bytes(ds))
            assert store_raw(node, data, sop_class=uid, context_class=uid).Status == 0
    assert len(inbox.instances) == 2


def test_an_echo_is_answered_to_known_peers_only() -> None:
    inbox = Inbox()
    with running_node(inbox) as node:
        assert echoscu(node, "STORESCU").returncode == 0
        unknown = echoscu(node, "STRANGER")
        misnamed = echoscu(node, "STORESCU", called="OTHER")
    assert "Calling AE Title Not Recognized" in unknown.stderr
    assert "Called AE Title Not Recognized" in misnamed.stderr
    assert [rejection.reason for rejection in inbox.rejections] == [
        RejectReason.CALLING_AE_TITLE,
        RejectReason.CALLED_AE_TITLE,
    ]
    assert inbox.rejections[0] == Rejection(
        RejectReason.CALLING_AE_TITLE, "STRANGER", "CXRD", "127.0.0.1"
    )


def test_the_called_ae_title_may_be_left_open() -> None:
    with running_node(Inbox(), require_called_ae_title=False) as node:
        assert echoscu(node, "STORESCU", called="ANY-SCP").returncode == 0


def test_a_node_without_peers_rejects_every_caller() -> None:
    inbox = Inbox()
    with running_node(inbox, peers=[]) as node:
        assert echoscu(node, "STORESCU").returncode != 0
    assert len(inbox.rejections) == 1


def test_a_peer_is_bound_to_its_host() -> None:
    inbox = Inbox()
    peers = [Peer("FAR", "192.0.2.1"), Peer("NEAR", "127.0.0.1"), Peer("NAMED", "localhost")]
    with running_node(inbox, peers=peers) as node:
        assert echoscu(node, "NEAR").returncode == 0
        assert echoscu(node, "NAMED").returncode == 0
        assert "Calling AE Title Not Recognized" in echoscu(node, "FAR").stderr
    assert [rejection.reason for rejection in inbox.rejections] == [RejectReason.CALLING_HOST]


def test_hosts_are_compared_as_addresses() -> None:
    peers = [Peer("A", "127.0.0.1"), Peer("A", "::1"), Peer("B", "no such host.invalid")]

    def is_known(ae_title: str, address: str) -> bool:
        return any(peer.matches(Caller(ae_title, address)) for peer in peers)

    assert is_known("A", "::ffff:127.0.0.1")
    assert is_known("A", "0:0:0:0:0:0:0:1%lo")
    assert not is_known("A", "127.0.0.2")
    assert not is_known("A", "nonsense")
    assert not is_known("B", "127.0.0.1")


@pytest.mark.parametrize(
    ("change", "command", "status"),
    [
        ({"SOPClassUID": CTImageStorage}, {}, StoreStatus.SOP_CLASS_MISMATCH),
        ({}, {"uid": f"{ROOT}.9"}, StoreStatus.SOP_CLASS_MISMATCH),
        ({}, {"context_class": CTImageStorage}, StoreStatus.SOP_CLASS_MISMATCH),
        ({"StudyInstanceUID": ""}, {}, StoreStatus.CANNOT_UNDERSTAND),
        ({"SOPInstanceUID": ""}, {}, StoreStatus.CANNOT_UNDERSTAND),
    ],
)
def test_an_object_that_contradicts_its_command_is_refused(
    change: dict[str, str], command: dict[str, str], status: StoreStatus
) -> None:
    ds = chest_film()
    for keyword, value in change.items():
        setattr(ds, keyword, value)
    stream = BytesIO()
    ds.save_as(stream, enforce_file_format=False)
    data = stream.getvalue()
    data = data[data.index(b"\x08\0\x16\0UI") :]
    inbox = Inbox()
    with running_node(inbox) as node:
        response = store_raw(node, data, **command)
    assert response.Status == status
    assert response.ErrorComment
    assert inbox.instances == []


@pytest.mark.parametrize("junk", [b"", b"\0" * 100, b"junk" * 500])
def test_junk_is_not_understood(junk: bytes) -> None:
    inbox = Inbox()
    with running_node(inbox) as node:
        assert store_raw(node, junk or b"\0\0").Status == StoreStatus.CANNOT_UNDERSTAND
        assert store_raw(node, data_set_bytes(file_bytes(chest_film()))).Status == 0
    assert len(inbox.instances) == 1


@pytest.mark.parametrize("status", list(StoreStatus))
def test_the_status_of_the_callback_is_sent_to_the_sender(status: StoreStatus) -> None:
    with running_node(Inbox(), on_store=lambda _: status) as node:
        assert store_raw(node, data_set_bytes(file_bytes(chest_film()))).Status == status


def test_an_exception_in_the_callback_is_answered_with_a_failure() -> None:
    def fail(_: ReceivedInstance) -> StoreStatus:
        raise RuntimeError("broken")

    with running_node(Inbox(), on_store=fail) as node:
        film = data_set_bytes(file_bytes(chest_film()))
        first, second = store_raw(node, film), store_raw(node, film)
    assert first.Status == second.Status
    assert first.Status >> 12 == 0xC


def test_a_port_in_use_is_one_clear_line() -> None:
    with running_node(Inbox()) as first:
        second = Node(
            ae_title="B",
            host="127.0.0.1",
            port=first.port,
            peers=[],
            on_store=Inbox().take,
        )
        with pytest.raises(
            PortInUseError, match=f"port {first.port} on 127.0.0.1 is in use"
        ) as caught:
            second.start()
        assert caught.value.retryable
        second.stop()
        assert echoscu(first, "STORESCU").returncode == 0


def test_an_address_of_another_machine_is_refused() -> None:
    node = Node(ae_title="B", host="192.0.2.1", port=0, peers=[], on_store=Inbox().take)
    with pytest.raises(PortInUseError, match=r"cannot listen on 192\.0\.2\.1"):
        node.start()


def test_tcp_probes_do_no_harm() -> None:
    with running_node(Inbox(), max_associations=4) as node:
        for _ in range(40):
            socket.create_connection(("127.0.0.1", node.port)).close()
        with socket.create_connection(("127.0.0.1", node.port)) as rude:
            rude.sendall(b"GET / HTTP/1.1\r\n\r\n")
            wait_until(lambda: echoscu(node, "STORESCU").returncode == 0, seconds=5)


def test_a_silent_connection_does_not_hold_up_the_stop() -> None:
    with running_node(Inbox()) as node, socket.create_connection(("127.0.0.1", node.port)):
        time.sleep(0.1)
        started = time.monotonic()
        node.stop(timeout_seconds=10)
        assert time.monotonic() - started < 8


def test_too_many_associations_are_rejected_for_now() -> None:
    inbox = Inbox()
    with running_node(inbox, max_associations=1) as node:
        ae = AE(ae_title="STORESCU")
        held = ae.associate("127.0.0.1", node.port, contexts=[build_context(CR)], ae_title="CXRD")
        assert held.is_established
        refused = echoscu(node, "STORESCU")
        held.release()
        wait_until(lambda: echoscu(node, "STORESCU").returncode == 0, seconds=5)
    assert "Rejected Transient" in refused.stderr
    assert inbox.rejections[0].reason is RejectReason.TOO_MANY


def test_many_senders_at_once(tmp_path: Path) -> None:
    inbox = Inbox()
    for number in range(8):
        (tmp_path / f"{number}.dcm").write_bytes(file_bytes(chest_film(number=number + 1)))
    with running_node(inbox) as node:
        senders = [
            threading.Thread(target=storescu, args=(node, tmp_path / f"{number}.dcm"))
            for number in range(8)
        ]
        for sender in senders:
            sender.start()
        for sender in senders:
            sender.join()
    assert {stored.sop_instance_uid for stored in inbox.instances} == {
        f"{ROOT}.1.1.{number + 1}" for number in range(8)
    }


def test_stopping_lets_a_running_store_finish() -> None:
    begun, statuses = threading.Event(), list[int]()

    def slowly(_: ReceivedInstance) -> StoreStatus:
        begun.set()
        time.sleep(0.8)
        return StoreStatus.SUCCESS

    film = data_set_bytes(file_bytes(chest_film()))
    with running_node(Inbox(), on_store=slowly) as node:
        sender = threading.Thread(target=lambda: statuses.append(store_raw(node, film).Status))
        sender.start()
        assert begun.wait(5)
        started = time.monotonic()
        node.stop()
        assert time.monotonic() - started < 4
        sender.join()
    assert statuses == [0]


def test_stopping_has_a_timeout() -> None:
    begun, release = threading.Event(), threading.Event()

    def stuck(_: ReceivedInstance) -> StoreStatus:
        begun.set()
        release.wait(20)
        return StoreStatus.SUCCESS

    film = file_bytes(chest_film())
    with running_node(Inbox(), on_store=stuck) as node:
        ae = AE(ae_title="STORESCU")
        association = ae.associate(
            "127.0.0.1", node.port, contexts=[build_context(CR)], ae_title="CXRD"
        )
        answers: list[Dataset] = []
        sender = threading.Thread(
            target=lambda: answers.append(association.send_c_store(dcmread(BytesIO(film))))
        )
        sender.start()
        assert begun.wait(5)
        started = time.monotonic()
        node.stop(timeout_seconds=1)
        assert time.monotonic() - started < 3
        release.set()
        sender.join(10)
    assert "Status" not in answers[0]


def test_stopping_ends_idle_associations_and_frees_the_port() -> None:
    with running_node(Inbox()) as node:
        ae = AE(ae_title="STORESCU")
        idle = ae.associate("127.0.0.1", node.port, contexts=[build_context(CR)], ae_title="CXRD")
        port = node.port
        node.stop()
        wait_until(lambda: not idle.is_established, seconds=5)
    with running_node(Inbox(), port=port) as again:
        assert again.port == port
        assert echoscu(again, "STORESCU").returncode == 0


def test_bad_aborts_leave_the_node_working() -> None:
    inbox = Inbox()
    with running_node(inbox) as node:
        ae = AE(ae_title="STORESCU")
        for _ in range(3):
            held = ae.associate(
                "127.0.0.1", node.port, contexts=[build_context(CR)], ae_title="CXRD"
            )
            held.abort()
        assert store_raw(node, data_set_bytes(file_bytes(chest_film()))).Status == 0
    assert len(inbox.instances) == 1
