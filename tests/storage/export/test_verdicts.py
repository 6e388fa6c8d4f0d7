"""The audit table says what reviewers say of the calls in each row, who they are and when."""

import csv
from pathlib import Path

import pytest

from storage.records import JobKind, Verdict
from storage.reviews import FILM, NewReview
from storage.store import Store
from tests.builders.store_rows import analyse, analysis, claim, receive
from tests.tools.clock import Clock

LABELS = ["Hernia", "Mass"]
AGREE, DISAGREE = Verdict.AGREE, Verdict.DISAGREE


@pytest.fixture
def film(store: Store, clock: Clock) -> int:
    """A film of which Mass is called, and Hernia is not."""
    (number,) = receive(store, "1.1")
    analyse(store, clock.now)
    return number


def say(
    store: Store,
    film: int,
    label: str,
    verdict: Verdict | None = None,
    by: str = "ann",
    remark: str = "",
) -> None:
    store.reviews.record(NewReview(film, label, verdict, remark, by))


def cells(store: Store) -> list[str]:
    (row,) = store.export.rows(LABELS)
    names = ("Review_Hernia", "Review_Mass", "Review_Remark", "Reviewed_By", "Reviewed_At")
    return [row[name] for name in names]


def test_a_row_says_who_agrees_with_which_finding(store: Store, clock: Clock, film: int) -> None:
    say(store, film, "Mass", DISAGREE, remark="a nipple")
    say(store, film, "Hernia", AGREE, by="bob")
    clock.advance(60)
    say(store, film, FILM, by="bob", remark="rotated")
    assert cells(store) == [
        *("agree", "disagree", "ann on Mass: a nipple; bob: rotated", "ann; bob"),
        "2026-03-01T12:01:00.000+00:00",
    ]


def test_reviewers_who_differ_are_mixed(store: Store, film: int) -> None:
    say(store, film, "Mass", DISAGREE)
    say(store, film, "Mass", AGREE, by="bob")
    assert cells(store)[:2] == ["", "mixed"]


def test_the_newest_review_of_a_reviewer_counts(store: Store, film: int) -> None:
    say(store, film, "Mass", DISAGREE, remark="no")
    say(store, film, "Mass", AGREE)
    say(store, film, "Hernia", AGREE, by="bob")
    say(store, film, "Hernia", None, by="bob")
    assert cells(store)[:4] == ["", "agree", "", "ann"]


def test_a_review_is_about_the_call_of_its_time(store: Store, clock: Clock, film: int) -> None:
    """A reviewer who disagreed with a mass agrees when the next analysis finds none."""
    say(store, film, "Mass", DISAGREE)
    store.jobs.enqueue(JobKind.ANALYSE, str(film))
    again = analysis(clock.now, probability=0.1)
    store.results.record_analysis(claim(store, JobKind.ANALYSE), film, again)
    (row,) = store.export.rows(LABELS)
    assert (row["Mass_Present"], row["Review_Mass"]) == ("0", "agree")


def test_a_remark_runs_no_formula(store: Store, film: int, tmp_path: Path) -> None:
    say(store, film, FILM, by="=1+1", remark="=cmd()\n=2")
    out = tmp_path / "audit.csv"
    store.export.write_csv(out, LABELS)
    with out.open(newline="", encoding="utf-8") as file:
        (row,) = csv.DictReader(file)
    assert row["Reviewed_By"] == "'=1+1"
    assert row["Review_Remark"].startswith("'=1+1: ")
