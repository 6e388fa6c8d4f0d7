"""Delivery of objects that never succeed: they do not loop, block other objects or get lost."""

import datetime
import socket
import time

import pytest
from pynetdicom.events import Event

from daemon.config.peers import PeerConfig
from daemon.config.receivers import Product
from daemon.config.settings import Config
from daemon.courier import log_jobs_without_peer
from daemon.deliver.delivery_worker import DeliveryWorker
from dicom_io.receive.events import Rejection
from dicom_io.send.association import Destination
from dicom_io.send.sender import Sender
from storage.records import Job, JobKind, JobState
from tests.builders.outbox import Outbox, queue_report
from tests.servers.dicom.pacs import pacs_node
from tests.servers.dicom.storage_archive import storage_archive
from tests.tools.ports import HOST, NODE, PACS, free_port
from tests.tools.waiting import wait_until

pytestmark = pytest.mark.network

QUEUED = 12


def queue(outbox: Outbox, count: int = QUEUED) -> list[str]:
    return [queue_report(outbox.store, outbox.spool, "pacs", number=n) for n in range(count)]


def _uid_of(event: Event) -> str:
    """Return the SOP Instance UID of a C-STORE request."""
    return str(event.file_meta.MediaStorageSOPInstanceUID)


def count(outbox: Outbox, state: JobState) -> int:
    return len(outbox.jobs(state))


@pytest.mark.slow
def test_a_permanent_rejection_delays_and_keeps_the_rest_of_the_queue(
    outbox: Outbox,
) -> None:
    queue(outbox)
    rejected: list[Rejection] = []
    with pacs_node(ae_title="OTHERNAME", on_rejected=rejected.append) as node:
        outbox.deliver_to("pacs", node.port, retry_seconds=60)
        wait_until(lambda: count(outbox, JobState.PARKED) == 1, "one is parked")
        time.sleep(1.0)
        assert len(rejected) == 1
        outbox.stop.set()
    assert count(outbox, JobState.QUEUED) == QUEUED - 1


def test_after_the_fix_the_queue_is_delivered_and_parked_jobs_can_be_retried(
    outbox: Outbox,
) -> None:
    queue(outbox)
    with pacs_node(ae_title="OTHERNAME") as node:
        outbox.deliver_to("pacs", node.port)
        wait_until(lambda: count(outbox, JobState.PARKED) >= 2, "two are parked")
        port = node.port
    with pacs_node(port=port):
        wait_until(lambda: count(outbox, JobState.QUEUED) == 0, "the rest is delivered")
        parked = outbox.jobs(JobState.PARKED)
        assert 2 <= len(parked) < QUEUED
        for job in parked:
            outbox.store.jobs.retry(job.id)
        wait_until(lambda: count(outbox, JobState.DONE) == 3 * QUEUED, "everything is delivered")
        outbox.stop.set()


def test_a_transient_rejection_is_retried_and_parks_no_job(outbox: Outbox) -> None:
    queue(outbox, 3)
    rejected: list[Rejection] = []
    with pacs_node(max_associations=1, on_rejected=rejected.append) as node:
        other = Destination("pacs", PACS, HOST, node.port, NODE)
        with Sender(other):
            outbox.deliver_to("pacs", node.port)
            wait_until(lambda: len(rejected) >= 2, "two rejections")
            assert count(outbox, JobState.PARKED) == 0
        wait_until(lambda: count(outbox, JobState.DONE) == 3 * 3, "delivered")
        outbox.stop.set()


def test_a_silent_destination_is_retried(outbox: Outbox) -> None:
    queue(outbox, 2)
    with socket.create_server((HOST, 0)) as silent:
        outbox.deliver_to("pacs", silent.getsockname()[1], timeout_seconds=0.3)
        wait_until(
            lambda: any(job.last_error for job in outbox.jobs(JobState.QUEUED)), "a failed try"
        )
        outbox.stop.set()
    assert count(outbox, JobState.PARKED) == 0


def test_the_backoff_of_an_object_that_breaks_every_association_grows(
    outbox: Outbox,
) -> None:
    (poison,) = queue(outbox, 1)

    def answer(event: Event) -> int:
        if _uid_of(event) == poison:
            assert event.assoc.dul.socket is not None
            event.assoc.dul.socket.close()
        return 0x0000

    def poisoned() -> Job:
        return next(job for job in outbox.store.jobs.list() if job.subject == f"{poison}@pacs")

    with storage_archive(answer) as destination:
        outbox.deliver_to("pacs", destination.port, retry_seconds=0.2)
        for number in range(1, 4):
            uid = queue_report(outbox.store, outbox.spool, "pacs", number)
            wait_until(lambda: poisoned().attempts >= number, "another try")  # noqa: B023
            delivered = f"{uid}@pacs"
            wait_until(
                lambda: delivered in {job.subject for job in outbox.jobs(JobState.DONE)},  # noqa: B023
                "the good one is delivered",
            )
        # 0.4 s less a quarter: the wait has doubled although other objects were delivered.
        long = datetime.timedelta(seconds=0.29)
        wait_until(lambda: poisoned().not_before - poisoned().updated_at > long, "a longer wait")
        outbox.stop.set()


def test_an_altered_object_is_parked_and_not_sent(
    outbox: Outbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(DeliveryWorker, "max_looks", 1)
    altered, kept = queue(outbox, 2)
    record = outbox.store.results.object(altered)
    assert record is not None
    path = outbox.spool.path(record.spool_path)
    data = bytearray(path.read_bytes())
    data[-20] ^= 0xFF
    path.write_bytes(data)
    sent = []

    def answer(event: Event) -> int:
        sent.append(_uid_of(event))
        return 0x0000

    with storage_archive(answer) as destination:
        outbox.deliver_to("pacs", destination.port)
        wait_until(lambda: sent == [kept], "the other one is delivered")
        outbox.stop.set()
    (parked,) = outbox.jobs(JobState.PARKED)
    assert parked.subject == f"{altered}@pacs"
    assert "has changed since it was written" in (parked.last_error or "")


def test_a_retried_delivery_of_a_purged_object_is_parked_with_the_day(outbox: Outbox) -> None:
    (uid,) = queue(outbox, 1)
    with storage_archive() as destination:
        outbox.deliver_to("pacs", destination.port)
        wait_until(lambda: count(outbox, JobState.DONE) == 3, "delivered")
        future = datetime.datetime.now(datetime.UTC) + datetime.timedelta(days=1)
        assert len(list(outbox.store.retention.purge(outbox.spool, future, ()))) == 1
        (job,) = [job for job in outbox.jobs(JobState.DONE) if job.subject == f"{uid}@pacs"]
        outbox.store.jobs.retry(job.id)
        wait_until(lambda: count(outbox, JobState.PARKED) == 1, "parked")
        outbox.stop.set()
    assert "was purged on 20" in (outbox.jobs(JobState.PARKED)[0].last_error or "")


def test_deliveries_to_a_removed_destination_are_logged_and_kept(
    outbox: Outbox, caplog: pytest.LogCaptureFixture
) -> None:
    queue(outbox, 3)
    here = PeerConfig(
        name="new", ae_title=PACS, host=HOST, port=free_port(), receives=(Product.REPORT,)
    )
    log_jobs_without_peer(Config(peers=(here,)), outbox.store)
    assert (
        "3 delivery(ies) wait for pacs, for which the configuration has no such work" in caplog.text
    )
    assert count(outbox, JobState.QUEUED) == 3


@pytest.mark.parametrize(
    ("kind", "jobs"), [(JobKind.COMMIT, "request(s)"), (JobKind.ANSWER, "answer(s) to a request")]
)
def test_jobs_for_a_peer_without_commitment_are_logged(
    outbox: Outbox, caplog: pytest.LogCaptureFixture, kind: JobKind, jobs: str
) -> None:
    peer = PeerConfig(
        name="pacs", ae_title=PACS, host=HOST, port=free_port(), receives=(Product.REPORT,)
    )
    outbox.store.jobs.enqueue(kind, "study@pacs", lane="pacs")
    log_jobs_without_peer(Config(peers=(peer,)), outbox.store)
    assert f"1 {jobs} for commitment wait for pacs, for which" in caplog.text
    caplog.clear()
    asked = peer.model_copy(update={"commitment": True})
    log_jobs_without_peer(Config(peers=(asked,)), outbox.store)
    assert caplog.text == ""
