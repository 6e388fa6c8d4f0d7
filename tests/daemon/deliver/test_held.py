"""Deliveries of a study in doubt are parked, and no retry sends them."""

import pytest

from storage.records import JobKind, JobState, StudyStatus
from tests.builders.outbox import Outbox, queue_report
from tests.builders.store_rows import SOURCE, claim, new_instance
from tests.servers.dicom.pacs import RecordingPacs
from tests.tools.waiting import wait_until

pytestmark = pytest.mark.network


@pytest.mark.parametrize(
    ("is_over", "reason"),
    [(False, "the study is in doubt"), (True, "the result does not count any more")],
)
def test_a_retry_sends_no_result_of_a_held_study(
    outbox: Outbox, pacs: RecordingPacs, is_over: bool, reason: str
) -> None:
    queue_report(outbox.store, outbox.spool, "pacs")
    stranger = new_instance("1.9", study_instance_uid="2.25.81", source=SOURCE, patient_id="P2")
    outbox.store.record_instance(stranger, 0)
    if is_over:
        outbox.store.studies.release("2.25.81", ["2.25.91", "1.9"])
        job = claim(outbox.store, JobKind.REPORT)
        outbox.store.results.record_report(job, StudyStatus.NO_ELIGIBLE_IMAGE, "")
    (delivery,) = outbox.store.jobs.list(kind=JobKind.DELIVER)
    outbox.store.jobs.retry(delivery.id)

    outbox.deliver_to("pacs", pacs.port)

    wait_until(lambda: bool(outbox.deliveries(JobState.PARKED)), "the delivery is parked")
    (parked,) = outbox.deliveries(JobState.PARKED)
    assert (parked.last_error or "").startswith(reason)
    assert not pacs.counts
