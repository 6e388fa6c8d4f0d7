"""The count of all films: current after each change, and of the films that count only."""

import threading
from collections.abc import Iterator, Mapping
from dataclasses import replace
from datetime import date, timedelta
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from daemon.statistics import counter as counter_module
from daemon.statistics.columns import age_in_years
from daemon.statistics.counter import Count, FilmCounter
from daemon.statistics.figure_records import Figures, Selection, Share
from daemon.statistics.figures import figures_of
from storage.records import JobKind
from storage.store import Store
from tests.builders.store_rows import claim, new_instance
from tests.builders.stores.new import new_store
from tests.daemon.statistics.films import result
from tests.tools.clock import Clock

DAY, NEXT = date(2026, 3, 1), date(2026, 3, 2)


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def store(tmp_path: Path, clock: Clock) -> Iterator[Store]:
    with new_store(tmp_path / "store.db", clock=clock) as opened:
        yield opened


@pytest.fixture
def counter(store: Store, clock: Clock) -> FilmCounter:
    return FilmCounter(store, clock)


def receive(store: Store, uid: str, content: str = "pixels", **changes: str) -> None:
    store.record_instance(new_instance(uid, content, **changes), 0)


def settle(store: Store, clock: Clock, *present: str, reason: str | None = None) -> None:
    job = claim(store, JobKind.ANALYSE)
    if reason:
        store.results.record_refusal(job, int(job.subject), reason, "")
    else:
        store.results.record_analysis(job, int(job.subject), result(clock.now, *present))


def figures(count: Count, **conditions: str) -> Figures:
    return figures_of(count, Selection(DAY, date(2026, 3, 31), **conditions))


def test_before_the_first_count_nothing_is_known(counter: FilmCounter) -> None:
    assert counter.count.as_of is None
    assert figures(counter.count).received == 0


def test_figures_of_films(store: Store, clock: Clock, counter: FilmCounter) -> None:
    receive(store, "1.1", view_position="PA", patient_sex="F", patient_birth_date="19600301")
    receive(store, "1.2", view_position="ap", patient_sex="M", patient_birth_date="19600301")
    receive(store, "1.3", calling_ae_title="BED", source="north")
    receive(store, "1.4")
    settle(store, clock, "Mass", "Edema")
    settle(store, clock)
    settle(store, clock, reason="LATERAL_VIEW")
    counter.refresh()
    found = figures(counter.count)
    assert (found.received, found.analysed, found.not_analysed, found.waiting) == (4, 2, 1, 1)
    assert found.with_findings == 1
    called = {one.label: one.films for one in found.findings if one.films}
    assert called == {"Mass": 1, "Edema": 1}
    mass = found.findings[4]
    assert (mass.label, mass.threshold) == ("Mass", 0.5)
    assert mass.mean_probability == pytest.approx(0.5, abs=0.001)
    assert (sum(mass.histogram.below), sum(mass.histogram.above)) == (1, 1)
    assert found.co_occurrence[4][9] == found.co_occurrence[9][4] == 1
    assert sum(map(sum, found.co_occurrence)) == 4
    assert found.views[:2] == (Share("PA", 1), Share("AP", 1))
    assert [share for share in found.ages if share.films] == [Share("60–69", 2)]
    assert found.reasons == (Share("LATERAL_VIEW", 1),)
    assert [(one.sender, one.not_analysed) for one in found.per_sender] == [
        ("MODALITY", 0),
        ("BED", 1),
    ]
    assert found.volume[0].analysed == 2
    assert len(found.volume) == 31
    assert figures(counter.count, sender="BED").received == 1
    assert figures(counter.count, source="north").received == 1
    assert figures(counter.count, sender="STRANGER").received == 0


def test_only_days_that_changed_are_read_again(
    store: Store, clock: Clock, counter: FilmCounter
) -> None:
    receive(store, "1.1")
    clock.advance(86_400)
    receive(store, "1.2")
    counter.refresh()
    before = counter.count
    counter.refresh()
    assert counter.count.days is before.days
    settle(store, clock, "Mass")
    counter.refresh(full=False)
    after = counter.count
    assert after.days[NEXT] is before.days[NEXT]
    assert after.days[DAY] is not before.days[DAY]
    assert figures(after).analysed == 1


def test_a_later_revision_takes_the_earlier_one_out_of_its_day(
    store: Store, clock: Clock, counter: FilmCounter
) -> None:
    receive(store, "1.1", "first")
    settle(store, clock, "Mass")
    counter.refresh()
    clock.advance(86_400 * 10)
    receive(store, "1.1", "second")
    settle(store, clock)
    counter.refresh(full=False)
    found = figures(counter.count)
    assert (found.received, found.analysed, found.with_findings) == (1, 1, 0)
    assert len(counter.count.days[DAY]) == 0


def test_the_oldest_films_are_left_out_where_there_are_too_many(
    store: Store, clock: Clock, counter: FilmCounter, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(counter_module, "MOST_FILMS", 3)
    for day in range(3):
        receive(store, f"1.{day}.1")
        receive(store, f"1.{day}.2")
        clock.advance(86_400)
    counter.refresh()
    assert list(counter.count.days) == [date(2026, 3, 3)]
    assert counter.count.dropped_before == date(2026, 3, 3)


def test_the_baseline_of_drift_stays_when_its_films_are_left_out(
    store: Store, clock: Clock, counter: FilmCounter, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(counter_module, "MOST_FILMS", 3)
    watched: list[date] = []

    def report(days: Mapping[date, object], _models: object) -> SimpleNamespace:
        watched[:] = days
        return SimpleNamespace(baseline=SimpleNamespace(first=DAY, last=DAY))

    monkeypatch.setattr(counter, "_drift", SimpleNamespace(report=report))
    for number in range(4):
        day = DAY + timedelta(days=number)
        receive(store, f"1.{number}.1")
        receive(store, f"1.{number}.2")
        counter.refresh()
        earlier = [] if number == 0 else [DAY, *([day - timedelta(days=1)] if number > 1 else [])]
        assert watched == [*earlier, day]
        assert list(counter.count.days) == [day]
        assert counter.count.dropped_before == (day if number else None)
        clock.advance(86_400)
    counter.refresh()
    assert counter.count.dropped_before == day


def test_the_first_count_can_be_stopped(store: Store, counter: FilmCounter) -> None:
    receive(store, "1.1")
    stop = threading.Event()
    stop.set()
    counter.refresh(stop=stop)
    assert counter.count.as_of is None
    counter.run(stop)


def test_a_result_without_all_labels_counts_as_analysed_without_figures(
    store: Store, clock: Clock, counter: FilmCounter
) -> None:
    receive(store, "1.1")
    job = claim(store, JobKind.ANALYSE)
    whole = result(clock.now, "Mass")
    short = replace(whole, findings=whole.findings[:3])
    store.results.record_analysis(job, int(job.subject), short)
    counter.refresh()
    found = figures(counter.count)
    assert found.analysed == 1
    assert found.findings[4].mean_probability is None
    assert not np.isnan(found.findings[4].histogram.end)


@pytest.mark.parametrize(
    ("born", "on", "age"),
    [
        ("19600301", "20260301", 66),
        ("19600302", "20260301", 65),
        ("", "20260301", None),
        (None, "20260301", None),
        ("19600301", "", None),
        ("20270101", "20260301", None),
        ("18000101", "20260301", None),
        ("1960XX01", "20260301", None),
        ("20200229", "20260228", 5),
    ],
)
def test_age(born: str | None, on: str, age: int | None) -> None:
    assert age_in_years(born, on) == age
