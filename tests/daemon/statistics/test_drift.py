"""Drift: the charts, their limits, false alarms and the delay until a change is seen."""

import numpy as np
import pytest

from daemon.statistics import drift
from daemon.statistics.drift import (
    ALLOWANCE,
    CLIP,
    Alarm,
    Baseline,
    State,
    fit_baseline,
    watch,
)
from daemon.statistics.drift_report import Direction, Measure
from tests.daemon.statistics.streams import FINDINGS, Stream, stream


@pytest.fixture
def short(monkeypatch: pytest.MonkeyPatch) -> None:
    """Fit in a fraction of the time: limits for a span of 1,000 films, from fewer draws."""
    monkeypatch.setattr(drift, "SPAN", 1000)
    monkeypatch.setattr(drift, "DRAWS", 60)


def fitted(films: Stream, seed: int = 0) -> Baseline:
    return fit_baseline(films.log_odds, films.calls, films.patients, seed)


def alarms_of(baseline: Baseline, films: Stream) -> tuple[Alarm, ...]:
    return watch(baseline, State.start(baseline), films.log_odds, films.calls)[1]


def made_baseline(limit: float) -> Baseline:
    """One finding with mean 0 and deviation 1; calls never give an alarm."""
    one = np.ones(2, np.float32)
    limits = np.array([[limit, 1e9], [limit, 1e9]], np.float32)
    return Baseline(300, 300, one * 0, one, limits)


def test_a_chart_takes_the_steps_of_the_definition() -> None:
    random = np.random.default_rng(3)
    values = np.repeat([0.0, 1.5, 0.0, -1.5, 0.0], 60) + random.normal(size=300)
    baseline = made_baseline(8.0)
    expected = []
    for side, sign in ((Direction.RISE, 1), (Direction.FALL, -1)):
        height, in_alarm, since = 0.0, False, 0
        for film, value in enumerate(values.astype(np.float32).tolist()):
            step = max(-CLIP, min(CLIP, value)) * sign - ALLOWANCE
            height = max(0.0, height + (-step if in_alarm else step))
            if height == 0 and not in_alarm:
                since = film + 1
            if height > 8:
                expected.append(Alarm(0, Measure.PROBABILITY, side, film, since, is_end=in_alarm))
                in_alarm = not in_alarm
                height, since = 0.0, film if in_alarm else film + 1
    columns = values.astype(np.float32)[:, None]
    none = np.zeros(columns.shape, np.bool_)
    _, found = watch(baseline, State.start(baseline), columns, none)
    assert found == tuple(sorted(expected, key=lambda alarm: alarm.film))
    assert [(alarm.direction, alarm.is_end) for alarm in found] == [
        (Direction.RISE, False),
        (Direction.RISE, True),
        (Direction.FALL, False),
        (Direction.FALL, True),
    ]
    assert 55 <= found[0].since < found[0].film < 80


def test_a_stream_may_be_watched_in_parts(short: None) -> None:
    films = stream(np.random.default_rng(5), 1300).shifted(700, 3, 0.8)
    baseline = fitted(films.part(0, 400))
    once = alarms_of(baseline, films.part(400, 1300))
    state = State.start(baseline)
    parts: list[Alarm] = []
    for first in range(400, 1300, 90):
        part = films.part(first, min(first + 90, 1300))
        state, alarms = watch(baseline, state, part.log_odds, part.calls)
        parts += alarms
    assert once
    assert [(a.finding, a.film, a.is_end) for a in once] == [
        (a.finding, a.film, a.is_end) for a in parts
    ]


def test_a_change_of_one_finding_is_seen_and_named(short: None) -> None:
    films = stream(np.random.default_rng(8), 2000).shifted(1300, 9, -0.7)
    baseline = fitted(films.part(0, 800))
    first = alarms_of(baseline, films.part(800, 2000))[0]
    assert (first.finding, first.direction) == (9, Direction.FALL)
    assert 500 - 60 < first.since <= first.film < 500 + 500


def test_changed_calls_alone_are_seen(short: None) -> None:
    """A lower threshold changes the calls, and no probability."""
    films = stream(np.random.default_rng(9), 1500)
    baseline = fitted(films.part(0, 500))
    calls = films.calls.copy()
    calls[:, 4] = films.log_odds[:, 4] >= -2.0
    _, alarms = watch(baseline, State.start(baseline), films.log_odds[500:], calls[500:])
    assert {(a.finding, a.measure, a.direction) for a in alarms} == {
        (4, Measure.CALLS, Direction.RISE)
    }


def test_a_finding_that_was_never_called_may_be_called_once(short: None) -> None:
    films = stream(np.random.default_rng(10), 600)
    calls = np.zeros_like(films.calls)
    baseline = fit_baseline(films.log_odds[:500], calls[:500], films.patients[:500])
    calls[550, 2] = True
    assert np.isfinite(baseline.limits).all()
    assert watch(baseline, State.start(baseline), films.log_odds[500:], calls[500:])[1] == ()


def test_dependent_films_widen_the_limits(short: None) -> None:
    """Ten films of each patient say less than ten patients."""
    random = np.random.default_rng(6)
    alone = Stream(random.normal(size=(500, FINDINGS)).astype(np.float32), np.arange(500))
    together = Stream(np.repeat(alone.log_odds[:50], 10, axis=0), np.repeat(np.arange(50), 10))
    assert np.median(fitted(together).limits) > 2 * np.median(fitted(alone).limits)


def test_a_short_baseline_is_refused() -> None:
    films = stream(np.random.default_rng(1), 299)
    with pytest.raises(ValueError, match="a baseline of 299 films; it needs 300"):
        fitted(films)


def test_few_stationary_streams_give_an_alarm(short: None) -> None:
    """10 runs with limits for 1,000 films; the longer tests have 500 with those of the product."""
    false = 0
    for seed in range(10):
        films = stream(np.random.default_rng(seed), 1400)
        false += bool(alarms_of(fitted(films.part(0, 400), seed), films.part(400, 1400)))
    assert false <= 2


HUNDREDS = [0, *(pytest.param(number, marks=pytest.mark.soak) for number in range(1, 5))]


@pytest.mark.slow
@pytest.mark.parametrize("hundred", HUNDREDS)
def test_at_most_5_of_100_stationary_streams_of_1000_films_give_an_alarm(hundred: int) -> None:
    """500 runs in all, each with a baseline of its own; every second with patients' films apart.

    The first hundred run in `make test-full`, the others in `make soak`.
    """
    false = 0
    for run in range(100):
        random = np.random.default_rng([hundred, run])
        films = stream(random, 1500, apart=40.0 * (run % 2))
        false += bool(alarms_of(fitted(films.part(0, 500), run), films.part(500, 1500)))
    assert false <= 5


@pytest.mark.slow
def test_a_shift_of_one_deviation_in_one_finding_is_seen_within_500_films() -> None:
    delays = []
    for run in range(30):
        films = stream(np.random.default_rng([77, run]), 2500).shifted(500, run % FINDINGS, 1.0)
        alarms = alarms_of(fitted(films.part(0, 500), run), films.part(500, 2500))
        delays.append(alarms[0].film + 1 if alarms else 10_000)
    assert np.median(delays) <= 500
