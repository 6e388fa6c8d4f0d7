"""Drift for people: the sentence of the state, the changes, and a pair of charts per finding."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date, timedelta

from cxr_model.findings import LABELS
from daemon.charts.chart import Chart
from daemon.charts.lines import Limits, Line, lines
from daemon.statistics.drift_report import (
    FEWEST_IN_WEEK,
    STATED_LEVEL,
    STATED_SPAN,
    BaselineFigures,
    Direction,
    DriftReport,
    Episode,
    Measure,
    Week,
    week_limits,
)
from daemon.words.findings import title_of

_MOST_WEEKS = 104


@dataclass(frozen=True, slots=True)
class DriftAnswer:
    """Drift as a program reads it.

    Without a change, all charts together raise an alarm in `false_alarm_rate` of spans of
    `false_alarm_films` films, at most.
    """

    report: DriftReport | None
    alarms: int
    false_alarm_rate: float
    false_alarm_films: int


@dataclass(frozen=True, slots=True)
class FindingPanel:
    """The weeks of one finding: mean probability and call rate."""

    name: str
    in_alarm: bool
    probability: Chart
    rate: Chart


def drift_answer(report: DriftReport | None) -> DriftAnswer:
    """Return the state of drift with its stated rate of false alarms."""
    return DriftAnswer(report, len(report.alarms) if report else 0, STATED_LEVEL, STATED_SPAN)


def panels(report: DriftReport, first: date, last: date) -> tuple[FindingPanel, ...]:
    """Return the charts of each finding over the weeks of a period, those in alarm first.

    Without a week that has enough films there is none.
    """
    weeks = [
        week
        for week in report.weeks
        if week.begin + timedelta(days=6) >= first
        and week.begin <= last
        and week.films >= FEWEST_IN_WEEK
    ][-_MOST_WEEKS:]
    if not weeks:
        return ()
    made = [
        FindingPanel(
            title_of(label),
            any(episode.label == label for episode in report.alarms),
            _chart(report, weeks, i, Measure.PROBABILITY),
            _chart(report, weeks, i, Measure.CALLS),
        )
        for i, label in enumerate(LABELS)
    ]
    return tuple(sorted(made, key=lambda panel: not panel.in_alarm))


def _chart(report: DriftReport, weeks: Sequence[Week], i: int, measure: Measure) -> Chart:
    is_mean = measure is Measure.PROBABILITY
    what = "Mean probability" if is_mean else "Call rate"
    values = tuple((week.probabilities if is_mean else week.rates)[i] for week in weeks)
    baseline = report.baseline
    return lines(
        f"{what} of {title_of(LABELS[i])} by week",
        [week.begin.isoformat() for week in weeks],
        (Line(what, values, 1 if is_mean else 3),),
        limits=_limits(baseline, weeks, i, is_mean) if baseline else None,
        alarms=_alarm_weeks(report.episodes, weeks, LABELS[i], measure),
        baseline=sum(week.begin <= baseline.last for week in weeks) if baseline else 0,
    )


def _limits(baseline: BaselineFigures, weeks: Sequence[Week], i: int, is_mean: bool) -> Limits:
    centre = (baseline.probabilities if is_mean else baseline.rates)[i]
    deviations = baseline.probability_deviations if is_mean else baseline.rate_deviations
    edges = [week_limits(centre, deviations[i], week.films, baseline.films) for week in weeks]
    return Limits(centre, tuple(low for low, _ in edges), tuple(high for _, high in edges))


def _alarm_weeks(
    episodes: Sequence[Episode], weeks: Sequence[Week], label: str, measure: Measure
) -> tuple[int, ...]:
    """Return the places of the weeks in which an alarm of this series began."""
    days = [one.seen for one in episodes if (one.label, one.measure) == (label, measure)]
    return tuple(
        i
        for i, week in enumerate(weeks)
        if any(week.begin <= day < week.begin + timedelta(days=7) for day in days)
    )


def direction_words(episode: Episode) -> str:
    """Return the change in words: `calls rose`."""
    what = "probability" if episode.measure is Measure.PROBABILITY else "calls"
    return f"{what} {'rose' if episode.direction is Direction.RISE else 'fell'}"
