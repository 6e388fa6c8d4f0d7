"""Corrections that come at a bad moment: during a report, before results left, twice."""

import pytest

from storage.errors import StudyChangedError
from storage.images.doubt import KEY_OBJECT_SELECTION
from storage.records import (
    Delivery,
    JobKind,
    JobState,
    Rejection,
    Standing,
    StudyStatus,
)
from storage.store import Store
from tests.builders.store_rows import STUDY, claim, made_object, new_instance
from tests.builders.study_rows import analyse_films, receive_film, report_study
from tests.tools.clock import Clock


def analyse_all(store: Store, clock: Clock) -> None:
    analyse_films(store, clock)
    clock.advance(1)


def report(store: Store, uid: str, *heatmaps: str) -> None:
    assert report_study(store, uid, *heatmaps) is None


def deliveries(store: Store) -> dict[str, JobState]:
    return {
        job.subject.removesuffix("@PACS"): job.state
        for job in store.jobs.list(kind=JobKind.DELIVER)
    }


@pytest.mark.parametrize("change", ["another patient", "another study", "rejected", "another film"])
def test_a_report_of_what_the_study_held_before_is_not_recorded(
    store: Store, clock: Clock, change: str
) -> None:
    receive_film(store, "1.1", "A")
    note = new_instance("1.9", patient_id="A", sop_class_uid=KEY_OBJECT_SELECTION)
    analyse_all(store, clock)
    if change == "rejected":
        store.record_instance(note, 0)
        noted = claim(store, JobKind.ANALYSE)
    job = claim(store, JobKind.REPORT)

    if change == "rejected":
        store.results.record_rejection(
            noted, int(noted.subject), "REJECTION_NOTE", "", Rejection("113001", ("1.1",))
        )
    elif change == "another study":
        receive_film(store, "1.2", "A")
        receive_film(store, "1.2", "A ", study="1.2.4")
        store.studies.release(STUDY)
    else:
        receive_film(store, *(("1.2", "A") if change == "another film" else ("1.1", "B")))

    with pytest.raises(StudyChangedError):
        store.results.record_report(
            job, StudyStatus.REPORTED, "", [made_object("9.1")], [Delivery("9.1", "PACS")]
        )
    assert store.results.object("9.1") is None
    assert deliveries(store) == {}
    assert claim(store, JobKind.REPORT).id == job.id


def test_a_correction_before_results_left_is_settled_by_the_next_report(
    store: Store, clock: Clock
) -> None:
    """Later receptions ask no more about a patient of whom nothing has left."""
    receive_film(store, "1.1", "A")
    analyse_all(store, clock)
    receive_film(store, "1.1", "B")
    analyse_all(store, clock)
    report(store, "9.1")
    store.results.record_delivery(claim(store, JobKind.DELIVER), 0x0000)

    receive_film(store, "1.2", "B")
    analyse_all(store, clock)

    assert store.results.study(STUDY).hold is None
    report(store, "9.2")
    found = [store.results.object(uid) for uid in ("9.1", "9.2")]
    assert [item.standing for item in found if item] == [Standing.SUPERSEDED, Standing.VALID]


def test_a_film_like_a_replaced_revision_is_compared_with_the_others(
    store: Store, clock: Clock
) -> None:
    receive_film(store, "1.1", "A")
    analyse_all(store, clock)
    receive_film(store, "1.1", "B")

    receive_film(store, "1.2", "A")

    assert store.results.study(STUDY).status is StudyStatus.HELD


def test_a_correction_taken_back_sends_the_pictures_that_were_withdrawn(
    store: Store, clock: Clock
) -> None:
    receive_film(store, "1.1", "A")
    analyse_all(store, clock)
    report(store, "9.1", "5.1")
    receive_film(store, "1.1", "B")
    analyse_all(store, clock)
    report(store, "9.2", "5.2")
    discarded = next(job for job in store.jobs.list() if job.subject == "5.1@PACS")
    assert (discarded.state, discarded.last_error) == (
        JobState.DISCARDED,
        "the result does not count any more: its film or its study has changed",
    )

    receive_film(store, "1.1", "A")
    analyse_all(store, clock)
    report(store, "9.3", "5.1")

    assert deliveries(store) == {
        "5.1": JobState.QUEUED,
        "9.1": JobState.DISCARDED,
        "5.2": JobState.DISCARDED,
        "9.2": JobState.DISCARDED,
        "9.3": JobState.QUEUED,
    }


def test_a_delivery_that_an_operator_discarded_stays_so(store: Store, clock: Clock) -> None:
    receive_film(store, "1.1", "A")
    analyse_all(store, clock)
    report(store, "9.1", "5.1")
    receive_film(store, "1.2", "B")
    discarded = next(job for job in store.jobs.list() if job.subject == "5.1@PACS")
    store.jobs.discard(discarded.id)

    store.studies.release(STUDY, ["1.2"])
    store.results.record_report(
        claim(store, JobKind.REPORT), StudyStatus.UNCHANGED, "", current=("9.1",)
    )

    assert deliveries(store) == {"5.1": JobState.DISCARDED, "9.1": JobState.QUEUED}


def test_a_released_study_without_a_report_is_held_no_longer(store: Store, clock: Clock) -> None:
    receive_film(store, "1.1", "A")
    receive_film(store, "1.2", "B")
    analyse_all(store, clock)
    assert store.results.study(STUDY).status is StudyStatus.HELD
    store.studies.release(STUDY, ["1.2"])

    store.results.record_report(claim(store, JobKind.REPORT), StudyStatus.UNCHANGED, "purged")

    study = store.results.study(STUDY)
    assert (study.status, study.detail) == (StudyStatus.UNCHANGED, "purged")
