"""Deliveries of the courier: the effect of each answer of a destination on the outbox."""

import contextlib
import sqlite3
import threading
import time
from pathlib import Path

import pytest
from pynetdicom.events import Event

from daemon.config.receivers import PictureSyntax
from daemon.deliver.delivery_worker import DeliveryWorker
from dicom_io.objects.classes import PLAIN_SYNTAXES, REPORT_CLASSES
from dicom_io.objects.compression import (
    HTJ2K,
    JPEG_2000,
    JPEG_BASELINE,
    RLE,
    compressed_picture,
    jpeg_copy,
)
from dicom_io.objects.secondary_capture import build_capture
from dicom_io.objects.source_header import Identity
from dicom_io.receive.store_request import ReceivedInstance, StoreStatus
from dicom_io.report.older_classes import fallback_uid
from storage.records import Job, JobState
from tests.builders.objects import NOW, capture_content, full_header
from tests.builders.outbox import Outbox, queue_object, queue_report
from tests.servers.dicom.pacs import pacs_node
from tests.servers.dicom.storage_archive import storage_archive
from tests.tools.ports import PACS, free_port
from tests.tools.waiting import wait_until

pytestmark = pytest.mark.network


def test_an_accepted_object_is_delivered(outbox: Outbox) -> None:
    uid = queue_report(outbox.store, outbox.spool, "pacs")
    with pacs_node(lambda _: StoreStatus.SUCCESS) as node:
        outbox.deliver_to("pacs", node.port)
        wait_until(lambda: f"{uid}@pacs" in _subjects(outbox, JobState.DONE), "delivered")
        outbox.stop.set()


@pytest.mark.parametrize("position", range(3))
def test_a_report_is_sent_as_an_accepted_class_and_the_class_is_recorded(
    outbox: Outbox, tmp_path: Path, position: int
) -> None:
    taken = REPORT_CLASSES[position:]
    uid = queue_report(outbox.store, outbox.spool, "pacs")
    arrived: list[str] = []

    def keep(event: Event) -> int:
        arrived.append(str(event.file_meta.MediaStorageSOPInstanceUID))
        return 0x0000

    with storage_archive(keep, classes=taken) as destination:
        outbox.deliver_to("pacs", destination.port)
        wait_until(lambda: f"{uid}@pacs" in _subjects(outbox, JobState.DONE), "delivered")
        outbox.stop.set()
    assert arrived == [fallback_uid(uid, taken[0])]
    with contextlib.closing(sqlite3.connect(tmp_path / "cxrd.sqlite")) as database:
        recorded = database.execute("SELECT sop_instance_uid, sop_class_uid FROM deliveries")
        assert recorded.fetchall() == [(uid, taken[0])]


@pytest.mark.parametrize("status", [StoreStatus.SOP_CLASS_MISMATCH, StoreStatus.CANNOT_UNDERSTAND])
def test_a_refused_object_is_parked_with_its_status_and_the_next_is_delivered(
    outbox: Outbox, status: StoreStatus
) -> None:
    refused = queue_report(outbox.store, outbox.spool, "pacs", number=1)
    accepted = queue_report(outbox.store, outbox.spool, "pacs", number=2)
    answers = {refused: status, accepted: StoreStatus.SUCCESS}
    with pacs_node(lambda received: answers[received.sop_instance_uid]) as node:
        outbox.deliver_to("pacs", node.port)
        wait_until(lambda: bool(outbox.jobs(JobState.PARKED)), "the refused one is parked")
        wait_until(lambda: f"{accepted}@pacs" in _subjects(outbox, JobState.DONE), "delivered")
        outbox.stop.set()
    (parked,) = outbox.jobs(JobState.PARKED)
    assert parked.subject == f"{refused}@pacs"
    assert f"0x{int(status):04X}" in (parked.last_error or "")


def test_out_of_resources_is_retried_until_it_passes(outbox: Outbox) -> None:
    uid = queue_report(outbox.store, outbox.spool, "pacs")
    answers = [StoreStatus.OUT_OF_RESOURCES, StoreStatus.OUT_OF_RESOURCES, StoreStatus.SUCCESS]
    with pacs_node(lambda _: answers.pop(0)) as node:
        outbox.deliver_to("pacs", node.port)
        wait_until(lambda: f"{uid}@pacs" in _subjects(outbox, JobState.DONE), "delivered")
        outbox.stop.set()
    assert answers == []


def test_an_object_that_waits_does_not_delay_the_next(outbox: Outbox) -> None:
    full = queue_report(outbox.store, outbox.spool, "pacs", number=1)
    fits = queue_report(outbox.store, outbox.spool, "pacs", number=2)
    answers = {full: StoreStatus.OUT_OF_RESOURCES, fits: StoreStatus.SUCCESS}
    with pacs_node(lambda received: answers[received.sop_instance_uid]) as node:
        outbox.deliver_to("pacs", node.port)
        wait_until(lambda: f"{fits}@pacs" in _subjects(outbox, JobState.DONE), "delivered", 15)
        outbox.stop.set()
    assert f"{full}@pacs" not in _subjects(outbox, JobState.DONE)


def test_deliveries_wait_for_an_unmounted_spool_and_are_not_parked(outbox: Outbox) -> None:
    uids = [queue_report(outbox.store, outbox.spool, "pacs", number=n) for n in range(3)]
    spool = outbox.spool.path("tmp").parent
    spool.rename(spool.with_name("aside"))
    with pacs_node(lambda _: StoreStatus.SUCCESS) as node:
        outbox.deliver_to("pacs", node.port)
        wait_until(
            lambda: any("mount" in (job.last_error or "") for job in outbox.jobs(JobState.QUEUED)),
            "a delivery waits for the spool",
        )
        assert {job.attempts for job in outbox.jobs(JobState.QUEUED)} == {0}
        spool.with_name("aside").rename(spool)
        wanted = {f"{uid}@pacs" for uid in uids}
        wait_until(lambda: wanted <= set(_subjects(outbox, JobState.DONE)), "all are delivered")
        outbox.stop.set()
    assert outbox.jobs(JobState.PARKED) == []


def test_an_unreadable_object_is_parked_after_some_attempts(
    outbox: Outbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(DeliveryWorker, "max_reads", 3)
    first, second = (queue_report(outbox.store, outbox.spool, "pacs", number=n) for n in (1, 2))
    made = outbox.store.results.object(first)
    assert made is not None
    path = outbox.spool.path(made.spool_path)
    path.unlink()
    path.mkdir()
    with pacs_node(lambda _: StoreStatus.SUCCESS) as node:
        outbox.deliver_to("pacs", node.port)
        wait_until(lambda: bool(outbox.jobs(JobState.PARKED)), "parked")
        wait_until(lambda: f"{second}@pacs" in _subjects(outbox, JobState.DONE), "delivered")
        outbox.stop.set()
    (parked,) = outbox.jobs(JobState.PARKED)
    assert (parked.subject, parked.attempts) == (f"{first}@pacs", 3)
    assert "Is a directory" in (parked.last_error or "")


def test_a_permanent_rejection_parks_with_the_title_to_set(outbox: Outbox) -> None:
    queue_report(outbox.store, outbox.spool, "pacs")
    with pacs_node(lambda _: StoreStatus.SUCCESS, ae_title="OTHERNAME") as node:
        outbox.deliver_to("pacs", node.port)
        wait_until(lambda: bool(outbox.jobs(JobState.PARKED)), "parked")
        outbox.stop.set()
    assert PACS in (outbox.jobs(JobState.PARKED)[0].last_error or "")


def test_a_dead_destination_delays_no_other_destination(outbox: Outbox) -> None:
    dead = [queue_report(outbox.store, outbox.spool, "dead", number=n) for n in range(3)]
    live = [queue_report(outbox.store, outbox.spool, "live", number=n) for n in range(10, 13)]
    outbox.deliver_to("dead", free_port())
    with pacs_node(lambda _: StoreStatus.SUCCESS) as node:
        outbox.deliver_to("live", node.port)
        wanted = {f"{uid}@live" for uid in live}
        wait_until(lambda: wanted <= _subjects(outbox, JobState.DONE), "the live one has all", 15)
        wait_until(lambda: any(job.last_error for job in outbox.jobs(JobState.QUEUED)), "a try")
        outbox.stop.set()
    # The worker of the dead destination may be in the middle of its next attempt.
    left = {f"{uid}@dead" for uid in dead}
    wait_until(lambda: _subjects(outbox, JobState.QUEUED) == left, "all of its jobs to wait")


@pytest.mark.slow
def test_a_slow_delivery_keeps_its_lease(outbox: Outbox, monkeypatch: pytest.MonkeyPatch) -> None:
    # A lease of two seconds, for an answer that takes four.
    monkeypatch.setattr(DeliveryWorker, "lease_margin_seconds", -28.0)
    uid = queue_report(outbox.store, outbox.spool, "pacs")
    arrived, taken_away = threading.Event(), list[Job]()

    def slowly(_: ReceivedInstance) -> StoreStatus:
        arrived.set()
        deadline = time.monotonic() + 4
        while time.monotonic() < deadline:
            taken_away.extend(outbox.store.jobs.reclaim())
            time.sleep(0.05)
        return StoreStatus.SUCCESS

    with pacs_node(slowly) as node:
        outbox.deliver_to("pacs", node.port, timeout_seconds=10.0)
        assert arrived.wait(20)
        wait_until(lambda: f"{uid}@pacs" in _subjects(outbox, JobState.DONE), "delivered")
        outbox.stop.set()
    assert taken_away == []


def test_a_missing_file_is_parked_and_the_next_is_delivered(
    outbox: Outbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(DeliveryWorker, "max_looks", 2)
    gone = queue_report(outbox.store, outbox.spool, "pacs", number=1)
    kept = queue_report(outbox.store, outbox.spool, "pacs", number=2)
    record = outbox.store.results.object(gone)
    assert record is not None
    outbox.spool.delete(record.spool_path)
    with pacs_node(lambda _: StoreStatus.SUCCESS) as node:
        outbox.deliver_to("pacs", node.port)
        wait_until(lambda: f"{kept}@pacs" in _subjects(outbox, JobState.DONE), "the other one")
        wait_until(lambda: _subjects(outbox, JobState.PARKED) == {f"{gone}@pacs"}, "parked")
        outbox.stop.set()
    (parked,) = outbox.jobs(JobState.PARKED)
    assert parked.attempts == 2


PLAIN = PLAIN_SYNTAXES[0]


@pytest.mark.parametrize("accepts", [True, False], ids=["accepted", "refused"])
@pytest.mark.parametrize(
    ("preference", "syntax"),
    [
        (PictureSyntax.HTJ2K, HTJ2K),
        (PictureSyntax.RLE, RLE),
        (PictureSyntax.JPEG_2000, JPEG_2000),
        (PictureSyntax.JPEG_BASELINE, JPEG_BASELINE),
    ],
)
def test_pictures_are_sent_as_preferred_or_uncompressed(
    outbox: Outbox, preference: PictureSyntax, syntax: str, accepts: bool
) -> None:
    uid = _queue_picture(outbox, syntax)
    came: list[tuple[str, str]] = []

    def keep(event: Event) -> int:
        came.append((str(event.dataset.SOPInstanceUID), str(event.context.transfer_syntax)))
        return 0x0000

    taken = (PLAIN, syntax) if accepts else (PLAIN,)
    with storage_archive(keep, syntaxes=taken) as destination:
        outbox.deliver_to("pacs", destination.port, preference)
        wait_until(lambda: f"{uid}@pacs" in _subjects(outbox, JobState.DONE), "delivered")
        outbox.stop.set()
    assert came == [(uid, syntax if accepts else PLAIN)]


def _queue_picture(outbox: Outbox, syntax: str) -> str:
    """Queue a heatmap as it is stored: uncompressed, except the lossy copy."""
    identity = Identity("2.25.71", "2.25.72", 1, 1, NOW)
    picture = build_capture(capture_content(full_header(), identity=identity))
    data = compressed_picture(picture)
    if syntax == JPEG_BASELINE:
        data = jpeg_copy(
            picture, sop_instance_uid="2.25.71", series_instance_uid="2.25.72", series_number=1
        )
    return queue_object(outbox.store, outbox.spool, "pacs", "2.25.71", data)


def _subjects(outbox: Outbox, state: JobState) -> set[str]:
    return {job.subject for job in outbox.jobs(state)}
