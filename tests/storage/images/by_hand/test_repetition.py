"""Analyses and deliveries that an operator requests again, each at most once per look."""

import threading
from collections.abc import Callable
from datetime import datetime, timedelta

import pytest

from storage.audit.records import AuditRow, parse_subject
from storage.errors import ChangedMeanwhileError, StudyHeldError, UnknownRecordError
from storage.images.by_hand.seen import SeenStudy
from storage.records import Delivery, JobKind, JobState, StudyKey, StudyStatus
from storage.store import Store
from tests.builders.store_rows import STUDY, STUDY_KEY, claim
from tests.builders.study_rows import analyse_films, receive_film, report_study
from tests.tools.clock import Clock


def reported_study(store: Store, clock: Clock) -> None:
    """Make a study of two films, analysed, reported and delivered."""
    receive_film(store, "1.1", "A")
    receive_film(store, "1.2", "A")
    analyse_films(store, clock)
    report_study(store, "9.1", "5.1", "5.2")
    for _ in range(3):
        store.results.record_delivery(claim(store, JobKind.DELIVER), 0x0000)


def states(store: Store, kind: JobKind) -> list[JobState]:
    return [job.state for job in reversed(store.jobs.list(kind=kind))]


def acts(store: Store) -> list[AuditRow]:
    return [row for row in store.audit.rows() if row.kind.endswith("_requested")]


def to(destination: str, *uids: str) -> list[Delivery]:
    return [Delivery(uid, destination) for uid in uids]


def test_a_study_is_analysed_again_and_nothing_is_sent_twice(store: Store, clock: Clock) -> None:
    reported_study(store, clock)

    done = store.studies.analyse_again(STUDY_KEY, actor="alice", host="10.0.0.9")

    assert (done.queued, done.refused) == (("1.1", "1.2"), {})
    assert states(store, JobKind.ANALYSE) == [JobState.QUEUED] * 2
    (act,) = acts(store)
    assert (act.kind, act.actor, act.host) == ("analysis_requested", "alice", "10.0.0.9")
    assert (act.subject, act.detail) == (f"study={STUDY}", "2 film(s)")
    analyse_films(store, clock)
    job = claim(store, JobKind.REPORT)
    store.results.record_report(job, StudyStatus.UNCHANGED, "", current=("9.1",))
    assert states(store, JobKind.DELIVER) == [JobState.DONE] * 3
    study = store.results.study(STUDY)
    assert [len(item.objects) for item in study.instances] == [1, 1]
    assert study.status is StudyStatus.REPORTED


def test_one_film_is_analysed_again_and_a_discarded_report_is_made(
    store: Store, clock: Clock
) -> None:
    receive_film(store, "1.1", "A")
    second = receive_film(store, "1.2", "A")
    analyse_films(store, clock)
    store.jobs.discard(store.jobs.list(kind=JobKind.REPORT)[0].id)

    done = store.studies.analyse_again(STUDY_KEY, [second])

    assert done.queued == ("1.2",)
    assert states(store, JobKind.ANALYSE) == [JobState.DONE, JobState.QUEUED]
    assert states(store, JobKind.REPORT) == [JobState.QUEUED]
    assert parse_subject(acts(store)[0].subject) == {"study": STUDY, "instance": "1.2"}
    with pytest.raises(UnknownRecordError, match="no film 99 in study"):
        store.studies.analyse_again(STUDY_KEY, [99])
    with pytest.raises(UnknownRecordError, match=r"nothing of study 7\.7"):
        store.studies.analyse_again(StudyKey("", "7.7"))


def test_a_film_in_work_or_replaced_is_refused(store: Store, clock: Clock) -> None:
    old = receive_film(store, "1.1", "A")
    receive_film(store, "1.2", "A")
    new = receive_film(store, "1.1", "A", "other bytes")
    claim(store, JobKind.ANALYSE)

    done = store.studies.analyse_again(STUDY_KEY, [old, new])
    others = store.studies.analyse_again(STUDY_KEY)

    assert done.queued == others.queued == ()
    assert done.refused == {"1.1": "its analysis waits already"}
    assert set(others.refused) == {"1.1", "1.2"}
    assert acts(store) == []


def test_nothing_of_a_held_study_is_done_again(store: Store, clock: Clock) -> None:
    reported_study(store, clock)
    receive_film(store, "1.3", "B")
    with pytest.raises(StudyHeldError, match="is held: the study holds films of 2 patients"):
        store.studies.analyse_again(STUDY_KEY)
    with pytest.raises(StudyHeldError, match="is held"):
        store.studies.send_again(STUDY_KEY, to("PACS", "9.1"))
    assert acts(store) == []


def test_results_are_sent_again_and_to_a_destination_that_never_got_them(
    store: Store, clock: Clock
) -> None:
    reported_study(store, clock)
    done = store.studies.send_again(STUDY_KEY, to("PACS", "5.1", "5.2", "9.1"), actor="bob")
    new = store.studies.send_again(STUDY_KEY, to("archive", "5.1", "9.1", "7.7"))

    assert done.queued == ("5.1", "5.2", "9.1")
    assert (new.queued, new.refused) == (("5.1", "9.1"), {"7.7": "it is no result of this study"})
    queued = store.jobs.list(state=JobState.QUEUED, kind=JobKind.DELIVER)
    assert [(job.subject, job.lane) for job in reversed(queued)] == [
        *((f"{uid}@PACS", "PACS") for uid in ("5.1", "5.2", "9.1")),
        *((f"{uid}@archive", "archive") for uid in ("5.1", "9.1")),
    ]
    first, second = acts(store)
    assert parse_subject(first.subject) == {"study": STUDY, "destination": "PACS"}
    assert (first.kind, first.actor, first.detail) == ("delivery_requested", "bob", "3 object(s)")
    assert second.detail == "2 object(s)"
    job = store.jobs.claim([JobKind.DELIVER], "courier", timedelta(seconds=60), lane="archive")
    assert job is not None
    assert store.results.delivery(job).destination == "archive"
    again = store.studies.send_again(STUDY_KEY, to("archive", "5.1", "9.1"))
    assert again.refused == {"5.1": "it is being sent now", "9.1": "it waits to be sent already"}


def test_a_result_that_does_not_count_is_not_sent_again(store: Store, clock: Clock) -> None:
    reported_study(store, clock)
    receive_film(store, "1.3", "A")
    analyse_films(store, clock)
    report_study(store, "9.2")

    done = store.studies.send_again(STUDY_KEY, to("PACS", "9.1", "9.2"))

    assert done.refused == {
        "9.1": "a later result replaces it",
        "9.2": "it waits to be sent already",
    }


ACTS: dict[str, Callable[[Store, str, SeenStudy], object]] = {
    "put to analysis again": lambda store, actor, seen: store.studies.analyse_again(
        STUDY_KEY, actor=actor, seen=seen
    ),
    "sent again": lambda store, actor, seen: store.studies.send_again(
        STUDY_KEY, to("PACS", "9.1"), actor=actor, seen=seen
    ),
}


@pytest.mark.parametrize("verb", ACTS)
def test_of_two_operators_at_once_one_acts_and_the_other_is_told(
    store: Store, clock: Clock, verb: str
) -> None:
    reported_study(store, clock)
    seen = SeenStudy.parse(str(store.studies.seen(STUDY_KEY)))
    clock.advance(60)
    refused = at_once(lambda name: ACTS[verb](store, name, seen))
    ((loser, error),) = refused.items()
    (act,) = acts(store)
    assert {act.actor, loser} == {"alice", "bob"}
    at = datetime.fromisoformat(act.recorded_at)
    assert str(error) == f"study {STUDY} was {verb} by {act.actor} at {at:%H:%M} UTC"


def at_once(act: Callable[[str], object]) -> dict[str, ChangedMeanwhileError]:
    """Let two operators act in two threads; return who was refused, and why."""
    barrier = threading.Barrier(2)
    refused = {}

    def run(name: str) -> None:
        barrier.wait(10)
        try:
            act(name)
        except ChangedMeanwhileError as error:
            refused[name] = error

    threads = [threading.Thread(target=run, args=(name,)) for name in ("alice", "bob")]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(20)
    return refused


def test_of_two_releases_at_once_one_counts(store: Store, clock: Clock) -> None:
    receive_film(store, "1.1", "A")
    receive_film(store, "1.2", "B")
    seen = store.studies.seen(STUDY_KEY)
    clock.advance(60)
    refused = at_once(lambda name: store.studies.release(STUDY, ["1.2"], actor=name, seen=seen))
    ((loser, error),) = refused.items()
    (act,) = [row for row in store.audit.rows() if row.kind == "study_released"]
    assert {act.actor, loser} == {"alice", "bob"}
    assert f"was released by {act.actor} at" in str(error)


def test_a_film_that_came_since_the_look_is_a_change(store: Store, clock: Clock) -> None:
    receive_film(store, "1.1", "A")
    receive_film(store, "1.2", "B")
    seen = store.studies.seen(STUDY_KEY)
    receive_film(store, "1.3", "B")
    with pytest.raises(ChangedMeanwhileError, match="has changed since you saw it: look at it"):
        store.studies.release(STUDY, ["1.2"], seen=seen)
    assert store.results.instance(2).set_aside_at is None


@pytest.mark.parametrize("text", ["", "1.2.3", "1.2.3.x", "1.2.3.4.5", "1.2.3." + "9" * 60])
def test_a_malformed_look_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="seen state of a study"):
        SeenStudy.parse(text)
