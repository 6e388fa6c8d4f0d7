"""Responses that name another object, and a delivery that an operator sends again at once."""

import time

import pytest
from pydicom import Dataset
from pynetdicom.events import Event

from daemon.deliver.delivery_worker import DeliveryWorker
from storage.records import JobState
from tests.builders.outbox import Outbox, queue_report
from tests.servers.dicom.pacs import pacs_node
from tests.servers.dicom.storage_archive import storage_archive
from tests.tools.ports import free_port
from tests.tools.waiting import wait_until

pytestmark = pytest.mark.network


class Coercing:
    """Answers each object with a status and a UID of its own choice."""

    def __init__(self, status: int) -> None:
        self.status = status
        self.arrived = 0

    def __call__(self, _: Event) -> Dataset:
        self.arrived += 1
        answer = Dataset()
        answer.Status = self.status
        answer.AffectedSOPInstanceUID = f"2.25.500{self.arrived}"
        return answer


def test_a_coerced_object_is_delivered_once_and_its_uid_recorded(outbox: Outbox) -> None:
    queue_report(outbox.store, outbox.spool, "pacs")
    archive = Coercing(0xB000)
    with storage_archive(archive) as there:
        outbox.deliver_to("pacs", there.port)
        wait_until(lambda: bool(outbox.deliveries(JobState.DONE)), "delivered")
        time.sleep(0.6)
        outbox.stop.set()
    assert archive.arrived == 1
    (job,) = outbox.deliveries(JobState.DONE)
    assert outbox.store.results.delivery(job).coerced_uid == "2.25.5001"
    details = [row.detail for row in outbox.store.audit.rows() if row.kind == "object_delivered"]
    assert details == ["status 0xB000, kept there as 2.25.5001"]


def test_an_object_whose_responses_name_another_is_parked_in_the_end(
    outbox: Outbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(DeliveryWorker, "max_unmatched", 2)
    queue_report(outbox.store, outbox.spool, "pacs")
    archive = Coercing(0x0000)
    with storage_archive(archive) as there:
        outbox.deliver_to("pacs", there.port, retry_seconds=0.1)
        wait_until(lambda: bool(outbox.deliveries(JobState.PARKED)), "parked", 20)
        outbox.stop.set()
    (job,) = outbox.deliveries(JobState.PARKED)
    assert "another SOP Instance UID" in (job.last_error or "")
    assert (job.attempts, archive.arrived) == (2, 2)


@pytest.mark.parametrize("which", ["failed", pytest.param("waiting", marks=pytest.mark.slow)])
def test_a_retry_by_hand_is_tried_at_once(outbox: Outbox, which: str) -> None:
    port = free_port()
    for number in range(2):
        queue_report(outbox.store, outbox.spool, "pacs", number=number)
    outbox.deliver_to("pacs", port, retry_seconds=300)
    wait_until(lambda: any(job.last_error for job in outbox.deliveries(JobState.QUEUED)), "failed")
    with pacs_node(port=port):
        time.sleep(1.5)
        assert len(outbox.deliveries(JobState.QUEUED)) == 2
        (job,) = (
            job
            for job in outbox.deliveries(JobState.QUEUED)
            if bool(job.last_error) is (which == "failed")
        )
        outbox.store.jobs.retry(job.id)
        wait_until(lambda: outbox.store.jobs.get(job.id).state is JobState.DONE, "delivered", 5)
        outbox.stop.set()


@pytest.mark.slow
def test_a_new_delivery_does_not_end_the_wait(outbox: Outbox) -> None:
    port = free_port()
    queue_report(outbox.store, outbox.spool, "pacs")
    outbox.deliver_to("pacs", port, retry_seconds=300)
    wait_until(lambda: any(job.last_error for job in outbox.deliveries(JobState.QUEUED)), "failed")
    with pacs_node(port=port):
        queue_report(outbox.store, outbox.spool, "pacs", number=2)
        time.sleep(2.5)
        assert len(outbox.deliveries(JobState.QUEUED)) == 2
        outbox.stop.set()
