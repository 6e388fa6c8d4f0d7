"""The page /statistics and /api/statistics: one view for both."""

from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date, timedelta

from starlette.requests import Request
from starlette.responses import Response

from daemon.charts.chart import Chart
from daemon.statistics.counter import Count, FilmCounter
from daemon.statistics.drift_report import STATED_LEVEL, STATED_SPAN, BaselineFigures
from daemon.statistics.figure_records import Figures, Selection
from daemon.web.access.roles import Role
from daemon.web.entry import Entry, Parameter, Place
from daemon.web.problems import BadRequestError
from daemon.web.site import Site
from daemon.web.statistics.drift_view import (
    DriftAnswer,
    direction_words,
    drift_answer,
    panels,
)
from daemon.web.statistics.figure_charts import charts_of, mix_charts, reason_rows
from daemon.words.findings import title_of

DEFAULT_DAYS = 90
_KEPT = 16
"""Selections whose figures are kept until the next count."""

_PARAMETERS = (
    Parameter("from", Place.QUERY, "string", "First day of reception (UTC), as 2026-03-01."),
    Parameter("until", Place.QUERY, "string", "Last day of reception (UTC), as 2026-03-31."),
    Parameter("sender", Place.QUERY, "string", "Calling AE title of the sender."),
    Parameter("source", Place.QUERY, "string", "Source of the films; - for films without one."),
)
NO_SOURCE = "-"


@dataclass(frozen=True, slots=True)
class StatisticsAnswer:
    """All figures of a selection, and the drift of all films of the present model."""

    figures: Figures
    drift: DriftAnswer


def statistics_entries(site: Site, counter: FilmCounter) -> Sequence[Entry]:
    """Return the entries of the statistics."""
    kept = _KeptFigures()

    def page(request: Request) -> Response:
        count = counter.count
        selection, figures = _figures(request, site, count, kept)
        if count.as_of is None:
            return site.render(
                request, "statistics/counting.html", progress=count.progress, selection=selection
            )
        drift = count.drift
        since = min((one.since for one in drift.alarms), default=None) if drift else None
        return site.render(
            request,
            "statistics/statistics.html",
            figures=figures,
            selection=selection,
            charts=charts_of(figures),
            reasons=reason_rows(figures),
            periods=_periods(count, site.clock().date()),
            no_source=NO_SOURCE,
            drift=drift,
            panels=panels(drift, selection.first, selection.last) if drift else (),
            mix=_mix(count, drift.baseline, since) if drift else (),
            rate=STATED_LEVEL,
            span_films=STATED_SPAN,
            direction_words=direction_words,
            title_of=title_of,
        )

    def answer(request: Request) -> Response:
        count = counter.count
        _, figures = _figures(request, site, count, kept)
        return site.json(StatisticsAnswer(figures, drift_answer(count.drift)))

    return [
        Entry(
            "/statistics",
            page,
            Role.VIEWER,
            summary="Figures of all films, and drift.",
            parameters=_PARAMETERS,
        ),
        Entry(
            "/api/statistics",
            answer,
            Role.VIEWER,
            summary="Figures of all films, and drift.",
            parameters=_PARAMETERS,
            view=StatisticsAnswer,
        ),
    ]


def _mix(
    count: Count, baseline: BaselineFigures | None, since: date | None
) -> Sequence[tuple[str, Chart, Chart]]:
    """Return the mix of films in the baseline and since the change; none without both."""
    if baseline is None or since is None:
        return ()
    from daemon.statistics.figures import mix_of

    return mix_charts(
        mix_of(count, baseline.first, baseline.last), mix_of(count, since, max(count.days))
    )


class _KeptFigures:
    """The figures of the last selections; several threads may compute the same ones."""

    def __init__(self) -> None:
        self._count: Count | None = None
        self._figures: OrderedDict[Selection, Figures] = OrderedDict()

    def of(self, count: Count, selection: Selection) -> Figures:
        if self._count is not count:
            self._count, self._figures = count, OrderedDict()
        figures = self._figures
        found = figures.get(selection)
        if found is None:
            # Loads numpy, without which the web role is sooner ready.
            from daemon.statistics.figures import figures_of

            found = figures[selection] = figures_of(count, selection)
            if len(figures) > _KEPT:
                figures.popitem(last=False)
        return found


def _figures(
    request: Request, site: Site, count: Count, kept: _KeptFigures
) -> tuple[Selection, Figures]:
    selection = _selection(request, count, site.clock().date())
    return selection, kept.of(count, selection)


def _selection(request: Request, count: Count, today: date) -> Selection:
    """Return the films that the URL names, within the days that have films.

    Raises BadRequestError for a value that is not a day, or a period that ends before it begins.
    """
    asked = request.query_params
    last = _day(asked.get("until"), "until") or today
    first = _day(asked.get("from"), "from") or max(
        last - timedelta(days=DEFAULT_DAYS - 1) if last > _BEGIN else last, _BEGIN
    )
    if first > last:
        raise BadRequestError("The period ends before it begins: `from` must not be after `until`.")
    if count.days:
        first = min(max(first, min(count.days)), last)
        last = max(min(last, max(*count.days, today)), first)
    source = asked.get("source") or None
    return Selection(
        first, last, asked.get("sender") or None, "" if source == NO_SOURCE else source
    )


_BEGIN = date(1970, 1, 1)


def _day(text: str | None, name: str) -> date | None:
    if not text:
        return None
    try:
        return date.fromisoformat(text)
    except ValueError:
        raise BadRequestError(f"`{name}` is not a day: write it as 2026-03-31.") from None


@dataclass(frozen=True, slots=True)
class _Period:
    """A period that the page offers."""

    words: str
    first: date


def _periods(count: Count, today: date) -> tuple[_Period, ...]:
    offered = [
        _Period(words, today - timedelta(days=days - 1))
        for words, days in (("7 days", 7), ("30 days", 30), ("90 days", 90), ("a year", 365))
    ]
    if count.days:
        offered.append(_Period("all", min(count.days)))
    return tuple(offered)
