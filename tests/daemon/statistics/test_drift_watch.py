"""Drift over days: baselines, weeks, alarms, and the work that is kept between two looks."""

from collections.abc import Mapping
from datetime import date, timedelta
from unittest.mock import MagicMock

import numpy as np
import pytest

from daemon.statistics import drift, drift_watch
from daemon.statistics.columns import DayColumns
from daemon.statistics.drift_report import (
    BaselineRule,
    Direction,
    DriftReport,
    Measure,
    week_limits,
)
from daemon.statistics.drift_watch import DriftWatch
from tests.daemon.statistics.films import day_of, days_of
from tests.daemon.statistics.streams import Stream, stream

MODELS = ("", "one", "two")
MONDAY = date(2026, 3, 2)
PER_DAY = 20


@pytest.fixture(autouse=True)
def short(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(drift, "SPAN", 1000)
    monkeypatch.setattr(drift, "DRAWS", 40)


@pytest.fixture(scope="module")
def films() -> Stream:
    """60 days: after 20 of them, 28 days without a change, then Edema rises."""
    return stream(np.random.default_rng(4), 60 * PER_DAY).shifted(48 * PER_DAY, 9, 1.0)


def report(days: Mapping[date, DayColumns], rule: BaselineRule | None = None) -> DriftReport:
    made = DriftWatch(rule or BaselineRule(days=20, films=300)).report(days, MODELS)
    assert made is not None
    return made


def test_a_change_is_an_alarm_with_its_days_and_means(films: Stream) -> None:
    made = report(days_of(films, PER_DAY))
    baseline = made.baseline
    assert baseline is not None
    assert (baseline.first, baseline.last) == (MONDAY, MONDAY + timedelta(days=19))
    assert (baseline.films, made.model, made.films) == (400, "one", 1200)
    assert {one.label for one in made.alarms} == {"Edema"}
    edema = made.alarms[0]
    changed = MONDAY + timedelta(days=48)
    assert changed - timedelta(days=3) <= edema.since <= edema.seen
    assert changed <= edema.seen <= changed + timedelta(days=8)
    assert (edema.direction, edema.until) == (Direction.RISE, None)
    assert edema.during > edema.before
    mean = [one for one in made.alarms if one.measure is Measure.PROBABILITY]
    assert mean[0].before == pytest.approx(baseline.probabilities[9])


def test_weeks_begin_on_monday_and_hold_their_films(films: Stream) -> None:
    weeks = report(days_of(films, PER_DAY, first=date(2026, 3, 4))).weeks
    assert [week.begin.weekday() for week in weeks] == [0] * len(weeks)
    assert weeks[0].begin == MONDAY
    assert [week.films for week in weeks[:2]] == [5 * PER_DAY, 7 * PER_DAY]
    first = films.part(0, 5 * PER_DAY)
    assert weeks[0].rates[4] == pytest.approx(first.calls[:, 4].mean())
    mean = (1 / (1 + np.exp(-first.log_odds[:, 4]))).mean()
    assert weeks[0].probabilities[4] == pytest.approx(mean, rel=1e-3)


def test_the_end_of_a_change_ends_its_alarm(films: Stream) -> None:
    after = stream(np.random.default_rng(44), 60 * PER_DAY)
    joined = Stream(
        np.concatenate([films.log_odds, after.log_odds]),
        np.concatenate([films.patients, after.patients + 10_000]),
    )
    made = report(days_of(joined, PER_DAY))
    assert made.alarms == ()
    assert {one.label for one in made.episodes} == {"Edema"}
    for one in made.episodes:
        assert one.until is not None
        assert one.until > one.seen


@pytest.mark.parametrize(
    ("rule", "films_needed", "complete_from"),
    [
        (BaselineRule(days=90, films=300), 300, MONDAY + timedelta(days=90)),
        (BaselineRule(days=10, films=5000), 5000, MONDAY + timedelta(days=10)),
        (
            BaselineRule(begin=MONDAY, end=MONDAY + timedelta(days=100)),
            300,
            MONDAY + timedelta(days=101),
        ),
        (BaselineRule(begin=date(2020, 1, 1), end=date(2020, 2, 1)), 300, None),
    ],
)
def test_without_a_complete_baseline_there_is_no_alarm(
    films: Stream, rule: BaselineRule, films_needed: int, complete_from: date | None
) -> None:
    made = report(days_of(films, PER_DAY), rule)
    assert made.baseline is None
    assert made.gathering is not None
    assert made.gathering.films_needed == films_needed
    assert made.gathering.complete_from == complete_from
    assert made.episodes == ()
    assert len(made.weeks) == 9


def test_a_chosen_baseline_is_used(films: Stream) -> None:
    """Against days after the change, the films after them have none."""
    begin = MONDAY + timedelta(days=48)
    rule = BaselineRule(begin=MONDAY + timedelta(days=20), end=MONDAY + timedelta(days=40))
    made = report(days_of(films, PER_DAY), rule)
    assert made.baseline is not None
    assert made.baseline.first == MONDAY + timedelta(days=20)
    assert made.alarms
    assert min(one.seen for one in made.alarms) >= begin


def test_another_model_starts_a_new_baseline(films: Stream) -> None:
    days = days_of(films, PER_DAY)
    last = max(days)
    days[last + timedelta(days=1)] = day_of(films.part(0, 10), model=2)
    made = report(days)
    assert (made.model, made.films) == ("two", 10)
    assert made.gathering is not None
    assert made.gathering.films == 10


def test_no_result_is_no_report() -> None:
    assert DriftWatch(BaselineRule()).report({}, MODELS) is None


def test_only_changed_days_are_watched_again(
    films: Stream, monkeypatch: pytest.MonkeyPatch
) -> None:
    watched, fitted = MagicMock(wraps=drift.watch), MagicMock(wraps=drift.fit_baseline)
    monkeypatch.setattr(drift_watch, "watch", watched)
    monkeypatch.setattr(drift_watch, "fit_baseline", fitted)
    watcher = DriftWatch(BaselineRule(days=20, films=300))
    days = days_of(films, PER_DAY)
    first = watcher.report(days, MODELS)
    assert (watched.call_count, fitted.call_count) == (40, 1)
    last = max(days)
    days[last] = day_of(films.part(59 * PER_DAY, 60 * PER_DAY))
    assert watcher.report(days, MODELS) == first
    assert (watched.call_count, fitted.call_count) == (41, 1)
    days[MONDAY] = day_of(films.part(0, PER_DAY))
    assert watcher.report(days, MODELS) == first
    assert (watched.call_count, fitted.call_count) == (81, 2)


def test_limits_of_a_week_are_wider_for_fewer_films() -> None:
    low, high = week_limits(0.2, 0.1, 100, 400)
    assert (low, high) == pytest.approx((0.2 - 3 * 0.1118 / 10, 0.2 + 3 * 0.1118 / 10), abs=1e-4)
    narrow = week_limits(0.2, 0.1, 1000, 400)
    assert narrow[1] < high
    assert week_limits(0.01, 0.5, 10, 400)[0] == 0
