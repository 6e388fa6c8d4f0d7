"""Orders to fetch studies, and the facts that decide what is fetched when."""

from datetime import timedelta

import pytest

from storage.errors import UnknownRecordError
from storage.records import JobKind, JobState, Priority, RetrievalPurpose, StudyKey
from storage.store import Store
from tests.builders.store_rows import claim, new_instance
from tests.tools.clock import Clock

LEASE = timedelta(minutes=1)
BACKFILL = RetrievalPurpose.BACKFILL


def retrieve_job(store: Store) -> str | None:
    job = store.jobs.claim((JobKind.RETRIEVE,), "worker", LEASE, "pacs")
    return None if job is None else job.subject


def test_an_order_queues_its_studies_once(store: Store) -> None:
    number = store.retrievals.order("pacs", ["1.1", "1.2", "1.1"], BACKFILL, "ines", host="h")
    order = store.retrievals.get(number)
    assert (order.peer, order.ordered_by, order.total, order.left) == ("pacs", "ines", 2, 2)
    assert store.retrievals.list() == (order,)
    entry = list(store.audit.rows())[-1]
    assert (entry.kind, entry.actor, entry.host) == ("retrieval_ordered", "ines", "h")
    assert entry.detail == f"order {number}: 2 study(ies), backfill"


def test_urgent_studies_go_before_a_backfill(store: Store) -> None:
    store.retrievals.order("pacs", ["1.1"], BACKFILL, "ines")
    assert not store.retrievals.has_urgent("pacs")
    store.retrievals.order("pacs", ["1.2"], RetrievalPurpose.INPUT, "worker")
    store.retrievals.order("other", ["1.3"], BACKFILL, "ines", at_once=True)
    assert store.retrievals.has_urgent("pacs")
    assert store.retrievals.has_urgent("other")
    assert [retrieve_job(store) for _ in range(3)] == ["1.2@pacs", "1.1@pacs", None]
    assert not store.retrievals.has_urgent("pacs")


def test_films_have_the_priority_of_their_order(store: Store) -> None:
    store.retrievals.order("pacs", ["1.1"], BACKFILL, "ines", at_once=True)
    store.retrievals.order("pacs", ["1.2"], RetrievalPurpose.PRIOR, "worker")
    assert store.retrievals.film_priority("pacs", "1.1") is Priority.BACKFILL
    assert store.retrievals.film_priority("pacs", "1.2") is Priority.ROUTINE
    assert store.retrievals.film_priority("other", "1.1") is None
    assert store.retrievals.film_priority("pacs", "1.3") is None
    store.retrievals.order("pacs", ["1.1"], RetrievalPurpose.INPUT, "worker")
    assert store.retrievals.film_priority("pacs", "1.1") is Priority.ROUTINE
    while (job := store.jobs.claim((JobKind.RETRIEVE,), "worker", LEASE)) is not None:
        store.jobs.finish(job)
    assert store.retrievals.film_priority("pacs", "1.1") is None


def test_a_stopped_order_fetches_nothing_more(store: Store) -> None:
    first = store.retrievals.order("pacs", ["1.1", "1.2", "1.3"], BACKFILL, "ines")
    assert retrieve_job(store) == "1.1@pacs"
    store.retrievals.order("pacs", ["1.3"], BACKFILL, "tom")
    assert store.retrievals.stop(first, "tom") == 1
    assert store.retrievals.film_priority("pacs", "1.1") is Priority.BACKFILL
    stopped = store.retrievals.get(first)
    assert stopped.stopped_at is not None
    assert stopped.studies == {
        JobState.RUNNING: 1,
        JobState.DISCARDED: 1,
        JobState.QUEUED: 1,
    }
    assert retrieve_job(store) == "1.3@pacs"
    assert retrieve_job(store) is None
    with pytest.raises(UnknownRecordError):
        store.retrievals.stop(99, "tom")


def test_an_order_of_a_study_that_ended_fetches_it_again(store: Store) -> None:
    store.retrievals.order("pacs", ["1.1"], BACKFILL, "ines")
    job = store.jobs.claim((JobKind.RETRIEVE,), "worker", LEASE, "pacs")
    assert job is not None
    store.jobs.fail(job, "it is not there", None)
    number = store.retrievals.order("pacs", ["1.1"], BACKFILL, "ines")
    assert retrieve_job(store) == "1.1@pacs"
    found = store.retrievals.job_of("pacs", "1.1")
    assert found is not None
    assert found.state is JobState.RUNNING
    store.jobs.fail(found, "it is not there", None)
    assert [one.reason for one in store.retrievals.parked(number)] == ["it is not there"]
    assert store.retrievals.job_of("pacs", "1.9") is None


def test_kept_films_are_those_of_the_source(store: Store) -> None:
    store.record_instance(new_instance("1.2.3.1", source="north"), 1)
    store.record_instance(new_instance("1.2.3.2", source="south"), 1)
    study = new_instance().study_instance_uid
    assert store.retrievals.kept(StudyKey("north", study)) == {"1.2.3.1"}


def test_a_backfill_has_room_while_few_films_wait_and_no_other(store: Store, clock: Clock) -> None:
    has_room = store.retrievals.has_room
    assert has_room(1)
    store.record_instance(new_instance("1.2.3.1", priority=Priority.BACKFILL), 1)
    assert not has_room(1)
    assert has_room(2)
    claim(store, JobKind.ANALYSE)
    assert not has_room(1)
    assert has_room(2)
    store.record_instance(new_instance("1.2.4.1", content="other", study_instance_uid="1.2.4"), 1)
    assert not has_room(2)
    claim(store, JobKind.ANALYSE)
    assert has_room(2)
