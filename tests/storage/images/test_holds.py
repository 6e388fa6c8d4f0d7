"""A study of two patients, or of a film that moved, is held until it is one patient's again."""

from datetime import timedelta

import pytest

from storage.audit.records import parse_subject
from storage.errors import StudyHeldError, UnknownRecordError
from storage.records import (
    JobKind,
    JobState,
    Standing,
    StudyStatus,
)
from storage.store import Store
from tests.builders.store_rows import STUDY, claim, new_instance
from tests.builders.study_rows import analyse_films, receive_film, report_study
from tests.tools.clock import Clock

OTHER = "1.2.4"


def deliver(store: Store) -> None:
    store.results.record_delivery(claim(store, JobKind.DELIVER), 0x0000)


def standings(store: Store, *uids: str) -> list[Standing]:
    found = [store.results.object(uid) for uid in uids]
    return [record.standing for record in found if record is not None]


def states(store: Store, kind: JobKind) -> list[JobState]:
    return [job.state for job in reversed(store.jobs.list(kind=kind))]


def test_nothing_of_a_study_of_two_patients_leaves(store: Store, clock: Clock) -> None:
    receive_film(store, "1.1", "A")
    receive_film(store, "1.2", "B")
    analyse_films(store, clock)

    hold = report_study(store, "9.1", "5.1", "5.2")

    assert hold is not None
    assert str(hold).startswith("TWO_PATIENTS: the study holds films of 2 patients")
    assert "patient 1: 1.1" in hold.detail
    assert "patient 2: 1.2" in hold.detail
    study = store.results.study(STUDY)
    assert (study.status, study.detail) == (StudyStatus.HELD, str(hold))
    assert study.reports == ()
    assert store.jobs.list(kind=JobKind.DELIVER) == ()
    (job,) = store.jobs.list(kind=JobKind.REPORT)
    assert (job.state, job.last_error) == (JobState.PARKED, str(hold))
    row = next(row for row in store.audit.rows() if row.kind == "study_held")
    assert parse_subject(row.subject) == {"study": STUDY}
    assert "1.1" not in row.detail


def test_a_second_patient_stops_what_is_queued_and_marks_what_has_left(
    store: Store, clock: Clock
) -> None:
    receive_film(store, "1.1", "A")
    analyse_films(store, clock)
    report_study(store, "9.1", "5.1")
    deliver(store)
    clock.advance(1)

    receive_film(store, "1.2", "B")

    assert states(store, JobKind.DELIVER) == [JobState.DONE, JobState.PARKED]
    assert "TWO_PATIENTS" in (store.jobs.list(kind=JobKind.DELIVER)[0].last_error or "")
    assert standings(store, "5.1", "9.1") == [Standing.IN_DOUBT] * 2
    assert store.results.study(STUDY).status is StudyStatus.HELD
    (held,) = store.studies.held()
    assert [[film.sop_instance_uid for film in films] for films in held.patients] == [
        ["1.1"],
        ["1.2"],
    ]


@pytest.mark.parametrize("retry", ["by the courier", "by an operator", "by a commitment"])
def test_a_delivery_of_a_held_study_is_known_as_held(
    store: Store, clock: Clock, retry: str
) -> None:
    receive_film(store, "1.1", "A")
    analyse_films(store, clock)
    report_study(store, "9.1")
    running = claim(store, JobKind.DELIVER)
    assert not store.results.delivery(running).is_held

    receive_film(store, "1.2", "B")
    if retry == "by a commitment":
        store.results.record_delivery(running, 0x0000)
        store.jobs.enqueue(JobKind.DELIVER, running.subject, lane="PACS")
    elif retry == "by the courier":
        store.jobs.fail(running, "no answer", clock.now)
    else:
        store.jobs.fail(running, "no answer", None)
        store.jobs.retry(running.id)

    assert store.results.delivery(claim(store, JobKind.DELIVER)).is_held


def test_a_release_drops_films_and_one_report_is_made_of_the_others(
    store: Store, clock: Clock
) -> None:
    receive_film(store, "1.1", "A")
    receive_film(store, "1.2", "B")
    analyse_films(store, clock)
    report_study(store, "9.1", "5.1", "5.2")

    with pytest.raises(UnknownRecordError, match=r"no instance 7\.7"):
        store.studies.release(STUDY, ["1.2", "7.7"])
    with pytest.raises(StudyHeldError, match="stays held"):
        store.studies.release(STUDY)
    assert store.results.instance(2).set_aside_at is None
    with pytest.raises(UnknownRecordError):
        store.studies.release("7.8")

    store.studies.release(STUDY, ["1.2"], actor="alice")

    assert [item.sop_instance_uid for item in store.results.study(STUDY).instances] == ["1.1"]
    assert report_study(store, "9.2", "5.1") is None
    deliver(store)
    deliver(store)
    study = store.results.study(STUDY)
    assert (study.status, len(study.reports)) == (StudyStatus.REPORTED, 1)
    assert standings(store, "5.1", "5.2", "9.2") == [
        Standing.VALID,
        Standing.SUPERSEDED,
        Standing.VALID,
    ]
    assert store.studies.held() == ()
    row = next(row for row in store.audit.rows() if row.kind == "study_released")
    assert (row.actor, row.detail) == ("alice", "set aside: 1.2; 0 earlier revision(s)")
    with pytest.raises(StudyHeldError, match="not held"):
        store.studies.release(STUDY, ["1.1"])


def test_a_release_sends_what_was_held_and_is_right(store: Store, clock: Clock) -> None:
    receive_film(store, "1.1", "A")
    analyse_films(store, clock)
    report_study(store, "9.1", "5.1")
    deliver(store)
    receive_film(store, "1.2", "B")
    analyse_films(store, clock)
    store.studies.release(STUDY, ["1.2"])

    store.results.record_report(
        claim(store, JobKind.REPORT), StudyStatus.UNCHANGED, "reported", current=("9.1",)
    )

    assert standings(store, "9.1", "5.1", "5.2") == [
        Standing.VALID,
        Standing.VALID,
        Standing.SUPERSEDED,
    ]
    assert states(store, JobKind.DELIVER) == [JobState.DONE, JobState.QUEUED]
    assert not store.results.delivery(claim(store, JobKind.DELIVER)).is_held
    assert store.results.study(STUDY).status is StudyStatus.REPORTED


def test_a_film_sent_again_under_the_right_patient_ends_the_hold(
    store: Store, clock: Clock
) -> None:
    receive_film(store, "1.1", "A")
    receive_film(store, "1.2", "B")
    analyse_films(store, clock)
    assert report_study(store, "9.1") is not None
    clock.advance(1)

    receive_film(store, "1.2", "A")
    analyse_films(store, clock)
    clock.advance(1)

    assert report_study(store, "9.2", "5.1", "5.3") is None
    for _ in range(3):
        deliver(store)
    assert standings(store, "5.2", "5.3", "9.2") == [
        Standing.SUPERSEDED,
        Standing.VALID,
        Standing.VALID,
    ]
    assert store.studies.held() == ()


def test_a_film_sent_again_before_its_report_has_left_is_decided_by_the_next_report(
    store: Store, clock: Clock
) -> None:
    receive_film(store, "1.1", "A")
    analyse_films(store, clock)
    report_study(store, "9.1", "5.1")
    clock.advance(1)

    receive_film(store, "1.1", "B")
    assert states(store, JobKind.DELIVER) == [JobState.PARKED] * 2
    analyse_films(store, clock)
    assert report_study(store, "9.2", "5.2") is None

    assert standings(store, "9.1", "5.1", "9.2", "5.2") == [
        Standing.SUPERSEDED,
        Standing.SUPERSEDED,
        Standing.VALID,
        Standing.VALID,
    ]
    left = [store.results.delivery(claim(store, JobKind.DELIVER)) for _ in range(2)]
    assert [item.object.sop_instance_uid for item in left] == ["5.2", "9.2"]
    assert store.jobs.claim([JobKind.DELIVER], "courier", timedelta(seconds=9)) is None


def test_a_film_sent_again_under_another_patient_after_its_report_has_left_needs_a_person(
    store: Store, clock: Clock
) -> None:
    receive_film(store, "1.1", "A")
    analyse_films(store, clock)
    report_study(store, "9.1", "5.1")
    deliver(store)
    deliver(store)
    clock.advance(1)

    receive_film(store, "1.1", "B")
    analyse_films(store, clock)

    hold = report_study(store, "9.2", "5.2")
    assert hold is not None
    assert str(hold).startswith("TWO_PATIENTS: results have left")
    assert standings(store, "9.1", "5.1") == [Standing.IN_DOUBT] * 2

    (held,) = store.studies.held()
    assert [[film.revision for film in films] for films in held.patients] == [[1], [2]]

    store.studies.release(STUDY)
    assert report_study(store, "9.2", "5.2") is None
    assert standings(store, "9.1", "5.1", "9.2", "5.2") == [
        Standing.SUPERSEDED,
        Standing.SUPERSEDED,
        Standing.VALID,
        Standing.VALID,
    ]
    assert [item.patient_id for item in store.results.study(STUDY).instances] == ["B"]


def test_a_film_sent_again_in_another_study_holds_the_first(store: Store, clock: Clock) -> None:
    receive_film(store, "1.1", "A")
    receive_film(store, "1.2", "A")
    analyse_films(store, clock)
    report_study(store, "9.1", "5.1", "5.2")
    deliver(store)
    clock.advance(1)

    receive_film(store, "1.1", "B", study=OTHER)

    first, second = store.results.study(STUDY), store.results.study(OTHER)
    assert first.hold is not None
    assert str(first.hold).startswith("FILM_MOVED: a film was sent again in another study (1.1)")
    assert first.status is StudyStatus.HELD
    assert standings(store, "9.1", "5.1", "5.2") == [Standing.IN_DOUBT] * 3
    assert states(store, JobKind.DELIVER) == [
        JobState.DONE,
        JobState.PARKED,
        JobState.PARKED,
    ]
    assert (second.hold, len(second.instances)) == (None, 1)
    report_of_first = next(
        job for job in store.jobs.list(kind=JobKind.REPORT) if job.subject == f"{STUDY}@"
    )
    assert report_of_first.state is JobState.QUEUED

    store.studies.release(STUDY)
    study = store.results.study(STUDY)
    assert study.hold is None
    assert [item.sop_instance_uid for item in study.instances] == ["1.2"]


def test_a_film_that_comes_back_ends_the_hold_of_its_study(store: Store, clock: Clock) -> None:
    receive_film(store, "1.1", "A", "first")
    receive_film(store, "1.1", "A", "second", study=OTHER)
    assert store.results.study(STUDY).hold is not None

    receive_film(store, "1.1", "A", "third")

    assert store.results.study(STUDY).hold is None
    moved = store.results.study(OTHER).hold
    assert moved is not None
    assert moved.reason == "FILM_MOVED"


def test_a_result_of_ours_sent_back_under_an_old_identity_is_no_film(
    store: Store, clock: Clock
) -> None:
    receive_film(store, "1.1", "A")
    analyse_films(store, clock)
    report_study(store, "9.1")
    clock.advance(1)

    returned = receive_film(store, "9.1", "OLD")
    assert store.results.study(STUDY).hold is None
    store.results.record_refusal(claim(store, JobKind.ANALYSE), returned, "OWN_RESULT", "")
    assert store.results.study(STUDY).hold is None

    receive_film(store, "9.1", "FORGED")
    analyse_films(store, clock)
    assert store.results.study(STUDY).hold is not None


def test_a_dropped_film_does_not_count_when_it_is_sent_again(store: Store) -> None:
    receive_film(store, "1.1", "A")
    receive_film(store, "1.2", "B")
    assert store.results.study(STUDY).hold is not None
    store.studies.release(STUDY, ["1.2"])
    receive_film(store, "1.2", "B")
    assert store.results.study(STUDY).hold is None


def test_the_same_study_of_two_sources_is_not_mixed(store: Store) -> None:
    for source, patient in (("north", "A"), ("south", "B")):
        image = new_instance("1.1", patient, patient_id=patient, source=source)
        store.record_instance(image, 0)
        assert store.results.study(STUDY, source).hold is None


def test_a_film_sent_as_before_takes_a_wrong_correction_back(store: Store, clock: Clock) -> None:
    receive_film(store, "1.1", "A")
    analyse_films(store, clock)
    report_study(store, "9.1", "5.1")
    deliver(store)
    clock.advance(1)
    receive_film(store, "1.1", "B")
    assert store.results.study(STUDY).hold is not None

    image = new_instance("1.1", "1.1 A", patient_id="A")
    receipt = store.record_instance(image, 0)

    assert (receipt.outcome, receipt.instance_id, receipt.revision) == ("renewed", 1, 3)
    assert store.record_instance(image, 0).outcome == "duplicate"
    study = store.results.study(STUDY)
    assert study.hold is None
    assert [item.id for item in study.instances] == [1]
    analyse_films(store, clock)
    store.results.record_report(
        claim(store, JobKind.REPORT), StudyStatus.UNCHANGED, "reported", current=("9.1",)
    )
    assert standings(store, "9.1", "5.1", "5.2") == [
        Standing.VALID,
        Standing.VALID,
        Standing.SUPERSEDED,
    ]
    assert states(store, JobKind.DELIVER) == [JobState.DONE, JobState.QUEUED]


def test_the_same_bytes_of_the_same_patient_stay_the_earlier_revision(store: Store) -> None:
    for content in ("a", "b"):
        store.record_instance(new_instance("1.1", content), 0)
    again = store.record_instance(new_instance("1.1", "a"), 0)
    assert (again.outcome, again.revision) == ("duplicate", 1)


def test_a_film_like_one_that_was_dropped_is_compared_with_the_others(
    store: Store, clock: Clock
) -> None:
    receive_film(store, "1.1", "A")
    receive_film(store, "1.2", "B")
    store.studies.release(STUDY, ["1.2"])
    analyse_films(store, clock)
    report_study(store, "9.1", "5.1")

    receive_film(store, "1.3", "B")

    assert states(store, JobKind.DELIVER) == [JobState.PARKED] * 2


def test_a_purge_takes_a_released_study_whose_dropped_film_never_left(
    store: Store, clock: Clock
) -> None:
    receive_film(store, "1.1", "A")
    receive_film(store, "1.2", "B")
    analyse_films(store, clock)
    report_study(store, "9.1", "5.1", "5.2")
    clock.advance(10)
    (held,) = store.retention.old_studies(clock.now, ())
    assert held.hold == "work is queued, running or parked"

    store.studies.release(STUDY, ["1.2"])
    report_study(store, "9.1", "5.1")
    deliver(store)
    deliver(store)
    clock.advance(10)
    (released,) = store.retention.old_studies(clock.now, ())
    assert (released.hold, released.images) == (None, 2)


def test_an_export_names_no_report_of_the_others_for_a_dropped_film(
    store: Store, clock: Clock
) -> None:
    receive_film(store, "1.1", "A")
    receive_film(store, "1.2", "B")
    analyse_films(store, clock)
    store.studies.release(STUDY, ["1.2"])
    clock.advance(1)
    report_study(store, "9.1", "5.1")
    rows = list(store.export.rows())
    assert [row["report_sop_instance_uid"] for row in rows] == ["9.1", ""]
    assert [row["report_standing"] for row in rows] == ["valid", ""]
