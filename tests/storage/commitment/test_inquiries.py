"""Inquiries of peers are recorded before they are accepted, and answered once per request."""

import pytest

from storage.errors import LeaseLostError, UnknownRecordError
from storage.records import Inquiry, InstanceName, JobKind, JobState, KeptFile
from storage.store import Store
from tests.builders.store_rows import LEASE, claim, new_instance, receive

CLASS = "1.2.840.10008.5.1.4.1.1.1.1"
ASKED = [InstanceName(CLASS, "1.1"), InstanceName(CLASS, "1.2")]


def test_an_inquiry_is_recorded_with_a_job_held_by_its_receiver(store: Store) -> None:
    job = store.inquiries.record("modality", "2.25.1", ASKED, "listener", LEASE)

    assert store.inquiries.get(job) == Inquiry("modality", "2.25.1", tuple(ASKED), False)
    assert (job.kind, job.lane, job.state) == (JobKind.ANSWER, "modality", JobState.RUNNING)
    assert store.jobs.claim([JobKind.ANSWER], "courier", LEASE) is None


def test_the_courier_answers_after_the_listener_died(store: Store) -> None:
    held = store.inquiries.record("modality", "2.25.1", ASKED, "listener", LEASE)

    store.jobs.release("listener")

    assert claim(store, JobKind.ANSWER).id == held.id
    with pytest.raises(LeaseLostError):
        store.inquiries.record_answered(held)


def test_a_repeated_request_is_answered_again(store: Store) -> None:
    first = store.inquiries.record("modality", "2.25.1", ASKED, "listener", LEASE)
    store.inquiries.record_answered(first)
    assert store.jobs.get(first.id).state is JobState.DONE

    # The repeated request names its instances in another order.
    second = store.inquiries.record("modality", "2.25.1", ASKED[::-1], "listener", LEASE)

    assert second.id == first.id
    assert store.inquiries.get(second).reuses_uid is False
    store.inquiries.record_answered(second)


def test_another_request_under_the_same_uid_reuses_the_uid(store: Store) -> None:
    store.inquiries.record("modality", "2.25.1", ASKED, "listener", LEASE)

    other = store.inquiries.record("modality", "2.25.1", ASKED[:1], "listener", LEASE)
    elsewhere = store.inquiries.record("other", "2.25.1", ASKED[:1], "listener", LEASE)

    assert store.inquiries.get(other).reuses_uid is True
    assert store.inquiries.get(elsewhere).reuses_uid is False


def test_the_file_of_every_revision_is_kept(store: Store) -> None:
    receive(store, "1.1")
    changed = new_instance("1.1", content="other pixels", spool_path="received/bb/bb.dcm")
    store.record_instance(changed, 0)

    kept = store.kept_files("1.1")

    assert kept == (
        KeptFile(CLASS, "received/aa/aa.dcm", new_instance("1.1").sha256),
        KeptFile(CLASS, "received/bb/bb.dcm", changed.sha256),
    )
    assert store.kept_files("1.2") == ()


def test_a_job_without_an_inquiry_is_an_error(store: Store) -> None:
    store.jobs.enqueue(JobKind.ANSWER, "404")

    with pytest.raises(UnknownRecordError, match="nothing to answer"):
        store.inquiries.get(claim(store, JobKind.ANSWER))
