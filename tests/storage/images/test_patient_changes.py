"""Messages about patients change the films, their studies and what leaves of them."""

from dataclasses import replace
from datetime import datetime, timedelta

import pytest

from storage.errors import NoPatientError, PatientMessageError, StudyChangedError
from storage.files.folder_spool import FolderSpool
from storage.images.patient_changes import Patients
from storage.patients.records import Applied, ChangeKind, ChangeOutcome, PatientChange
from storage.records import (
    Instance,
    JobKind,
    JobState,
    ObjectKind,
    Receipt,
    Standing,
    StudyKey,
    StudyStatus,
)
from storage.search.records import StudyFilter
from storage.search.study_records import TimelineKind
from storage.store import Store
from storage.tables.database import open_database
from tests.builders.store_rows import STUDY, analysis, claim, made_object, new_instance
from tests.builders.study_rows import analyse_films, receive_film, report_study
from tests.tools.clock import Clock

DOE = {"patient_name": "DOE^JANE", "patient_birth_date": "19500101", "patient_sex": "F"}


def receive(store: Store, uid: str, patient: str, study: str = STUDY, **header: str) -> Receipt:
    film = new_instance(
        uid,
        f"{uid} {patient} {header}",
        patient_id=patient,
        study_instance_uid=study,
        **(DOE | header),
    )
    return store.record_instance(film, 0)


def update(at: datetime, control_id: str = "1", **changes: object) -> PatientChange:
    values: dict[str, object] = {
        "kind": ChangeKind.UPDATE,
        "event": "A08",
        "sender": "ADT",
        "control_id": control_id,
        "sha256": f"digest of {control_id}",
        "sources": ("",),
        "event_time": at,
        "patient_id": "A",
    }
    return PatientChange(**(values | changes))  # type: ignore[arg-type]


def merge(
    at: datetime, prior: str, patient: str, control_id: str, **changes: object
) -> PatientChange:
    return update(
        at,
        control_id,
        kind=ChangeKind.MERGE,
        event="A40",
        patient_id=patient,
        prior_patient_id=prior,
        **changes,
    )


def films(store: Store, study: str = STUDY) -> tuple[Instance, ...]:
    return store.results.study(study).instances


def identity(film: Instance) -> tuple[str | None, ...]:
    return film.patient_id, film.patient_name, film.patient_birth_date, film.patient_sex


def reported(store: Store, clock: Clock) -> None:
    """Receive a film of patient A, and deliver its report and its heatmap."""
    receive(store, "1.1", "A")
    analyse_films(store, clock)
    report_study(store, "9.1", "5.1")
    for _ in range(2):
        store.results.record_delivery(claim(store, JobKind.DELIVER), 0x0000)


def state_of_report(store: Store) -> JobState:
    (job,) = store.jobs.list(kind=JobKind.REPORT)
    return job.state


def standing(store: Store, uid: str) -> Standing:
    record = store.results.object(uid)
    assert record is not None
    return record.standing


def test_a_merge_changes_the_films_and_makes_a_new_report_due(store: Store, clock: Clock) -> None:
    reported(store, clock)

    applied = store.patients.apply(merge(clock.now, "A", "B", "1", name="ROE^JANE"))

    assert applied == Applied(ChangeOutcome.APPLIED, films=1, studies=1)
    (film,) = films(store)
    assert identity(film) == ("B", "ROE^JANE", "19500101", "F")
    assert film.has_past_objects
    assert state_of_report(store) is JobState.QUEUED
    assert [standing(store, uid) for uid in ("9.1", "5.1")] == [Standing.IN_DOUBT] * 2
    kinds = [(row.kind, row.actor) for row in store.audit.rows() if row.kind == "patient_changed"]
    assert kinds == [("patient_changed", "ADT")] * 2
    assert not any("ROE" in f"{row.subject} {row.detail}" for row in store.audit.rows())


def test_what_was_made_for_the_old_identity_is_superseded_by_the_next_report(
    store: Store, clock: Clock
) -> None:
    receive(store, "1.1", "A")
    analyse_films(store, clock)
    report_study(store, "9.1", "5.1")
    store.patients.apply(merge(clock.now, "A", "B", "1"))
    (film,) = films(store)
    store.jobs.enqueue(JobKind.ANALYSE, str(film.id))
    record = replace(analysis(clock.now), made_for=film.identity_key)
    store.results.record_analysis(claim(store, JobKind.ANALYSE), film.id, record)
    assert not films(store)[0].has_past_objects

    report_study(store, "9.2")

    found = [standing(store, uid) for uid in ("9.1", "5.1", "9.2")]
    assert found == [Standing.SUPERSEDED, Standing.SUPERSEDED, Standing.VALID]
    by_subject = {job.subject: job.state for job in store.jobs.list(kind=JobKind.DELIVER)}
    assert by_subject == {
        "9.1@PACS": JobState.DISCARDED,
        "5.1@PACS": JobState.DISCARDED,
        "9.2@PACS": JobState.QUEUED,
    }


def test_objects_of_an_identity_that_is_past_do_not_leave(store: Store, clock: Clock) -> None:
    receive(store, "1.1", "A")
    analyse_films(store, clock)
    report_study(store, "9.1", "5.1")
    store.patients.apply(merge(clock.now, "A", "B", "1"))

    report_study(store, "9.2")

    assert standing(store, "5.1") is Standing.SUPERSEDED


def test_a_report_that_was_being_made_for_the_old_identity_is_not_recorded(
    store: Store, clock: Clock
) -> None:
    receive(store, "1.1", "A")
    analyse_films(store, clock)
    job = claim(store, JobKind.REPORT)

    store.patients.apply(merge(clock.now, "A", "B", "1"))

    with pytest.raises(StudyChangedError):
        store.results.record_report(job, StudyStatus.REPORTED, "", [made_object("9.1")], [])
    assert state_of_report(store) is JobState.QUEUED
    assert store.results.study(STUDY).reports == ()


def test_an_analysis_that_ran_for_the_old_identity_leaves_past_objects(
    store: Store, clock: Clock
) -> None:
    receipt = receive(store, "1.1", "A")
    job = claim(store, JobKind.ANALYSE)
    store.patients.apply(merge(clock.now, "A", "B", "1"))

    heatmap = made_object("5.1", ObjectKind.HEATMAP, receipt.instance_id)
    store.results.record_analysis(job, receipt.instance_id, analysis(clock.now, objects=[heatmap]))

    (film,) = films(store)
    assert film.patient_id == "B"
    assert film.has_past_objects


def test_the_history_of_a_study_tells_the_change(store: Store, clock: Clock) -> None:
    reported(store, clock)
    clock.advance(1)

    store.patients.apply(merge(clock.now, "A", "B", "1", name="ROE^JANE", host="10.0.0.5"))

    view = store.search.study(StudyKey("", STUDY))
    assert view is not None
    (event,) = [one for one in view.timeline if one.kind is TimelineKind.PATIENT_CHANGED]
    assert (event.actor, event.host) == ("ADT", "10.0.0.5")
    assert event.detail == "patient ID, name by message A40"


def test_a_study_whose_films_were_purged_keeps_its_report(
    store: Store, clock: Clock, spool: FolderSpool
) -> None:
    reported(store, clock)
    clock.advance(3600)
    assert list(store.retention.purge(spool, clock.now, ()))

    store.patients.apply(merge(clock.now, "A", "B", "1"))

    assert films(store)[0].patient_id == "B"
    assert standing(store, "9.1") is Standing.VALID
    assert state_of_report(store) is JobState.DONE


def test_an_update_that_says_the_same_causes_no_report(store: Store, clock: Clock) -> None:
    reported(store, clock)

    applied = store.patients.apply(
        update(clock.now, name="Doe^Jane^^Dr", birth_date="19500101", sex="F")
    )

    assert applied.outcome is ChangeOutcome.UNCHANGED
    assert state_of_report(store) is JobState.DONE
    assert standing(store, "9.1") is Standing.VALID
    assert identity(films(store)[0]) == ("A", "DOE^JANE", "19500101", "F")


def test_a_deleted_value_is_deleted_and_an_absent_one_stays(store: Store, clock: Clock) -> None:
    receive(store, "1.1", "A")

    store.patients.apply(update(clock.now, sex=""))

    assert identity(films(store)[0]) == ("A", "DOE^JANE", "19500101", "")


def test_a_repeated_message_changes_nothing(store: Store, clock: Clock) -> None:
    reported(store, clock)
    store.patients.apply(update(clock.now, name="ROE^JANE"))
    report_study(store, "9.2")

    again = store.patients.apply(update(clock.now, name="ROE^JANE"))

    assert again == Applied(ChangeOutcome.REPEATED, films=1, studies=1)
    assert state_of_report(store) is JobState.DONE


def test_another_message_with_a_known_control_id_is_refused(store: Store, clock: Clock) -> None:
    receive(store, "1.1", "A")
    store.patients.apply(update(clock.now, name="ROE^JANE"))

    with pytest.raises(PatientMessageError, match="MSH-10"):
        store.patients.apply(update(clock.now, sha256="other", name="ZOE^JANE"))

    assert films(store)[0].patient_name == "ROE^JANE"


@pytest.mark.parametrize("number", ["", "UNKNOWN", "0000"])
def test_a_message_about_no_patient_is_refused(store: Store, clock: Clock, number: str) -> None:
    with pytest.raises(NoPatientError, match="names no patient"):
        store.patients.apply(merge(clock.now, number, "B", "1"))


def test_an_older_message_that_comes_late_undoes_nothing(store: Store, clock: Clock) -> None:
    receive(store, "1.1", "A")
    clock.advance(60)
    store.patients.apply(update(clock.now, "2", name="NEW^JANE"))

    applied = store.patients.apply(
        update(clock.now - timedelta(seconds=30), "1", name="OLD^JANE", sex="O")
    )

    assert applied.outcome is ChangeOutcome.APPLIED
    assert identity(films(store)[0]) == ("A", "NEW^JANE", "19500101", "O")


def test_merges_are_followed_in_a_chain_and_back(store: Store, clock: Clock) -> None:
    receive(store, "1.1", "A")
    receive(store, "1.2", "C", study="1.2.4")
    for number, (prior, patient) in enumerate((("A", "B"), ("B", "C"))):
        clock.advance(1)
        store.patients.apply(merge(clock.now, prior, patient, str(number)))
    assert films(store)[0].patient_id == "C"

    clock.advance(1)
    store.patients.apply(merge(clock.now, "C", "A", "back"))

    assert films(store)[0].patient_id == "A"
    assert films(store)[0].identity_key == ""
    assert films(store, "1.2.4")[0].patient_id == "A"


def test_a_later_merge_of_a_merged_number_takes_its_films_along(store: Store, clock: Clock) -> None:
    reported(store, clock)
    receive(store, "2.1", "B", study="2")
    store.patients.apply(merge(clock.now, "A", "B", "1"))
    store.patients.apply(merge(clock.now, "B", "D", "2"))

    applied = store.patients.apply(merge(clock.now, "A", "C", "3", name="ROE^JANE"))

    assert applied == Applied(ChangeOutcome.APPLIED, films=1, studies=1)
    assert identity(films(store)[0])[:2] == ("C", "ROE^JANE")
    assert identity(films(store, "2")[0])[:2] == ("D", "DOE^JANE")


def test_a_film_that_comes_later_is_of_the_present_identity(store: Store, clock: Clock) -> None:
    store.patients.apply(merge(clock.now, "A", "B", "1", name="ROE^JANE"))

    receipt = receive(store, "1.1", "A")

    film = store.results.instance(receipt.instance_id)
    assert identity(film) == ("B", "ROE^JANE", "19500101", "F")
    assert film.identity_key
    again = store.record_instance(new_instance("1.1", "1.1 A {}", patient_id="A", **DOE), 0)
    assert again.instance_id == receipt.instance_id


def test_two_identities_that_a_merge_joins_are_one_patient(store: Store, clock: Clock) -> None:
    receive(store, "1.1", "A")
    analyse_films(store, clock)
    report_study(store, "9.1", "5.1")
    store.results.record_delivery(claim(store, JobKind.DELIVER), 0x0000)
    store.patients.apply(merge(clock.now, "A", "B", "1"))

    receive(store, "1.1", "B")

    assert store.results.study(STUDY).hold is None


def test_a_held_study_that_a_merge_explains_is_released_by_its_report(
    store: Store, clock: Clock
) -> None:
    receive(store, "1.1", "A")
    receive(store, "1.2", "B", patient_name="ROE^JANE", patient_birth_date="19510101")
    analyse_films(store, clock)
    assert report_study(store, "9.1", "5.1", "5.2") is not None
    assert state_of_report(store) is JobState.PARKED

    store.patients.apply(merge(clock.now, "A", "B", "1", name="ROE^JANE", birth_date="19510101"))

    assert state_of_report(store) is JobState.QUEUED
    assert report_study(store, "9.2") is None
    assert store.results.study(STUDY).status is StudyStatus.REPORTED


def test_an_update_does_not_explain_the_film_of_another_person(store: Store, clock: Clock) -> None:
    receive(store, "1.1", "A")
    receive(store, "1.2", "A", patient_name="SMITH^MARY", patient_birth_date="19800101")
    analyse_films(store, clock)
    assert report_study(store, "9.1", "5.1", "5.2") is not None

    for number in range(2):
        store.patients.apply(
            update(clock.now, str(number), name="DOE^JANE", birth_date="19500101", sex="F")
        )

    assert store.results.study(STUDY).hold is not None
    assert films(store)[1].patient_name == "SMITH^MARY"


@pytest.mark.parametrize("is_told_by_merge", [True, False])
def test_a_merge_does_not_explain_two_persons_under_the_prior_number(
    store: Store, clock: Clock, is_told_by_merge: bool
) -> None:
    receive(store, "1.1", "A")
    receive(store, "1.2", "A", patient_name="ROE^JOHN", patient_birth_date="19900909")
    roe = {"name": "ROE^JOHN", "birth_date": "19900909"}

    store.patients.apply(merge(clock.now, "A", "B", "1", **(roe if is_told_by_merge else {})))
    store.patients.apply(update(clock.now, "2", patient_id="B", sex="M", **roe))

    assert [identity(film)[:3] for film in films(store)] == [
        ("B", "DOE^JANE", "19500101"),
        ("B", "ROE^JOHN", "19900909"),
    ]
    assert store.results.study(STUDY).status is StudyStatus.HELD


def test_a_film_of_a_third_person_under_a_merged_number_keeps_its_name(
    store: Store, clock: Clock
) -> None:
    receive(store, "1.1", "A")
    store.patients.apply(
        merge(clock.now, "A", "B", "1", name="ROE^JOHN", birth_date="19900909", sex="M")
    )

    receive(store, "1.2", "A", study="2", patient_name="X^Y", patient_birth_date="20010101")
    receive(store, "1.3", "A", study="3")

    assert identity(films(store, "2")[0])[:3] == ("B", "X^Y", "20010101")
    assert identity(films(store, "3")[0])[:3] == ("B", "ROE^JOHN", "19900909")


def test_a_film_of_another_person_that_comes_later_keeps_its_name(
    store: Store, clock: Clock
) -> None:
    store.patients.apply(update(clock.now, name="DOE^JANE", birth_date="19500101"))

    receive(store, "1.1", "A", patient_name="SMITH^MARY", patient_birth_date="19800101")
    store.patients.apply(update(clock.now, "2", name="DOE^JANE", birth_date="19500101"))

    assert identity(films(store)[0]) == ("A", "SMITH^MARY", "19800101", "F")


def test_a_film_with_the_name_of_before_is_of_the_present_identity(
    store: Store, clock: Clock
) -> None:
    fox = {"patient_name": "TRAUMA^FOX", "patient_birth_date": "19800101"}
    receive(store, "1.1", "A", **fox)
    store.patients.apply(update(clock.now, name="DOE^JANE", birth_date="19500101"))

    receive(store, "1.2", "A", **fox)

    assert [film.patient_name for film in films(store)] == ["DOE^JANE"] * 2


def test_a_film_sent_again_with_the_new_number_and_the_old_name_causes_no_hold(
    store: Store, clock: Clock
) -> None:
    reported(store, clock)
    store.patients.apply(merge(clock.now, "A", "B", "1", name="ROE^JANE", birth_date="19510101"))

    receive(store, "1.1", "B")

    assert store.results.study(STUDY).hold is None
    assert identity(films(store)[0]) == ("B", "ROE^JANE", "19510101", "F")


def test_only_films_of_the_senders_sources_change(store: Store, clock: Clock) -> None:
    receive_film(store, "1.1", "A")

    applied = store.patients.apply(merge(clock.now, "A", "B", "1", sources=("other",)))

    assert applied.outcome is ChangeOutcome.UNKNOWN_PATIENT
    assert films(store)[0].patient_id == "A"


@pytest.mark.parametrize(("with_unissued", "patient"), [(True, "B"), (False, "A")])
def test_a_film_without_issuer_matches_if_the_sender_says_so(
    store: Store, clock: Clock, with_unissued: bool, patient: str
) -> None:
    receive(store, "1.1", "A")
    receive(store, "1.2", "A", study="1.2.4", issuer_of_patient_id="HOSPITAL")

    store.patients.apply(
        merge(
            clock.now,
            "A",
            "B",
            "1",
            issuer="HOSPITAL",
            prior_issuer="HOSPITAL",
            with_unissued=with_unissued,
        )
    )

    assert (films(store)[0].patient_id, films(store)[0].issuer_of_patient_id) == (patient, "")
    issued = films(store, "1.2.4")[0]
    assert (issued.patient_id, issued.issuer_of_patient_id) == ("B", "HOSPITAL")


def test_many_studies_are_changed_in_parts_and_a_rest_is_finished_later(
    store: Store, clock: Clock, database_url: str
) -> None:
    for number in range(5):
        receive(store, f"1.{number}", "A", study=f"1.2.{number}")

    class CutOffError(Exception):
        pass

    def fail_at_third() -> datetime:
        calls.append(1)
        if len(calls) == 3:
            raise CutOffError
        return clock.now

    calls: list[int] = []
    with open_database(database_url) as database:
        parts = Patients(database, fail_at_third, studies_at_once=2)
        with pytest.raises(CutOffError):
            parts.apply(merge(clock.now, "A", "B", "1"))
    changed = [films(store, f"1.2.{number}")[0].patient_id for number in range(5)]
    assert changed == ["B", "B", "B", "B", "A"]

    assert store.patients.resume() == 1

    changed = [films(store, f"1.2.{number}")[0].patient_id for number in range(5)]
    assert changed == ["B"] * 5
    again = store.patients.apply(merge(clock.now, "A", "B", "1"))
    assert again == Applied(ChangeOutcome.REPEATED, films=5, studies=5)
    assert store.patients.resume() == 0


def test_the_list_finds_a_study_under_the_present_number(store: Store, clock: Clock) -> None:
    receive(store, "1.1", "A")

    store.patients.apply(merge(clock.now, "A", "B", "1", name="ROE^JANE"))

    (row,) = store.search.studies(StudyFilter(patient_id="B")).rows
    assert (row.patient_id, row.patient_name) == ("B", "ROE^JANE")
