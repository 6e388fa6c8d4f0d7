import socket
import subprocess
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from io import BytesIO
from pathlib import Path

import numpy as np
import pytest
from pydicom import Dataset, dcmread
from pydicom.uid import (
    DeflatedExplicitVRLittleEndian,
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
    JPEG2000Lossless,
)
from pynetdicom import AE, evt
from pynetdicom.events import Event

from dicom_io.errors import AssociationError
from dicom_io.objects.classes import REPORT_CLASSES, RESULT_CLASSES
from dicom_io.objects.encode import to_bytes
from dicom_io.peer.peers import Peer
from dicom_io.receive.node import Node
from dicom_io.receive.store_request import ReceivedInstance, StoreStatus
from dicom_io.report.document import build_report
from dicom_io.report.older_classes import fallback_uid
from dicom_io.send.association import Destination, Timeouts
from dicom_io.send.sender import Sender, echo, pair_of
from dicom_io.send.store_status import Disposition, classify
from tests.builders.images.films import chest_film, data_set_bytes, file_bytes
from tests.builders.objects import full_header, report_content
from tests.servers.dicom.storage_archive import (
    CR,
    FILM,
    SC,
    Handler,
    accept_and_read_no_more,
    destination,
    storage_archive,
)
from tests.tools.installed import require_tool

pytestmark = pytest.mark.network


def rejecting(result: int, source: int, diagnostic: int) -> Handler:
    def reject(event: Event) -> None:
        event.assoc.acse.send_reject(result, source, diagnostic)
        event.assoc.kill()

    return reject


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@pytest.mark.parametrize(
    ("status", "disposition"),
    [
        (0x0000, Disposition.DELIVERED),
        (0xB000, Disposition.DELIVERED),
        (0xB006, Disposition.DELIVERED),
        (0xB007, Disposition.DELIVERED),
        (0x0111, Disposition.DELIVERED),
        (0x0107, Disposition.DELIVERED),
        (0xA700, Disposition.RETRY),
        (0xA702, Disposition.RETRY),
        (0x0110, Disposition.RETRY),
        (0xA900, Disposition.PARK),
        (0xA901, Disposition.PARK),
        (0xC000, Disposition.PARK),
        (0xC123, Disposition.PARK),
        (0x0122, Disposition.PARK),
        (0x0124, Disposition.PARK),
        (0xFFFF, Disposition.PARK),
    ],
)
def test_every_status_is_classified(status: int, disposition: Disposition) -> None:
    assert classify(status) is disposition
    with storage_archive(lambda _: status) as there, Sender(there) as sender:
        result = sender.send(FILM)
    assert (result.status, result.disposition) == (status, disposition)
    assert f"0x{status:04X}" in result.detail


def test_the_error_comment_of_the_peer_is_part_of_the_detail() -> None:
    def refuse(_: Event) -> Dataset:
        answer = Dataset()
        answer.Status, answer.ErrorComment = 0xA700, "disk full"
        return answer

    with storage_archive(refuse) as there, Sender(there) as sender:
        assert sender.send(FILM).detail == "status 0xA700: disk full"


def test_one_association_carries_many_objects(tmp_path: Path) -> None:
    seen: list[tuple[int, str]] = []

    def keep(event: Event) -> int:
        seen.append((id(event.assoc), event.file_meta.MediaStorageSOPInstanceUID))
        return 0x0000

    films = [chest_film(sop_class=SC, number=number) for number in range(1, 6)]
    path = tmp_path / "film.dcm"
    with storage_archive(keep) as there, Sender(there) as sender:
        for film in films:
            path.write_bytes(file_bytes(film))
            assert sender.send(path).disposition is Disposition.DELIVERED
    assert len({association for association, _ in seen}) == 1
    assert [uid for _, uid in seen] == [film.SOPInstanceUID for film in films]


def test_the_data_set_arrives_byte_for_byte() -> None:
    received: list[ReceivedInstance] = []

    def keep(instance: ReceivedInstance) -> StoreStatus:
        received.append(instance)
        return StoreStatus.SUCCESS

    compressed = chest_film(number=2)
    compressed.compress(JPEG2000Lossless, generate_instance_uid=False)
    files = [file_bytes(chest_film()), file_bytes(compressed)]
    node = Node(ae_title="PACS", host="127.0.0.1", port=0, peers=[Peer("CXRD")], on_store=keep)
    with node, Sender(destination(node.port), also=map(pair_of, files)) as sender:
        for file in files:
            assert sender.send(file).disposition is Disposition.DELIVERED
    assert [data_set_bytes(stored.data) for stored in received] == [
        data_set_bytes(file) for file in files
    ]


@pytest.mark.parametrize("ours", [ExplicitVRLittleEndian, DeflatedExplicitVRLittleEndian])
def test_uncompressed_objects_are_converted_to_an_accepted_syntax(ours: str) -> None:
    arrived: list[Dataset] = []

    def keep(event: Event) -> int:
        arrived.append(dcmread(BytesIO(event.encoded_dataset())))
        return 0x0000

    film = chest_film(sop_class=SC, syntax=ours)
    there: Destination
    with (
        storage_archive(keep, syntaxes=(ImplicitVRLittleEndian,)) as there,
        Sender(there) as sender,
    ):
        assert sender.send(file_bytes(film)).disposition is Disposition.DELIVERED
    assert arrived[0].file_meta.TransferSyntaxUID == ImplicitVRLittleEndian
    assert arrived[0].PixelData == film.PixelData
    assert arrived[0].PatientName == film.PatientName


def test_an_object_that_the_peer_does_not_accept_is_parked() -> None:
    compressed = chest_film(sop_class=SC)
    compressed.compress(JPEG2000Lossless, generate_instance_uid=False)
    packed = file_bytes(compressed)
    with (
        storage_archive(classes=(SC,)) as there,
        Sender(there, also=[pair_of(packed)]) as sender,
    ):
        other_class = sender.send(file_bytes(chest_film()))
        other_syntax = sender.send(packed)
        junk = sender.send(b"junk")
        fine = sender.send(FILM)
    assert other_class.disposition is other_syntax.disposition is Disposition.PARK
    assert "does not accept Computed Radiography" in other_class.detail
    assert "not as JPEG 2000" in other_syntax.detail
    assert junk.disposition is Disposition.PARK
    assert fine.disposition is Disposition.DELIVERED


def test_a_peer_that_accepts_no_class_is_a_permanent_fault() -> None:
    with (
        storage_archive(classes=(CR,), verification=False) as there,
        pytest.raises(AssociationError, match="none of the proposed") as caught,
        Sender(there),
    ):
        pass
    assert not caught.value.retryable


@pytest.mark.parametrize(
    ("reason", "message", "retryable"),
    [
        ((1, 1, 3), "does not know the calling AE title 'CXRD'", False),
        ((1, 1, 7), "is not called 'PACS'", False),
        ((1, 1, 1), "permanently", False),
        ((2, 3, 1), "for now.*congestion", True),
        ((2, 3, 2), "for now.*limit", True),
    ],
)
def test_a_rejection_names_the_setting_to_change(
    reason: tuple[int, int, int], message: str, retryable: bool
) -> None:
    with storage_archive(on_requested=rejecting(*reason)) as there:
        with pytest.raises(AssociationError, match=rf"(?i)ARCHIVE.*{message}") as caught:
            Sender(there).__enter__()
        diagnosed = echo(there)
    assert caught.value.retryable is diagnosed.retryable is retryable
    assert not diagnosed.ok
    assert diagnosed.diagnosis == str(caught.value)


def test_a_refused_connection_is_a_network_fault() -> None:
    nowhere = destination(free_port())
    with pytest.raises(AssociationError, match="no connection to ARCHIVE") as caught:
        Sender(nowhere).__enter__()
    assert caught.value.retryable
    assert echo(nowhere).retryable


def test_an_unknown_host_is_a_network_fault() -> None:
    with pytest.raises(AssociationError, match="no connection") as caught:
        Sender(destination(104, host="no-such-host.invalid")).__enter__()
    assert caught.value.retryable


def test_a_server_that_is_not_dicom_times_out() -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        there = destination(silent.getsockname()[1])
        started = time.monotonic()
        with pytest.raises(AssociationError, match="no answer as a DICOM node") as caught:
            Sender(there).__enter__()
    assert time.monotonic() - started < 6
    assert caught.value.retryable


def test_a_broken_association_is_retried() -> None:
    def hang_up(event: Event) -> int:
        event.assoc.abort()
        return 0x0000

    with storage_archive(hang_up) as there, Sender(there) as sender:
        first, second = sender.send(FILM), sender.send(FILM)
        assert not sender.is_open
    assert (first.status, first.disposition) == (None, Disposition.RETRY)
    assert (second.status, second.disposition) == (None, Disposition.RETRY)


@pytest.mark.slow
def test_no_answer_in_time_is_retried() -> None:
    release = threading.Event()

    def sleep(_: Event) -> int:
        release.wait(10)
        return 0x0000

    with storage_archive(sleep) as there:
        with Sender(destination(there.port)) as sender:
            started = time.monotonic()
            result = sender.send(FILM)
        assert time.monotonic() - started < 6
        release.set()
    assert (result.status, result.disposition) == (None, Disposition.RETRY)


def test_a_peer_that_stops_reading_times_out() -> None:
    large = file_bytes(chest_film(np.zeros((3000, 3000), np.uint16), sop_class=SC))
    with socket.create_server(("127.0.0.1", 0)) as listening, ThreadPoolExecutor(1) as pool:
        connection = pool.submit(accept_and_read_no_more, listening)
        quick = Timeouts(connect=2, association=2, response=10, network=1)
        there = destination(listening.getsockname()[1], timeouts=quick)
        with Sender(there) as sender:
            assert sender.send(large).disposition is Disposition.RETRY
        connection.result().close()


def test_more_contexts_than_fit_are_refused() -> None:
    with pytest.raises(ValueError, match="presentation contexts"):
        Sender(destination(1), sop_classes=[f"1.2.3.{number}" for number in range(200)])


def test_a_sender_that_is_not_open_sends_nothing() -> None:
    result = Sender(destination(1)).send(FILM)
    assert result.disposition is Disposition.RETRY


def test_an_echo_returns_the_accepted_classes() -> None:
    with storage_archive(classes=(SC,)) as there:
        partly = echo(there)
        fully = echo(there, sop_classes=[SC])
    assert not partly.ok
    assert partly.accepted[SC] == (ExplicitVRLittleEndian,)
    assert set(partly.refused) == set(RESULT_CLASSES) - {SC}
    assert "Enhanced SR" in partly.diagnosis
    assert fully.ok
    assert fully.refused == ()


@pytest.mark.parametrize("position", range(3))
def test_one_class_for_reports_is_enough(position: int) -> None:
    with storage_archive(classes=(*REPORT_CLASSES[position:], SC)) as there:
        answer = echo(there, sop_classes=[*REPORT_CLASSES, SC])
    assert answer.ok
    assert answer.refused == ()
    older = "" if position == 0 else str(REPORT_CLASSES[position])
    assert older in answer.diagnosis
    assert ("reports go there as" in answer.diagnosis) is bool(older)


@pytest.mark.parametrize("position", range(3))
def test_a_report_is_sent_as_the_first_accepted_class(position: int) -> None:
    arrived: list[Dataset] = []

    def keep(event: Event) -> int:
        arrived.append(event.dataset)
        return 0x0000

    report = build_report(report_content(full_header()))
    with storage_archive(keep, classes=REPORT_CLASSES[position:]) as there, Sender(there) as sender:
        result = sender.send(to_bytes(report))
    [stored] = arrived
    wanted = REPORT_CLASSES[position]
    assert result.disposition is Disposition.DELIVERED
    assert (result.sop_class_uid, result.sop_instance_uid) == (wanted, stored.SOPInstanceUID)
    assert stored.SOPClassUID == wanted
    assert stored.SOPInstanceUID == fallback_uid(report.SOPInstanceUID, wanted)


def test_a_report_without_an_accepted_class_is_parked() -> None:
    report = to_bytes(build_report(report_content(full_header())))
    with storage_archive(classes=(SC,)) as there, Sender(there) as sender:
        result = sender.send(report)
    assert result.disposition is Disposition.PARK
    assert "does not accept Comprehensive 3D SR" in result.detail


def test_a_failed_echo_is_reported() -> None:
    def deny(_: Event) -> int:
        return 0x0122

    ae = AE(ae_title="PACS")
    ae.add_supported_context("1.2.840.10008.1.1")
    server = ae.start_server(("127.0.0.1", 0), block=False, evt_handlers=[(evt.EVT_C_ECHO, deny)])
    assert server is not None
    result = echo(destination(int(server.server_address[1])), sop_classes=())
    ae.shutdown()
    assert not result.ok
    assert "0x0122" in result.diagnosis


def test_dcmtk_receives_the_objects(tmp_path: Path) -> None:
    port = free_port()
    command = [require_tool("storescp"), "-aet", "PACS", "-od", str(tmp_path), str(port)]
    with subprocess.Popen(command) as process:
        try:
            there = destination(port)
            deadline = time.monotonic() + 10
            while not echo(there).ok:
                assert time.monotonic() < deadline
                time.sleep(0.1)
            with Sender(there, also=[(CR, ExplicitVRLittleEndian)]) as sender:
                for film in (chest_film(sop_class=SC), chest_film(number=2)):
                    assert sender.send(file_bytes(film)).disposition is Disposition.DELIVERED
        finally:
            process.terminate()
    kept = [dcmread(path) for path in tmp_path.iterdir()]
    assert {str(ds.SOPClassUID) for ds in kept} == {SC, CR}
