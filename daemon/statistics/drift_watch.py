"""Drift over all films of a count: the baseline, the weeks after it, and the alarms.

Only films of the present model are watched: another model gives other probabilities. Days that did
not change keep their result, so that a look at a new film costs the work of one day.
"""

from bisect import bisect_right
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import date, timedelta

import numpy as np
from numpy.typing import NDArray

from cxr_model.findings import LABELS
from daemon.statistics.columns import DayColumns
from daemon.statistics.drift import (
    FEWEST_FILMS,
    Alarm,
    Baseline,
    State,
    fit_baseline,
    watch,
)
from daemon.statistics.drift_report import (
    BaselineFigures,
    BaselineRule,
    Direction,
    DriftReport,
    Episode,
    Gathering,
    Measure,
    Week,
)

MOST_BASELINE_FILMS = 20_000


@dataclass(frozen=True, slots=True, eq=False)
class _Day:
    """The films of the present model on one day, with sums for means."""

    day: date
    columns: DayColumns
    log_odds: NDArray[np.float32]
    calls: NDArray[np.bool_]
    patients: NDArray[np.int64]
    probability_sum: NDArray[np.float64]
    call_sum: NDArray[np.int64]

    @classmethod
    def of(cls, day: date, columns: DayColumns, model: int) -> "_Day":
        chosen = columns.analysed & (columns.model == model)
        log_odds = columns.log_odds[chosen].astype(np.float32)
        calls = columns.calls[chosen]
        return cls(
            day,
            columns,
            log_odds,
            calls,
            columns.patient[chosen].astype(np.int64),
            probabilities_of(log_odds).sum(axis=0, dtype=np.float64),
            calls.sum(axis=0),
        )


@dataclass(frozen=True, slots=True, eq=False)
class _Watched:
    """A day after the baseline: the charts before and after it, and its alarms."""

    day: _Day
    before: State
    after: State
    alarms: tuple[Alarm, ...]


class DriftWatch:
    """Keeps the state of the charts at the end of each day. Not for several threads at once."""

    def __init__(self, rule: BaselineRule) -> None:
        self._rule = rule
        self._model: int | None = None
        self._days: dict[date, _Day] = {}
        self._fitted_on: tuple[_Day, ...] = ()
        self._baseline: tuple[Baseline, BaselineFigures] | None = None
        self._start: State | None = None
        self._watched: dict[date, _Watched] = {}

    def report(self, days: Mapping[date, DayColumns], models: Sequence[str]) -> DriftReport | None:
        """Return the state of drift over these days, oldest first; None without a result."""
        model = _newest_model(days)
        if model is None:
            return None
        if model != self._model:
            self._model = model
            self._days, self._watched = {}, {}
        self._days = {
            day: known
            if (known := self._days.get(day)) is not None and known.columns is columns
            else _Day.of(day, columns, model)
            for day, columns in days.items()
        }
        used = [day for day in self._days.values() if len(day.log_odds)]
        films = sum(len(day.log_odds) for day in used)
        weeks = _weeks(used)
        chosen, gathering = self._choose(used)
        if gathering is not None:
            return DriftReport(models[model], films, None, gathering, weeks, ())
        baseline, figures = self._fit(chosen)
        after = [day for day in used if day.day > chosen[-1].day]
        watched = self._watch(baseline, after)
        episodes = _episodes(watched, figures)
        return DriftReport(models[model], films, figures, None, weeks, episodes)

    def _choose(self, used: Sequence[_Day]) -> tuple[tuple[_Day, ...], Gathering | None]:
        """Return the days of the baseline, or what they lack."""
        rule = self._rule
        if rule.begin is not None and rule.end is not None:
            chosen = [day for day in used if rule.begin <= day.day <= rule.end]
            films = sum(len(day.log_odds) for day in chosen)
            is_over = used[-1].day > rule.end
            if films < FEWEST_FILMS or not is_over:
                until = None if is_over else rule.end + timedelta(days=1)
                return (), Gathering(films, FEWEST_FILMS, until)
            return tuple(_limited(chosen)), None
        end = used[0].day + timedelta(days=rule.days)
        films, chosen = 0, []
        for day in used:
            if day.day >= end and films >= rule.films:
                return tuple(_limited(chosen)), None
            films += len(day.log_odds)
            chosen.append(day)
        return (), Gathering(films, rule.films, end)

    def _fit(self, chosen: tuple[_Day, ...]) -> tuple[Baseline, BaselineFigures]:
        is_known = len(chosen) == len(self._fitted_on) and all(
            a is b for a, b in zip(chosen, self._fitted_on, strict=True)
        )
        if self._baseline is None or not is_known:
            baseline = fit_baseline(
                np.concatenate([day.log_odds for day in chosen]),
                np.concatenate([day.calls for day in chosen]),
                np.concatenate([day.patients for day in chosen]),
            )
            self._baseline = baseline, _figures(chosen, baseline)
            self._start = State.start(baseline)
            self._fitted_on, self._watched = chosen, {}
        return self._baseline

    def _watch(self, baseline: Baseline, days: Iterable[_Day]) -> tuple[_Watched, ...]:
        state = self._start or State.start(baseline)
        watched: dict[date, _Watched] = {}
        for day in days:
            known = self._watched.get(day.day)
            if known is None or known.day is not day or known.before is not state:
                after, alarms = watch(baseline, state, day.log_odds, day.calls)
                known = _Watched(day, state, after, alarms)
            watched[day.day] = known
            state = known.after
        self._watched = watched
        return tuple(watched.values())


def probabilities_of(log_odds: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return probabilities of log-odds, of the same shape; NaN stays NaN."""
    probabilities: NDArray[np.float32] = (1 / (1 + np.exp(-log_odds))).astype(np.float32)
    return probabilities


def _newest_model(days: Mapping[date, DayColumns]) -> int | None:
    for columns in reversed(list(days.values())):
        analysed = np.flatnonzero(columns.analysed)
        if len(analysed):
            return int(columns.model[analysed[-1]])
    return None


def _limited(days: Sequence[_Day]) -> Iterable[_Day]:
    """Yield whole days from the first until they hold the most films of a baseline."""
    films = 0
    for day in days:
        films += len(day.log_odds)
        yield day
        if films >= MOST_BASELINE_FILMS:
            return


def _weeks(days: Sequence[_Day]) -> tuple[Week, ...]:
    groups: dict[date, list[_Day]] = {}
    for day in days:
        groups.setdefault(day.day - timedelta(days=day.day.weekday()), []).append(day)
    weeks = []
    for begin, members in groups.items():
        films = sum(len(day.log_odds) for day in members)
        probabilities = np.sum([day.probability_sum for day in members], axis=0) / films
        rates = np.sum([day.call_sum for day in members], axis=0) / films
        weeks.append(Week(begin, films, tuple(probabilities.tolist()), tuple(rates.tolist())))
    return tuple(weeks)


def _figures(chosen: Sequence[_Day], baseline: Baseline) -> BaselineFigures:
    probabilities = probabilities_of(np.concatenate([day.log_odds for day in chosen]))
    calls = np.concatenate([day.calls for day in chosen]).astype(np.float32)
    patients = np.concatenate([day.patients for day in chosen])
    return BaselineFigures(
        chosen[0].day,
        chosen[-1].day,
        baseline.films,
        baseline.patients,
        tuple(probabilities.mean(axis=0, dtype=np.float64).tolist()),
        _deviations(probabilities, patients),
        tuple(calls.mean(axis=0, dtype=np.float64).tolist()),
        _deviations(calls, patients),
    )


def _deviations(values: NDArray[np.float32], patients: NDArray[np.int64]) -> tuple[float, ...]:
    """Return deviations of one film that allow for patients with several films, per column.

    The error of a mean of clustered values is from the sums of each cluster (Liang and Zeger,
    "Longitudinal data analysis using generalized linear models", Biometrika 1986). It counts where
    it is larger than that of independent films.
    """
    centred = values.astype(np.float64)
    centred -= centred.mean(axis=0)
    _, cluster = np.unique(patients, return_inverse=True)
    sums = np.zeros((int(cluster.max()) + 1, values.shape[1]))
    np.add.at(sums, cluster, centred)
    clustered = (sums**2).sum(axis=0) / len(values)
    alone = (centred**2).mean(axis=0)
    # A call that no film of the baseline has may still come.
    least = 0.5 / (len(values) + 1)
    return tuple(np.sqrt(np.maximum(np.maximum(clustered, alone), least)).tolist())


def _episodes(watched: Sequence[_Watched], baseline: BaselineFigures) -> tuple[Episode, ...]:
    """Join the begins and ends of alarms, those that last first."""
    starts = [day.before.film for day in watched]

    def day_of(film: int) -> date:
        return watched[max(bisect_right(starts, film) - 1, 0)].day.day

    episodes: list[Episode] = []
    lasting: dict[tuple[int, Measure, Direction], int] = {}
    for alarm in (alarm for day in watched for alarm in day.alarms):
        series = (alarm.finding, alarm.measure, alarm.direction)
        if alarm.is_end:
            place = lasting.pop(series)
            until = day_of(alarm.film)
            mean = _mean(watched, alarm.finding, alarm.measure, episodes[place].since, until)
            episodes[place] = replace(episodes[place], until=until, during=mean)
            continue
        since = day_of(alarm.since)
        is_mean = alarm.measure is Measure.PROBABILITY
        lasting[series] = len(episodes)
        episodes.append(
            Episode(
                LABELS[alarm.finding],
                alarm.measure,
                alarm.direction,
                since,
                day_of(alarm.film),
                None,
                (baseline.probabilities if is_mean else baseline.rates)[alarm.finding],
                _mean(watched, alarm.finding, alarm.measure, since, watched[-1].day.day),
            )
        )
    return tuple(
        sorted(episodes, key=lambda one: (one.until is not None, one.seen, one.label, one.measure))
    )


def _mean(
    watched: Sequence[_Watched], finding: int, measure: Measure, since: date, until: date
) -> float:
    """Return the mean of a series over whole days."""
    days = [one.day for one in watched if since <= one.day.day <= until]
    films = sum(len(day.log_odds) for day in days)
    sums = (
        day.probability_sum[finding] if measure is Measure.PROBABILITY else day.call_sum[finding]
        for day in days
    )
    return float(sum(sums)) / max(films, 1)
