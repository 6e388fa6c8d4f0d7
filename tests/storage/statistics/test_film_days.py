"""Films by day: which count, and the marks that say that a day changed."""

from datetime import date, timedelta

import pytest

from storage.records import JobKind, Rejection
from storage.store import Store
from tests.builders.store_rows import analysis, claim, new_instance
from tests.tools.clock import Clock

DAY, NEXT = date(2026, 3, 1), date(2026, 3, 2)


def settle(store: Store, clock: Clock, reason: str | None = None) -> None:
    """Record a result of the next ANALYSE job, or the reason for having none."""
    job = claim(store, JobKind.ANALYSE)
    if reason is None:
        store.results.record_analysis(job, int(job.subject), analysis(clock.now))
    else:
        store.results.record_refusal(job, int(job.subject), reason, "")


def test_a_day_has_its_films_with_their_findings(store: Store, clock: Clock) -> None:
    film = new_instance("1.1", patient_sex="F", patient_birth_date="19700301", view_position="PA")
    first = store.record_instance(film, 0).instance_id
    store.record_instance(new_instance("1.2"), 0)
    clock.advance(86_400)
    store.record_instance(new_instance("1.3", calling_ae_title="OTHER", source="north"), 0)
    settle(store, clock)
    settle(store, clock, "LATERAL_VIEW")
    found = store.film_days.day(DAY)
    seen, refused = found.films
    assert (seen.id, seen.state, seen.view, seen.sex) == (first, "analysed", "PA", "F")
    assert (seen.birth_date, seen.study_date, seen.model_sha256) == ("19700301", "20260301", "cd")
    assert (refused.state, refused.reason) == ("not_analysed", "LATERAL_VIEW")
    assert [(row[0], row[1], bool(row[4])) for row in found.findings] == [
        (first, "Mass", True),
        (first, "Hernia", False),
    ]
    assert found.earlier == frozenset()
    (other,) = store.film_days.day(NEXT).films
    assert (other.sender, other.source, other.state) == ("OTHER", "north", "received")
    assert store.film_days.day(date(2025, 1, 1)).films == ()


def test_the_last_revision_counts_on_its_own_day(store: Store, clock: Clock) -> None:
    store.record_instance(new_instance("1.1", "first"), 0)
    settle(store, clock)
    clock.advance(86_400)
    later = store.record_instance(new_instance("1.1", "second"), 0).instance_id
    assert store.film_days.day(DAY).films == ()
    assert store.film_days.day(DAY).findings == []
    found = store.film_days.day(NEXT)
    assert [film.id for film in found.films] == [later]
    assert found.earlier == {DAY}


def test_films_rejected_or_set_aside_do_not_count(store: Store, clock: Clock) -> None:
    for uid in ("1.1", "1.2"):
        store.record_instance(new_instance(uid), 0)
    settle(store, clock)
    settle(store, clock)
    store.record_instance(new_instance("1.9"), 0)
    job = claim(store, JobKind.ANALYSE)
    rejection = Rejection("113001", ("1.1",))
    store.results.record_rejection(job, int(job.subject), "REJECTION_NOTE", "", rejection)
    found = store.film_days.day(DAY)
    assert [film.reason for film in found.films] == [None, "REJECTION_NOTE"]
    assert len(found.findings) == 2


def test_a_mark_changes_with_its_day_only(store: Store, clock: Clock) -> None:
    store.record_instance(new_instance("1.1"), 0)
    clock.advance(86_400)
    store.record_instance(new_instance("1.2"), 0)
    before = store.film_days.marks()
    assert sorted(before) == [DAY, NEXT]
    assert store.film_days.marks() == before
    assert list(store.film_days.marks(NEXT)) == [NEXT]
    settle(store, clock)
    after = store.film_days.marks()
    assert after[DAY] != before[DAY]
    assert after[NEXT] == before[NEXT]


@pytest.mark.parametrize(
    ("seconds", "day"), [(-1, date(2026, 2, 28)), (0, DAY), (86_399, DAY), (86_400, NEXT)]
)
def test_a_day_begins_at_midnight_utc(
    store: Store, clock: Clock, seconds: float, day: date
) -> None:
    clock.now = clock.now.replace(hour=0) + timedelta(seconds=seconds)
    store.record_instance(new_instance("1.1"), 0)
    assert list(store.film_days.marks()) == [day]
    assert len(store.film_days.day(day).films) == 1
