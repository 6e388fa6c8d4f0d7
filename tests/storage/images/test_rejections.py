"""A rejection note withdraws films of its source, and the results that rest on them."""

import threading
from datetime import timedelta

import pytest

from storage.images.doubt import KEY_OBJECT_SELECTION
from storage.images.receipt import Reception, record_receptions
from storage.records import (
    JobKind,
    JobState,
    ObjectKind,
    Receipt,
    Rejection,
    Standing,
    StudyStatus,
)
from storage.store import Store
from storage.tables.database import Database, open_engine
from tests.builders.store_rows import STUDY, analysis, claim, made_object, new_instance
from tests.builders.study_rows import report_study
from tests.tools.clock import Clock


def receive(store: Store, uid: str, source: str = "", patient: str = "P1") -> int:
    image = new_instance(uid, f"{uid} {source}", source=source, patient_id=patient)
    return store.record_instance(image, 0).instance_id


def receive_note(store: Store, source: str = "", patient: str = "P1") -> int:
    note = new_instance(
        "1.9", source, source=source, sop_class_uid=KEY_OBJECT_SELECTION, patient_id=patient
    )
    return store.record_instance(note, 0).instance_id


def analyse_all(store: Store, clock: Clock, reject: Rejection | None = None) -> None:
    """Analyse every image, with a heatmap each; the note rejects."""
    while job := store.jobs.claim([JobKind.ANALYSE], "analyst", timedelta(seconds=60)):
        number = int(job.subject)
        if store.results.instance(number).sop_class_uid == KEY_OBJECT_SELECTION:
            assert reject is not None
            store.results.record_rejection(job, number, "REJECTION_NOTE", "withdrawn", reject)
        else:
            heatmap = made_object(f"5.{number}", ObjectKind.HEATMAP, number)
            store.results.record_analysis(job, number, analysis(clock.now, objects=[heatmap]))


def report(store: Store, uid: str, *heatmaps: str) -> None:
    assert report_study(store, uid, *heatmaps) is None


def standing(store: Store, uid: str) -> Standing:
    record = store.results.object(uid)
    assert record is not None
    return record.standing


def deliveries(store: Store) -> dict[str, JobState]:
    return {job.subject: job.state for job in store.jobs.list(kind=JobKind.DELIVER)}


@pytest.mark.parametrize("code", ["113001", "113037", "113038"])
def test_a_rejected_film_takes_its_results_along(store: Store, clock: Clock, code: str) -> None:
    receive(store, "1.1")
    receive(store, "1.2")
    analyse_all(store, clock)
    report(store, "9.1", "5.1", "5.2")
    clock.advance(1)
    receive_note(store)
    analyse_all(store, clock, Rejection(code, ("1.2", "7.7")))

    study = store.results.study(STUDY)
    assert {item.sop_instance_uid: item.rejected_by for item in study.instances} == {
        "1.1": None,
        "1.2": code,
        "1.9": None,
    }
    assert standing(store, "5.2") is Standing.REJECTED
    assert set(deliveries(store).values()) == {JobState.PARKED}

    report(store, "9.2", "5.1")

    assert [standing(store, uid) for uid in ("5.1", "5.2", "9.1", "9.2")] == [
        Standing.VALID,
        Standing.REJECTED,
        Standing.SUPERSEDED,
        Standing.VALID,
    ]
    assert deliveries(store) == {
        "5.1@PACS": JobState.QUEUED,
        "5.2@PACS": JobState.DISCARDED,
        "9.1@PACS": JobState.DISCARDED,
        "9.2@PACS": JobState.QUEUED,
    }
    row = next(row for row in store.audit.rows() if row.kind == "instances_rejected")
    assert row.detail == "withdrawn; 1 of them here"


def test_results_are_rejected_where_no_film_is_left(store: Store, clock: Clock) -> None:
    receive(store, "1.1")
    analyse_all(store, clock)
    report(store, "9.1", "5.1")
    receive_note(store)
    analyse_all(store, clock, Rejection("113001", ("1.1",)))
    job = claim(store, JobKind.REPORT)
    store.results.record_report(job, StudyStatus.NO_ELIGIBLE_IMAGE, "every image was rejected")

    assert standing(store, "9.1") is Standing.REJECTED
    assert standing(store, "5.1") is Standing.REJECTED
    assert set(deliveries(store).values()) == {JobState.DISCARDED}


def test_a_film_that_comes_after_its_note_is_rejected(store: Store, clock: Clock) -> None:
    receive_note(store)
    analyse_all(store, clock, Rejection("113037", ("1.1",)))
    number = receive(store, "1.1")
    assert store.results.instance(number).rejected_by == "113037"


@pytest.mark.parametrize("moves_first", [True, False])
def test_a_note_explains_a_film_that_moved_to_another_study(
    store: Store, clock: Clock, moves_first: bool
) -> None:
    old = receive(store, "1.1")
    analyse_all(store, clock)
    report(store, "9.1", "5.1")
    moved = new_instance("1.1", "moved", study_instance_uid="1.2.4", patient_id="P2")
    note = Rejection("113037", ("1.1",))
    if moves_first:
        new = store.record_instance(moved, 0).instance_id
        assert store.results.study(STUDY).hold is not None
        receive_note(store)
        analyse_all(store, clock, note)
    else:
        receive_note(store)
        analyse_all(store, clock, note)
        new = store.record_instance(moved, 0).instance_id

    assert store.results.instance(old).rejected_by == "113037"
    assert store.results.instance(new).rejected_by is None
    assert [store.results.study(uid).hold for uid in (STUDY, "1.2.4")] == [None, None]


def test_a_note_acts_on_films_of_its_own_source_only(store: Store, clock: Clock) -> None:
    ours, theirs = receive(store, "1.1", "north"), receive(store, "1.1", "south")
    receive_note(store, "south")
    analyse_all(store, clock, Rejection("113001", ("1.1",)))
    later = receive(store, "1.3", "north")
    assert store.results.instance(ours).rejected_by is None
    assert store.results.instance(theirs).rejected_by == "113001"
    assert store.results.instance(later).rejected_by is None


def test_an_expired_retention_time_only_marks_the_film(store: Store, clock: Clock) -> None:
    number = receive(store, "1.1")
    analyse_all(store, clock)
    report(store, "9.1", "5.1")
    receive_note(store)
    analyse_all(store, clock, Rejection("113039", ("1.1",)))

    instance = store.results.instance(number)
    assert (instance.rejected_by, instance.is_rejected) == ("113039", False)
    assert standing(store, "9.1") is Standing.VALID
    assert set(deliveries(store).values()) == {JobState.QUEUED}


def test_a_withdrawal_counts_for_more_than_an_expired_retention_time(
    store: Store, clock: Clock
) -> None:
    number = receive(store, "1.1")
    receive_note(store)
    analyse_all(store, clock, Rejection("113001", ("1.1",)))
    again = store.record_instance(
        new_instance("1.8", "expired", sop_class_uid=KEY_OBJECT_SELECTION), 0
    )
    job = claim(store, JobKind.ANALYSE)
    assert int(job.subject) == again.instance_id
    expired = Rejection("113039", ("1.1",))
    store.results.record_rejection(job, again.instance_id, "REJECTION_NOTE", "", expired)
    assert store.results.instance(number).rejected_by == "113001"


def test_the_rejection_of_the_other_patients_film_ends_the_doubt(
    store: Store, clock: Clock
) -> None:
    receive(store, "1.1", patient="A")
    receive(store, "1.2", patient="B")
    assert store.results.study(STUDY).status is StudyStatus.HELD
    receive_note(store, patient="B")
    analyse_all(store, clock, Rejection("113038", ("1.2",)))

    assert store.results.study(STUDY).hold is None
    report(store, "9.1", "5.1")
    assert deliveries(store) == {"5.1@PACS": JobState.QUEUED, "9.1@PACS": JobState.QUEUED}


def test_a_note_waits_for_a_film_that_is_being_received(
    store: Store, clock: Clock, database_url: str
) -> None:
    """The film is of another study, so that the lock of the study is not the one waited for."""
    number = receive_note(store)
    job = claim(store, JobKind.ANALYSE)
    rejection = Rejection("113001", ("1.1",))
    noted = threading.Thread(
        target=store.results.record_rejection, args=(job, number, "REJECTION_NOTE", "", rejection)
    )
    film = new_instance("1.1", study_instance_uid="1.2.4")
    listener = Database(open_engine(database_url, create=False))
    with listener.writing() as connection:
        (received,) = record_receptions(
            listener, connection, [Reception(film, timedelta(0))], clock.now
        )
        assert isinstance(received, Receipt)
        noted.start()
        noted.join(0.5)
        assert noted.is_alive()
    noted.join()
    listener.engine.dispose()

    assert store.results.instance(received.instance_id).rejected_by == "113001"


def test_a_study_of_rejected_films_is_purged(store: Store, clock: Clock) -> None:
    receive_note(store)
    receive(store, "1.1")
    analyse_all(store, clock, Rejection("113001", ("1.1",)))
    store.results.record_report(claim(store, JobKind.REPORT), StudyStatus.NO_ELIGIBLE_IMAGE, "")
    clock.advance(86400)

    (old,) = store.retention.old_studies(clock.now, ())
    assert (old.objects, old.hold) == (1, None)
