"""A result is recorded in the transaction that settles its job."""

from collections.abc import Callable

import pytest

from storage.errors import AmbiguousStudyError, LeaseLostError
from storage.records import InstanceState, Job, JobKind, JobState, ObjectKind
from storage.store import Store
from tests.builders.store_rows import (
    STUDY,
    analyse,
    analysis,
    claim,
    made_object,
    new_instance,
    receive,
)
from tests.tools.clock import Clock


def test_an_analysis_is_recorded_completely_and_ends_its_job(store: Store, clock: Clock) -> None:
    (number,) = receive(store, "1.1")
    job = claim(store, JobKind.ANALYSE)
    heatmap = made_object("9.1", ObjectKind.HEATMAP, number)
    given = analysis(clock.now, objects=[heatmap])

    store.results.record_analysis(job, number, given)

    found = store.results.instance(number)
    assert found.state is InstanceState.ANALYSED
    assert found.findings == tuple(given.findings)
    assert found.objects == (heatmap,)
    assert found.notes == tuple(given.notes)
    assert (found.analysed_at, found.model_name) == (clock.now, "starter")
    assert (found.model_version, found.model_sha256) == ("1", "cd")
    assert store.jobs.get(job.id).state is JobState.DONE
    assert store.results.object("9.1") == heatmap
    assert store.jobs.list(kind=JobKind.DELIVER) == (), "a heatmap goes out with its report"


@pytest.mark.parametrize("kind", [kind for kind in ObjectKind if kind is not ObjectKind.REPORT])
def test_every_kind_of_object_is_recorded(store: Store, clock: Clock, kind: ObjectKind) -> None:
    (number,) = receive(store, "1.1")
    made = made_object("9.1", kind, number)
    given = analysis(clock.now, objects=[made])
    store.results.record_analysis(claim(store, JobKind.ANALYSE), number, given)
    assert store.results.instance(number).objects == (made,)


def test_a_refusal_names_its_reason(store: Store) -> None:
    (number,) = receive(store, "1.1")
    job = claim(store, JobKind.ANALYSE)

    store.results.record_refusal(job, number, "LATERAL_VIEW", "ViewPosition is LL", ["a note"])

    found = store.results.instance(number)
    assert found.state is InstanceState.NOT_ANALYSED
    assert (found.reason, found.detail) == ("LATERAL_VIEW", "ViewPosition is LL")
    assert found.notes == ("a note",)
    assert store.jobs.get(job.id).state is JobState.DONE


def test_a_repeated_analysis_replaces_the_first(store: Store, clock: Clock) -> None:
    (number,) = receive(store, "1.1")
    heatmap = made_object("9.1", ObjectKind.HEATMAP, number)
    for probability in (0.8, 0.7):
        job = claim(store, JobKind.ANALYSE)
        given = analysis(clock.now, probability, [heatmap])
        store.results.record_analysis(job, number, given)
        store.jobs.retry(job.id)

    found = store.results.instance(number)
    assert found.findings == tuple(given.findings)
    assert found.objects == (heatmap,)

    store.results.record_refusal(claim(store, JobKind.ANALYSE), number, "NOT_CHEST", "a knee")
    assert store.results.instance(number).findings == ()
    assert store.results.instance(number).model_name is None


def test_a_later_analysis_replaces_the_objects_of_an_instance(store: Store, clock: Clock) -> None:
    number = store.record_instance(new_instance(), quiet_seconds=0).instance_id
    by_model = {uid: made_object(uid, ObjectKind.HEATMAP, number) for uid in ("9.1", "9.2")}
    for uid in ("9.1", "9.2", "9.1"):
        store.jobs.enqueue(JobKind.ANALYSE, str(number))
        given = analysis(clock.now, objects=[by_model[uid]])
        store.results.record_analysis(claim(store, JobKind.ANALYSE), number, given)
        assert store.results.instance(number).objects == (by_model[uid],)


def test_a_study_shows_its_latest_revisions_and_pending_analyses(
    store: Store, clock: Clock
) -> None:
    receive(store, "1.1", "1.2")
    store.record_instance(new_instance("1.1", content="corrected"), 0)
    store.record_instance(new_instance("5.5", study_instance_uid="5"), 0)

    study = store.results.study(STUDY)

    assert [(item.sop_instance_uid, item.revision) for item in study.instances] == [
        ("1.2", 1),
        ("1.1", 2),
    ]
    assert (study.pending, study.reports, study.status) == (2, (), None)
    for expected in (2, 1, 0):
        analyse(store, clock.now)
        assert store.results.study(STUDY).pending == expected
    assert store.results.study("unheard of").instances == ()


def test_an_instance_received_later_in_another_study_has_moved_there(store: Store) -> None:
    receive(store, "1.1")
    other = new_instance("1.1", content="other", study_instance_uid="5")
    assert store.record_instance(other, 0).revision == 2

    for study, revisions in ((STUDY, []), ("5", [2])):
        found = store.results.study(study)
        assert [item.revision for item in found.instances] == revisions
        assert found.pending == len(revisions)


def test_two_sources_have_each_their_own_study_and_revisions_under_the_same_uids(
    store: Store,
) -> None:
    for source, content in (("north", "a"), ("south", "b"), ("north", "c"), ("south", "a")):
        store.record_instance(new_instance("1.1", content=content, source=source), 0)

    for source, content in (("north", "c"), ("south", "a")):
        found = store.results.study(STUDY, source)
        assert [(item.revision, item.sha256) for item in found.instances] == [
            (2, new_instance(content=content).sha256)
        ]
        assert len(store.kept_files("1.1", [source])) == 2
    reports = store.jobs.list(kind=JobKind.REPORT)
    assert {job.subject for job in reports} == {f"{STUDY}@north", f"{STUDY}@south"}
    with pytest.raises(AmbiguousStudyError, match="'north', 'south'"):
        store.results.study(STUDY)


@pytest.mark.parametrize("give_up", ["park", "discard"])
def test_a_parked_or_discarded_analysis_is_not_pending(store: Store, give_up: str) -> None:
    receive(store, "1.1")
    job = claim(store, JobKind.ANALYSE)
    store.jobs.fail(job, "cannot", None)
    if give_up == "discard":
        store.jobs.discard(job.id)

    assert store.results.study(STUDY).pending == 0


def record_analysis(store: Store, clock: Clock, job: Job) -> None:
    store.results.record_analysis(job, int(job.subject), analysis(clock.now))


def record_refusal(store: Store, clock: Clock, job: Job) -> None:
    store.results.record_refusal(job, int(job.subject), "NOT_CHEST", "a knee")


@pytest.mark.parametrize("record", [record_analysis, record_refusal])
def test_a_worker_without_its_lease_records_no_result(
    store: Store, clock: Clock, record: Callable[[Store, Clock, Job], None]
) -> None:
    (number,) = receive(store, "1.1")
    lost = claim(store, JobKind.ANALYSE)
    clock.advance(61)
    store.jobs.reclaim()
    before = store.results.instance(number)

    with pytest.raises(LeaseLostError):
        record(store, clock, lost)

    assert store.results.instance(number) == before
    record(store, clock, claim(store, JobKind.ANALYSE))


def test_the_patient_id_of_a_study_is_that_of_its_newest_instance(store: Store) -> None:
    store.record_instance(new_instance("1.1", patient_id="old"), 0)
    store.record_instance(new_instance("1.2", patient_id="new"), 0)
    assert store.results.patient_id("1.2.3") == "new"
    assert store.results.patient_id("9.9") == ""
