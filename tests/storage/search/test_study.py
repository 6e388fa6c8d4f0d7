"""One study's view: every revision, object, delivery and job of it, and its history in order."""

from dataclasses import replace
from datetime import timedelta

import pytest

from storage.audit.records import AuditKind
from storage.errors import StudyHeldError
from storage.records import (
    Delivery,
    InstanceState,
    Job,
    JobKind,
    JobState,
    ObjectKind,
    ObjectRecord,
    Rejection,
    Standing,
    StudyKey,
    StudyState,
    StudyStatus,
    Verdict,
)
from storage.reviews import NewReview
from storage.search.study_records import StudyView, TimelineKind
from storage.store import Store
from tests.builders.store_rows import (
    LEASE,
    SOURCE,
    analysis,
    claim,
    made_object,
    new_instance,
)
from tests.tools.clock import Clock

KEY = StudyKey(SOURCE, "1.2.3")


def view_of(store: Store, key: StudyKey = KEY) -> StudyView:
    view = store.search.study(key)
    assert view is not None
    return view


def told(view: StudyView) -> list[str]:
    return [event.kind for event in view.timeline]


def receive(store: Store, clock: Clock, uid: str = "1.1", content: str = "a", **other: str) -> int:
    clock.advance(1)
    film = new_instance(uid, content, source=SOURCE, **other)
    return store.record_instance(film, 0, host="10.0.0.5").instance_id


def of_source(uid: str, kind: ObjectKind, number: int | None = None) -> ObjectRecord:
    return replace(made_object(uid, kind, number), source=SOURCE)


def analyse_film(store: Store, clock: Clock) -> Job:
    clock.advance(1)
    job = claim(store, JobKind.ANALYSE)
    number = int(job.subject)
    heatmap = of_source(f"5.{number}", ObjectKind.HEATMAP, number)
    store.results.record_analysis(job, number, analysis(clock.now, objects=[heatmap]))
    return job


def report(store: Store, clock: Clock, *uids: str, to: str = "PACS") -> None:
    clock.advance(1)
    made = [of_source(uids[0], ObjectKind.REPORT)]
    sent = [Delivery(uid, to) for uid in uids]
    job = claim(store, JobKind.REPORT)
    store.results.record_report(job, StudyStatus.REPORTED, "", made, sent)


def deliver(store: Store, clock: Clock, status: int = 0x0000) -> None:
    clock.advance(1)
    store.results.record_delivery(claim(store, JobKind.DELIVER), status, commit_after=timedelta(0))


@pytest.fixture
def done(store: Store, clock: Clock) -> Store:
    """A study from its association to the commitment of its results."""
    store.audit.record(
        AuditKind.ASSOCIATION_ACCEPTED, actor="MODALITY", host="10.0.0.5", detail="called CXRD"
    )
    receive(store, clock)
    analyse_film(store, clock)
    report(store, clock, "9.1", "5.1")
    deliver(store, clock)
    deliver(store, clock)
    clock.advance(1)
    store.commitments.next_step(claim(store, JobKind.COMMIT), "2.25.1")
    store.commitments.record_sent("2.25.1", clock.now + LEASE)
    clock.advance(1)
    store.commitments.record_answer(
        ["PACS"],
        "2.25.1",
        ["9.1", "5.1"],
        {},
        resend_for=[],
        max_resends=0,
        resend_wait=lambda _: timedelta(0),
    )
    return store


def test_a_study_is_told_from_its_association_to_its_commitment(done: Store, clock: Clock) -> None:
    view = view_of(done)
    assert told(view) == [
        TimelineKind.ASSOCIATION,
        TimelineKind.RECEIVED,
        TimelineKind.ANALYSED,
        TimelineKind.REPORTED,
        TimelineKind.DELIVERED,
        TimelineKind.DELIVERED,
        TimelineKind.COMMITMENT_REQUESTED,
        TimelineKind.COMMITTED,
        TimelineKind.COMMITTED,
    ]
    first, second, third = view.timeline[:3]
    assert (first.actor, first.host, first.detail) == ("MODALITY", "10.0.0.5", "called CXRD")
    assert (second.subject, second.actor, second.host) == ("1.1", "MODALITY", "10.0.0.5")
    assert (third.subject, third.detail) == ("1.1", "starter 1")
    assert {event.detail for event in view.timeline[4:6]} == {
        "report, status 0x0000",
        "heatmap, status 0x0000",
    }
    assert [event.at for event in view.timeline] == sorted(event.at for event in view.timeline)


def test_a_study_has_its_films_objects_deliveries_and_jobs(done: Store) -> None:
    view = view_of(done)
    (film,) = view.films
    assert (film.number, film.is_latest, film.moved_to) == (1, True, None)
    assert [found.label for found in film.instance.findings] == ["Mass", "Hernia"]
    assert [one.sop_instance_uid for one in film.instance.objects] == ["5.1"]
    assert view.current == view.films
    assert [one.record.sop_instance_uid for one in view.reports] == ["9.1"]
    assert [one.record.sop_instance_uid for one in view.objects] == ["5.1", "9.1"]
    assert {job.kind for job in view.jobs} == {
        JobKind.ANALYSE,
        JobKind.REPORT,
        JobKind.DELIVER,
        JobKind.COMMIT,
    }
    (sent,) = view.by_object["9.1"]
    assert (sent.destination, sent.state, sent.dimse_status) == ("PACS", JobState.DONE, 0)
    assert sent.committed_at is not None
    assert (view.status, view.status_detail, view.hold) == (StudyStatus.REPORTED, "", None)
    assert view.row.state is StudyState.REPORTED


def test_a_delivery_says_what_the_destination_made_of_it(store: Store, clock: Clock) -> None:
    receive(store, clock)
    analyse_film(store, clock)
    report(store, clock, "9.1")
    job = claim(store, JobKind.DELIVER)
    store.results.record_delivery(job, 0xB000, "1.2.840.1", coerced_uid="7.7")
    (sent,) = view_of(store).deliveries
    assert (sent.sent_as, sent.coerced_uid, sent.dimse_status) == ("1.2.840.1", "7.7", 0xB000)
    assert (sent.job_id, sent.attempts, sent.kind) == (job.id, 1, ObjectKind.REPORT)


def test_parked_and_retried_jobs_are_told_with_who_did_it(store: Store, clock: Clock) -> None:
    receive(store, clock)
    job = claim(store, JobKind.ANALYSE)
    clock.advance(1)
    store.jobs.fail(job, "broken", None, audited="broken")
    clock.advance(1)
    store.jobs.retry(job.id, actor="ann")
    clock.advance(1)
    analyse_film(store, clock)
    report(store, clock, "9.1")
    sent = claim(store, JobKind.DELIVER)
    clock.advance(1)
    store.jobs.fail(sent, "0xA900", None, audited="0xA900")
    clock.advance(1)
    store.jobs.discard(sent.id, actor="bob")

    view = view_of(store)
    acts = [
        (event.kind, event.subject, event.actor)
        for event in view.timeline
        if event.kind in (TimelineKind.PARKED, TimelineKind.RETRIED, TimelineKind.DISCARDED)
    ]
    assert acts == [
        (TimelineKind.PARKED, f"analyse {job.id}", "worker"),
        (TimelineKind.RETRIED, f"analyse {job.id}", "ann"),
        (TimelineKind.PARKED, f"deliver {sent.id}", "PACS"),
        (TimelineKind.DISCARDED, f"deliver {sent.id}", "bob"),
    ]


def test_work_that_an_operator_requests_again_is_told(done: Store, clock: Clock) -> None:
    clock.advance(1)
    done.studies.analyse_again(KEY, actor="ann", host="10.0.0.9")
    clock.advance(1)
    done.studies.send_again(KEY, [Delivery("9.1", "PACS")], actor="ann")

    view = view_of(done)
    assert [(event.kind, event.subject) for event in view.timeline[-2:]] == [
        (TimelineKind.ANALYSIS_REQUESTED, ""),
        (TimelineKind.DELIVERY_REQUESTED, "PACS"),
    ]
    assert view.row.state is StudyState.WAITING


def test_a_held_study_and_its_release_are_told(store: Store, clock: Clock) -> None:
    receive(store, clock)
    receive(store, clock, "1.2", patient_id="P2")
    view = view_of(store)
    assert view.hold is not None
    assert TimelineKind.HELD in told(view)
    clock.advance(1)
    store.studies.release("1.2.3", ["1.2"], actor="ann")

    view = view_of(store)
    assert told(view)[-2:] == [TimelineKind.SET_ASIDE, TimelineKind.RELEASED]
    assert [film.number for film in view.films] == [1, 2]
    assert [film.instance.sop_instance_uid for film in view.current] == ["1.1"]
    with pytest.raises(StudyHeldError):
        store.studies.release("1.2.3", actor="ann")


def test_a_corrected_film_keeps_its_number_and_its_past(store: Store, clock: Clock) -> None:
    receive(store, clock)
    receive(store, clock, "1.2")
    receive(store, clock, content="other")
    view = view_of(store)
    assert [(film.number, film.is_latest) for film in view.films] == [
        (1, False),
        (2, True),
        (1, True),
    ]
    assert [event.detail for event in view.timeline] == ["", "", "revision 2"]


def test_a_film_that_moved_says_where_it_is(store: Store, clock: Clock) -> None:
    receive(store, clock)
    receive(store, clock, content="other", study_instance_uid="1.2.4")
    (film,) = view_of(store).films
    assert (film.is_latest, film.moved_to) == (False, StudyKey(SOURCE, "1.2.4"))
    (film,) = view_of(store, StudyKey(SOURCE, "1.2.4")).films
    assert (film.is_latest, film.moved_to) == (True, None)


def test_a_rejected_film_and_its_reviews_are_told(store: Store, clock: Clock) -> None:
    film = receive(store, clock)
    analyse_film(store, clock)
    clock.advance(1)
    store.reviews.record(NewReview(film, "Mass", Verdict.DISAGREE, "private", "ann"))
    note = receive(store, clock, "1.9", study_instance_uid="1.2.9")
    job = claim(store, JobKind.ANALYSE)
    store.results.record_rejection(job, note, "NOTE", "", Rejection("113001", ("1.1",)))

    view = view_of(store)
    told_of = {event.kind: event for event in view.timeline}
    assert told_of[TimelineKind.REJECTED].detail == "code 113001"
    assert told_of[TimelineKind.REVIEWED].detail == "Mass: disagree"
    assert [review.remark for review in view.reviews] == ["private"]
    assert [one.record.standing for one in view.objects] == [Standing.REJECTED]
    assert view.row.positives == ()


def test_the_same_event_over_and_over_is_told_once(store: Store, clock: Clock) -> None:
    receive(store, clock)
    analyse_film(store, clock)
    report(store, clock, "9.1", "5.1")
    for _ in range(3):
        clock.advance(1)
        job = claim(store, JobKind.DELIVER)
        store.jobs.fail(job, "down", None, audited="down")
        store.jobs.retry(job.id, actor="ann")
    view = view_of(store)
    assert sum(event.count for event in view.timeline) == 2 + 1 + 6
    assert max(event.count for event in view.timeline) >= 1


def test_an_unreported_study_has_only_its_film(store: Store, clock: Clock) -> None:
    receive(store, clock)
    view = view_of(store)
    assert (view.status, view.status_at, view.reports) == (None, None, ())
    assert view.films[0].instance.state is InstanceState.RECEIVED
    assert told(view) == [TimelineKind.RECEIVED]


def test_an_unknown_study_has_no_view(store: Store) -> None:
    assert store.search.study(StudyKey("", "9.9")) is None


def test_a_study_of_another_source_is_another_study(store: Store, clock: Clock) -> None:
    receive(store, clock)
    store.record_instance(new_instance("1.1"), 0)
    assert len(view_of(store).films) == 1
    assert len(view_of(store, StudyKey("", "1.2.3")).films) == 1
