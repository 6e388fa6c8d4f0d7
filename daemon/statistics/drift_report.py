"""The state of drift as its readers get it; loads no library.

`drift_watch.py` makes it.
"""

from dataclasses import dataclass
from datetime import date
from enum import StrEnum

STATED_SPAN = 2500
"""Films to which the stated rate of false alarms refers."""

STATED_LEVEL = 0.05
"""Rate of false alarms per `STATED_SPAN` films that is stated: it has room for patients with many
films, of which a short baseline shows too few."""

FEWEST_IN_WEEK = 10
"""Films below which a week has no point: its mean says too little."""
WIDTH = 3.0
"""Standard errors between the centre and a control limit of a week."""


class Measure(StrEnum):
    """The two series of a finding."""

    PROBABILITY = "probability"
    CALLS = "calls"


class Direction(StrEnum):
    """The side to which a series left its baseline."""

    RISE = "rise"
    FALL = "fall"


@dataclass(frozen=True, slots=True)
class BaselineRule:
    """The days whose films are the baseline.

    With `begin` and `end`, these days. Otherwise the first `days` days of the present model, and
    more days until there are `films` films.
    """

    days: int = 28
    films: int = 500
    begin: date | None = None
    end: date | None = None


@dataclass(frozen=True, slots=True)
class BaselineFigures:
    """The baseline in figures; the tuples have an entry per label.

    `deviations` are standard deviations of one film, enlarged where films of one patient resemble
    each other: divided by the root of a number of films they give the error of its mean.
    """

    first: date
    last: date
    films: int
    patients: int
    probabilities: tuple[float, ...]
    probability_deviations: tuple[float, ...]
    rates: tuple[float, ...]
    rate_deviations: tuple[float, ...]


@dataclass(frozen=True, slots=True)
class Week:
    """The films of a week that begins on a Monday: means and call rates per label."""

    begin: date
    films: int
    probabilities: tuple[float, ...]
    rates: tuple[float, ...]


@dataclass(frozen=True, slots=True)
class Episode:
    """An alarm of one series.

    Attributes:
        since: the day on which the change began, about.
        seen: the day of the alarm.
        until: the day on which the alarm ended, or None while it lasts.
        before, during: means over the baseline and over the days of the change: of the probability,
            or of the calls.
    """

    label: str
    measure: Measure
    direction: Direction
    since: date
    seen: date
    until: date | None
    before: float
    during: float


@dataclass(frozen=True, slots=True)
class Gathering:
    """Films of a baseline that is not complete, and what it needs."""

    films: int
    films_needed: int
    complete_from: date | None


@dataclass(frozen=True, slots=True)
class DriftReport:
    """The state of drift. Without a baseline there are no alarms, and `gathering` says why."""

    model: str
    films: int
    baseline: BaselineFigures | None
    gathering: Gathering | None
    weeks: tuple[Week, ...]
    episodes: tuple[Episode, ...]

    @property
    def alarms(self) -> tuple[Episode, ...]:
        """Return the changes that last."""
        return tuple(episode for episode in self.episodes if episode.until is None)


def week_limits(
    centre: float, deviation: float, films: int, baseline_films: int
) -> tuple[float, float]:
    """Return the control limits of the mean of a week of so many films, within 0 and 1."""
    error = deviation * (1 / films + 1 / baseline_films) ** 0.5
    return max(centre - WIDTH * error, 0.0), min(centre + WIDTH * error, 1.0)
