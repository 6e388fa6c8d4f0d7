"""The figures of all films as their readers get them; loads no library.

`figures.py` computes them.
"""

from dataclasses import dataclass
from datetime import date, datetime

from daemon.charts.histogram import Bins


@dataclass(frozen=True, slots=True)
class Progress:
    """Days that were counted, of those that the first count has to count."""

    counted: int
    days: int


@dataclass(frozen=True, slots=True)
class Selection:
    """Films to count: received from `first` to `last` (both included), of a sender and a source.

    None leaves out a condition.
    """

    first: date
    last: date
    sender: str | None = None
    source: str | None = None


@dataclass(frozen=True, slots=True)
class Share:
    """A number of films under a name."""

    name: str
    films: int


@dataclass(frozen=True, slots=True)
class Volume:
    """Films received in a span that begins on `begin`, by what became of them."""

    begin: date
    analysed: int
    not_analysed: int
    waiting: int


@dataclass(frozen=True, slots=True)
class SenderFigures:
    """Films of one calling AE title, by what became of them."""

    sender: str
    analysed: int
    not_analysed: int
    waiting: int
    with_findings: int


@dataclass(frozen=True, slots=True)
class FindingFigures:
    """One finding over the analysed films.

    `threshold` is that of the newest film, or None without a film.
    """

    label: str
    films: int
    mean_probability: float | None
    threshold: float | None
    histogram: Bins


@dataclass(frozen=True, slots=True)
class Figures:
    """All figures of a selection.

    Attributes:
        as_of: when the films were counted; None while the first count runs.
        progress: of the first count.
        counted_from: the first day that is kept, if older films were left out of the memory.
        span_days: length of a span of `volume`: 1, 7 or 28.
        co_occurrence: films with both of two findings, in the order of `findings`.
    """

    selection: Selection
    as_of: datetime | None
    progress: Progress
    counted_from: date | None
    senders: tuple[str, ...]
    sources: tuple[str, ...]
    received: int
    analysed: int
    not_analysed: int
    waiting: int
    with_findings: int
    span_days: int
    volume: tuple[Volume, ...]
    findings: tuple[FindingFigures, ...]
    co_occurrence: tuple[tuple[int, ...], ...]
    views: tuple[Share, ...]
    sexes: tuple[Share, ...]
    ages: tuple[Share, ...]
    reasons: tuple[Share, ...]
    per_sender: tuple[SenderFigures, ...]


@dataclass(frozen=True, slots=True)
class Mix:
    """Analysed films by view and by sender, the largest sender first."""

    views: tuple[Share, ...]
    senders: tuple[Share, ...]
