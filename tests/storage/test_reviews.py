"""Reviews are only added; the newest of a reviewer counts, and it is about the call of its time."""

import pytest

from storage.errors import StudyChangedError, UnknownRecordError
from storage.records import FindingRecord, JobKind, Verdict
from storage.reviews import FILM, NewReview
from storage.store import Store
from tests.builders.store_rows import STUDY_KEY, analyse, analysis, claim, receive
from tests.tools.clock import Clock


def say(store: Store, verdict: Verdict | None, label: str = "Mass", by: str = "ann") -> None:
    store.reviews.record(NewReview(1, label, verdict, "", by))


@pytest.fixture
def film(store: Store, clock: Clock) -> int:
    (number,) = receive(store, "1.1")
    analyse(store, clock.now)
    return number


def test_a_review_is_kept_with_reviewer_time_and_call(
    store: Store, clock: Clock, film: int
) -> None:
    review = NewReview(film, "Mass", Verdict.DISAGREE, "a nipple", "ann", present=True)
    recorded = store.reviews.record(review, host="10.0.0.7")

    assert store.reviews.of_study(STUDY_KEY) == (recorded,)
    assert (recorded.sop_instance_uid, recorded.present) == ("1.1", True)
    assert (recorded.reviewer, recorded.reviewed_at) == ("ann", clock.now)
    *_, row = store.audit.rows()
    assert (row.kind, row.actor, row.host) == ("reviewed", "ann", "10.0.0.7")
    assert "instance=1.1" in row.subject
    assert row.detail == "Mass: disagree and remark"


def test_the_newest_review_of_each_reviewer_counts(store: Store, film: int) -> None:
    say(store, Verdict.AGREE)
    say(store, Verdict.DISAGREE)
    say(store, Verdict.AGREE, by="bob")
    say(store, Verdict.AGREE, label="Hernia")

    found = [(one.label, one.reviewer, one.verdict) for one in store.reviews.of_study(STUDY_KEY)]
    assert found == [
        ("Mass", "ann", Verdict.DISAGREE),
        ("Mass", "bob", Verdict.AGREE),
        ("Hernia", "ann", Verdict.AGREE),
    ]


def test_a_review_is_taken_back_by_an_empty_one(store: Store, film: int) -> None:
    say(store, Verdict.AGREE)
    say(store, None)

    assert store.reviews.of_study(STUDY_KEY) == ()
    assert store.reviews.labels() == ()


def test_a_label_says_what_the_reviewer_holds_for_true(store: Store, film: int) -> None:
    say(store, Verdict.DISAGREE)
    say(store, Verdict.DISAGREE, label="Hernia")
    store.reviews.record(NewReview(film, FILM, None, "rotated", "ann"))

    labels = store.reviews.labels()
    assert [(one.label, one.called_present, one.is_present) for one in labels] == [
        ("Mass", True, False),
        ("Hernia", False, True),
    ]
    assert (labels[0].patient_id, labels[0].logit, labels[0].model_sha256) == ("P1", 1.5, "cd")


def test_a_label_stays_true_after_another_analysis(store: Store, clock: Clock, film: int) -> None:
    say(store, Verdict.AGREE)
    store.jobs.enqueue(JobKind.ANALYSE, str(film))
    store.results.record_analysis(
        claim(store, JobKind.ANALYSE), film, analysis(clock.now, probability=0.1)
    )

    (label,) = store.reviews.labels()
    assert (label.called_present, label.is_present, label.probability) == (True, True, 0.1)
    with pytest.raises(StudyChangedError, match="once more"):
        store.reviews.record(NewReview(film, "Mass", Verdict.AGREE, "", "ann", present=True))


def test_a_review_of_nothing_is_refused(store: Store, film: int) -> None:
    with pytest.raises(UnknownRecordError, match="no instance 99"):
        store.reviews.record(NewReview(99, "Mass", Verdict.AGREE, "", "ann"))
    with pytest.raises(UnknownRecordError, match="no finding called 'Nodule'"):
        say(store, Verdict.AGREE, label="Nodule")
    with pytest.raises(ValueError, match="name its label"):
        say(store, Verdict.AGREE, label=FILM)
    assert store.reviews.of_study(STUDY_KEY) == ()


def test_a_heat_map_is_read_alone_and_replaced_with_its_finding(store: Store, clock: Clock) -> None:
    (film,) = receive(store, "1.1")
    done = analysis(clock.now)
    mapped = FindingRecord("Mass", 1.5, 0.8, 0.5, present=True, heat=b"map")
    store.results.record_analysis(
        claim(store, JobKind.ANALYSE),
        film,
        type(done)(done.analysed_at, "starter", "1", "cd", [mapped, done.findings[1]]),
    )
    assert store.results.heat(film, "Mass") == b"map"
    assert store.results.heat(film, "Hernia") is None
    assert [found.heat for found in store.results.instance(film).findings] == [None, None]

    store.jobs.enqueue(JobKind.ANALYSE, str(film))
    analyse(store, clock.now)
    assert store.results.heat(film, "Mass") is None
