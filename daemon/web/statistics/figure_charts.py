"""The charts of the figures."""

from collections.abc import Sequence
from dataclasses import dataclass

from markupsafe import Markup

from daemon.charts.bars import Series, bars, columns, stacked_bars
from daemon.charts.chart import Chart
from daemon.charts.histogram import histogram
from daemon.charts.matrix import matrix
from daemon.charts.pie import pie
from daemon.statistics.figure_records import Figures, Mix, Share
from daemon.words.findings import title_of
from daemon.words.readable import readable
from daemon.words.reasons import advice_on


@dataclass(frozen=True, slots=True)
class FigureCharts:
    """One chart per section of the page; `histograms` has (name, films above, chart)."""

    findings: Chart
    healthy: Chart
    volume: Chart
    histograms: tuple[tuple[str, int, Chart], ...]
    pairs: Markup
    views: Chart
    sexes: Chart
    ages: Chart
    reasons: Chart
    senders: Chart


@dataclass(frozen=True, slots=True)
class ReasonRow:
    """A reason for not analysing, its films, and its meaning."""

    reason: str
    films: int
    words: str
    action: str


def charts_of(figures: Figures) -> FigureCharts:
    """Draw the figures."""
    by_calls = sorted(figures.findings, key=lambda one: -one.films)
    analysed = figures.analysed
    return FigureCharts(
        findings=bars(
            "Films with each finding",
            [title_of(one.label) for one in by_calls],
            [one.films for one in by_calls],
            analysed,
        ),
        healthy=pie(
            "Healthy versus findings",
            ("No finding", "One or more findings"),
            (analysed - figures.with_findings, figures.with_findings),
        ),
        volume=columns(
            "Films received",
            [one.begin.isoformat() for one in figures.volume],
            (
                Series("analysed", tuple(one.analysed for one in figures.volume), 1),
                Series("not analysed", tuple(one.not_analysed for one in figures.volume), 2),
                Series("waiting", tuple(one.waiting for one in figures.volume), 5),
            ),
        ),
        histograms=tuple(
            (
                title_of(one.label),
                one.films,
                histogram(title_of(one.label), one.histogram, one.threshold),
            )
            for one in figures.findings
        ),
        pairs=matrix(
            "Films with both of two findings",
            [title_of(one.label) for one in figures.findings],
            figures.co_occurrence,
        ),
        views=_mix("Views", figures.views),
        sexes=_mix("Sex", figures.sexes),
        ages=_mix("Age", figures.ages),
        reasons=bars(
            "Films not analysed, by reason",
            [readable(one.name) or "no reason" for one in figures.reasons],
            [one.films for one in figures.reasons],
            figures.not_analysed,
        ),
        senders=stacked_bars(
            "Films of each sender",
            [readable(one.sender) or "not stated" for one in figures.per_sender],
            (
                Series("analysed", tuple(one.analysed for one in figures.per_sender), 1),
                Series("not analysed", tuple(one.not_analysed for one in figures.per_sender), 2),
                Series("waiting", tuple(one.waiting for one in figures.per_sender), 5),
            ),
        ),
    )


def mix_charts(baseline: Mix, since: Mix) -> tuple[tuple[str, Chart, Chart], ...]:
    """Draw the mix of the baseline beside that since a change, by view and by sender."""
    return tuple(
        (name, _mix(f"{name}, baseline", before), _mix(f"{name}, since the change", after))
        for name, before, after in (
            ("Views", baseline.views, since.views),
            ("Senders", baseline.senders, since.senders),
        )
    )


def reason_rows(figures: Figures) -> tuple[ReasonRow, ...]:
    """Return the reasons with their meaning, the most frequent first."""
    return tuple(
        ReasonRow(readable(one.name), one.films, advice.words, advice.action)
        for one in figures.reasons
        for advice in (advice_on(one.name),)
    )


def _mix(title: str, shares: Sequence[Share]) -> Chart:
    return bars(
        title,
        [readable(one.name) or "not stated" for one in shares],
        [one.films for one in shares],
        sum(one.films for one in shares),
    )
