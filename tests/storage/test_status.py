"""The status of the store: counts, the newest images, and the errors of lanes."""

from datetime import timedelta

import pytest

from storage.records import Delivery, InstanceState, JobKind, JobState, StudyStatus
from storage.status import JobGroup, LaneError, ModelIdentity
from storage.store import Store
from tests.builders.store_rows import (
    LEASE,
    analyse,
    claim,
    made_object,
    new_instance,
    receive,
)
from tests.tools.clock import Clock


def queue_deliveries(store: Store, clock: Clock, number: int, *destinations: str) -> None:
    """Report a study with `number` objects for each destination."""
    receive(store, "1.1")
    analyse(store, clock.now)
    objects = [made_object(f"2.25.{index}") for index in range(number)]
    deliveries = [
        Delivery(record.sop_instance_uid, destination)
        for record in objects
        for destination in destinations
    ]
    job = claim(store, JobKind.REPORT)
    store.results.record_report(job, StudyStatus.REPORTED, "", objects, deliveries)


def fail(store: Store, clock: Clock, lane: str, error: str, retry_seconds: float | None) -> None:
    job = store.jobs.claim([JobKind.DELIVER], "courier", LEASE, lane=lane)
    assert job is not None
    retry_at = None if retry_seconds is None else clock.now + timedelta(seconds=retry_seconds)
    store.jobs.fail(job, error, retry_at)


def test_empty_store(store: Store) -> None:
    assert store.status.job_counts() == {}
    assert store.status.instance_counts() == dict.fromkeys(InstanceState, 0)
    assert store.status.recent_instances(50) == ()
    assert store.status.lane_errors(["pacs"]) == {}
    assert store.status.latest_model() is None


def test_jobs_are_counted_by_kind_state_and_lane(store: Store, clock: Clock) -> None:
    queue_deliveries(store, clock, 3, "pacs", "archive")
    fail(store, clock, "pacs", "not wanted", None)
    assert store.jobs.claim([JobKind.DELIVER], "courier", LEASE, lane="pacs")
    receive(store, "1.2")
    assert store.status.job_counts() == {
        JobGroup(JobKind.ANALYSE, JobState.DONE, None): 1,
        JobGroup(JobKind.ANALYSE, JobState.QUEUED, None): 1,
        JobGroup(JobKind.REPORT, JobState.QUEUED, None): 1,
        JobGroup(JobKind.DELIVER, JobState.PARKED, "pacs"): 1,
        JobGroup(JobKind.DELIVER, JobState.RUNNING, "pacs"): 1,
        JobGroup(JobKind.DELIVER, JobState.QUEUED, "pacs"): 1,
        JobGroup(JobKind.DELIVER, JobState.QUEUED, "archive"): 3,
    }


def test_recent_instances_come_newest_first(store: Store, clock: Clock) -> None:
    receive(store, "1.1")
    clock.advance(1)
    receive(store, "1.2")
    clock.advance(1)
    store.record_instance(new_instance("1.3", modality="CR", calling_ae_title="WARD"), 0)
    analyse(store, clock.now)
    job = claim(store, JobKind.ANALYSE)
    store.results.record_refusal(job, int(job.subject), "LATERAL_VIEW", "ViewPosition is LL")

    waiting, refused, analysed = store.status.recent_instances(50)
    assert (waiting.modality, waiting.calling_ae_title) == ("CR", "WARD")
    assert (waiting.state, waiting.positives) == (InstanceState.RECEIVED, None)
    assert (refused.state, refused.reason, refused.positives) == (
        InstanceState.NOT_ANALYSED,
        "LATERAL_VIEW",
        None,
    )
    assert (analysed.state, analysed.positives) == (InstanceState.ANALYSED, 1)
    assert analysed.received_at == clock.now - timedelta(seconds=2)
    assert store.status.recent_instances(2) == (waiting, refused)
    assert list(store.status.instance_counts().values()) == [1, 1, 1]


def test_error_of_a_lane_is_that_of_the_last_attempt(store: Store, clock: Clock) -> None:
    queue_deliveries(store, clock, 3, "pacs", "archive")
    fail(store, clock, "pacs", "not wanted", None)
    clock.advance(1)
    fail(store, clock, "pacs", "no answer", 60)
    failed_at = clock.now
    clock.advance(1)
    assert store.status.lane_errors(["pacs", "archive"]) == {
        "pacs": LaneError("no answer", failed_at)
    }


def test_error_of_a_lane_is_found_behind_a_long_queue(store: Store, clock: Clock) -> None:
    queue_deliveries(store, clock, 250, "pacs")
    fail(store, clock, "pacs", "no answer", 60)
    assert store.status.lane_errors(["pacs"])["pacs"].error == "no answer"


def test_error_of_a_lane_ends_with_a_delivery(store: Store, clock: Clock) -> None:
    queue_deliveries(store, clock, 1, "pacs")
    fail(store, clock, "pacs", "no answer", 0)
    job = store.jobs.claim([JobKind.DELIVER], "courier", LEASE, lane="pacs")
    assert job is not None
    store.results.record_delivery(job, 0)
    assert store.status.lane_errors(["pacs"]) == {}


def test_model_is_that_of_the_newest_analysis(store: Store, clock: Clock) -> None:
    receive(store, "1.1", "1.2")
    assert store.status.latest_model() is None
    analyse(store, clock.now)
    job = claim(store, JobKind.ANALYSE)
    store.results.record_refusal(job, int(job.subject), "LATERAL_VIEW", "")
    assert store.status.latest_model() == ModelIdentity("starter", "1", "cd", ("no PixelSpacing",))


@pytest.mark.parametrize("name", ["patient_id", "accession_number", "study_instance_uid"])
def test_recent_instances_do_not_name_the_patient(store: Store, name: str) -> None:
    receive(store, "1.1")
    (recent,) = store.status.recent_instances(1)
    assert not hasattr(recent, name)
