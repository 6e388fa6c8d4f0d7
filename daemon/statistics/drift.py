"""Drift: a change of the model's output against a baseline, found film by film.

Two series per finding are watched: the log-odds of the probability, and the calls (probability at
or above the threshold). Each series is standardised by its mean and standard deviation over the
films of the baseline, clipped, and summed in two CUSUM charts, one for a rise and one for a fall
(Page, "Continuous inspection schemes", Biometrika 1954):

    S(t) = max(0, S(t - 1) + z(t) - ALLOWANCE)

A chart above its limit is an alarm. The chart then stays at its limit at most, and the alarm lasts
until the chart is at 0 again. The limits of all charts come from a bootstrap of the baseline (Efron
and Tibshirani 1993): each draw makes a new baseline and a new stream of `SPAN` films, so that the
limits allow for the error of a short baseline. Draws keep the films of one patient together, at
their distances, because they are dependent; other draws keep runs of neighbouring films together,
because a day or a ward has its own films. The larger limit counts, raised by `MARGIN`.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from daemon.statistics.drift_report import Direction, Measure

ALLOWANCE = 0.25
"""Standard deviations of a film by which a mean may differ without an alarm in the long run."""

CLIP = 4.0
"""Largest distance of one film from the mean, in standard deviations."""

SPAN = 5000
"""Films of the streams from which the bootstrap takes the limits."""

LEVEL = 0.03
"""Rate of streams of the bootstrap with a false alarm of any chart."""

MARGIN = 1.25
"""Factor of the limits: a bootstrap of few patients underestimates the spread of new ones."""

DRAWS = 300
FEWEST_FILMS = 300
"""Films without which a baseline says too little."""

_RUN = 50
"""Neighbouring films that a draw keeps together."""
_COMMON_QUANTILE = 0.9
"""Charts are put on one scale by this quantile of their own largest value over a stream."""

Floats = NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class Alarm:
    """Begin or end of an alarm of one chart.

    Attributes:
        finding: number of the finding, its position among the labels.
        measure: which of its two series.
        direction: to which side.
        film: number of the film after the baseline, from 0, at which the alarm began or ended.
        since: number of the film after which the chart last stood at 0: about when the change
            began; for an end, the begin of the alarm.
        is_end: True for the end of an alarm.
    """

    finding: int
    measure: Measure
    direction: Direction
    film: int
    since: int
    is_end: bool


@dataclass(frozen=True, slots=True, eq=False)
class Baseline:
    """The films to which later films are compared.

    `centre` and `scale` have an entry per series: first the log-odds of each finding, then the
    calls of each. `limits` has a row for rises and a row for falls, shape (2, series).
    """

    films: int
    patients: int
    centre: Floats
    scale: Floats
    limits: Floats

    @property
    def findings(self) -> int:
        """Number of findings."""
        return len(self.centre) // 2


@dataclass(frozen=True, slots=True, eq=False)
class State:
    """The charts between two films; arrays have the shape of `Baseline.limits`.

    Attributes:
        film: number of films since the baseline.
        height: of each chart above 0; of a chart in alarm, its distance from the limit.
        since: film after which each chart last stood at 0, or at which its alarm began.
        in_alarm: True for each chart in alarm.
    """

    film: int
    height: Floats
    since: NDArray[np.int64]
    in_alarm: NDArray[np.bool_]

    @classmethod
    def start(cls, baseline: Baseline) -> "State":
        """Return the state after the last film of the baseline."""
        shape = baseline.limits.shape
        return cls(
            0, np.zeros(shape, np.float32), np.zeros(shape, np.int64), np.zeros(shape, np.bool_)
        )


def fit_baseline(
    log_odds: Floats, calls: NDArray[np.bool_], patients: NDArray[np.int64], seed: int = 0
) -> Baseline:
    """Return the baseline of films in their order, with the limits of its charts.

    `log_odds` and `calls` have shape (films, findings), `patients` a number per film that tells
    patients apart. Raises ValueError for fewer than `FEWEST_FILMS` films.
    """
    if len(log_odds) < FEWEST_FILMS:
        raise ValueError(f"a baseline of {len(log_odds)} films; it needs {FEWEST_FILMS}")
    series = _series(log_odds, calls)
    random = np.random.default_rng(seed)
    limits = np.maximum(
        _limits(series, _draws_of_patients(patients, random)),
        _limits(series, _draws_of_runs(len(series), random)),
    )
    centre, scale = _centre_and_scale(series[None])
    return Baseline(len(series), len(np.unique(patients)), centre[0], scale[0], limits)


def watch(
    baseline: Baseline, state: State, log_odds: Floats, calls: NDArray[np.bool_]
) -> tuple[State, tuple[Alarm, ...]]:
    """Return the state after these films, which follow those of `state`, and their alarms.

    An alarm that begins and one that ends are entries of their own, in the order of films.
    """
    if not len(log_odds):
        return state, ()
    moves = _moves(_series(log_odds, calls), baseline.centre, baseline.scale)
    height, since, in_alarm = state.height.copy(), state.since.copy(), state.in_alarm.copy()
    alarms: list[Alarm] = []
    for side in range(2):
        steps = (moves if side == 0 else -moves) - np.float32(ALLOWANCE)
        for series in range(steps.shape[1]):
            chart = _Chart(
                float(height[side, series]),
                int(since[side, series]),
                bool(in_alarm[side, series]),
            )
            limit = float(baseline.limits[side, series])
            for at, begin, is_end in chart.follow(steps[:, series], limit, state.film):
                alarms.append(_alarm(baseline, side, series, at, begin, is_end))
            height[side, series] = chart.height
            since[side, series] = chart.since
            in_alarm[side, series] = chart.in_alarm
    after = State(state.film + len(log_odds), height, since, in_alarm)
    return after, tuple(sorted(alarms, key=lambda alarm: alarm.film))


class _Chart:
    """One CUSUM chart. In alarm, `height` is the distance below the limit: it ends at 0."""

    def __init__(self, height: float, since: int, in_alarm: bool) -> None:
        self.height = height
        self.since = since
        self.in_alarm = in_alarm

    def follow(self, steps: Floats, limit: float, first: int) -> Iterator[tuple[int, int, bool]]:
        """Yield (film, since, is_end) of each begin and end of an alarm in these steps."""
        begin = 0
        while begin < len(steps):
            moves = -steps[begin:] if self.in_alarm else steps[begin:]
            sums = self.height + np.cumsum(moves, dtype=np.float64)
            heights = sums - np.minimum.accumulate(np.minimum(sums, 0.0))
            above = heights > limit
            crosses = bool(above.any())
            end = int(above.argmax()) if crosses else len(heights) - 1
            at_zero = np.flatnonzero(heights[: end + 1] <= 0)
            if len(at_zero) and not self.in_alarm:
                self.since = first + begin + int(at_zero[-1]) + 1
            self.height = float(heights[end])
            if crosses:
                film = first + begin + end
                yield film, self.since, self.in_alarm
                self.in_alarm = not self.in_alarm
                self.height, self.since = 0.0, film if self.in_alarm else film + 1
            begin += end + 1


def _alarm(
    baseline: Baseline, side: int, series: int, film: int, since: int, is_end: bool
) -> Alarm:
    measure = Measure.PROBABILITY if series < baseline.findings else Measure.CALLS
    direction = Direction.RISE if side == 0 else Direction.FALL
    return Alarm(series % baseline.findings, measure, direction, film, since, is_end)


def _series(log_odds: Floats, calls: NDArray[np.bool_]) -> Floats:
    return np.concatenate([log_odds, calls], axis=1, dtype=np.float32)


def _centre_and_scale(series: Floats) -> tuple[Floats, Floats]:
    """Return mean and standard deviation over the films of each draw; shape (draws, series).

    `series` has shape (draws, films, series). A call that no film of the baseline has gets the
    deviation of half a call in all, and so may be followed by others without a division by 0.
    """
    films = series.shape[1]
    centre = series.mean(axis=1, dtype=np.float64)
    least = np.sqrt(0.5 / (films + 1))
    scale = np.maximum(series.std(axis=1, dtype=np.float64), least)
    return centre.astype(np.float32), scale.astype(np.float32)


def _moves(series: Floats, centre: Floats, scale: Floats) -> Floats:
    moves: Floats = np.clip((series - centre) / scale, -CLIP, CLIP)
    return moves


def _limits(series: Floats, draws: NDArray[np.int32]) -> Floats:
    """Return limits, shape (2, series), from the largest values of the charts over each draw."""
    films = len(series)
    drawn = [_centre_and_scale(series[draw[:films]][None]) for draw in draws]
    centre = np.concatenate([pair[0] for pair in drawn])
    scale = np.concatenate([pair[1] for pair in drawn])
    height = np.zeros((2, *centre.shape), np.float32)
    largest = np.zeros_like(height)
    for film in range(films, draws.shape[1]):
        moves = _moves(series[draws[:, film]], centre, scale)
        height[0] += moves - np.float32(ALLOWANCE)
        height[1] -= moves + np.float32(ALLOWANCE)
        np.maximum(height, 0, out=height)
        np.maximum(largest, height, out=largest)
    own = np.maximum(np.quantile(largest, _COMMON_QUANTILE, axis=1), CLIP)
    factor = np.quantile((largest / own[:, None]).max(axis=(0, 2)), 1 - LEVEL)
    limits: Floats = (own * factor * MARGIN).astype(np.float32)
    return limits


def _draws_of_patients(
    patients: NDArray[np.int64], random: np.random.Generator
) -> NDArray[np.int32]:
    """Return numbers of films, shape (draws, films + SPAN), patients drawn with replacement.

    A patient's films keep their distances in films.
    """
    order = np.argsort(patients, kind="stable").astype(np.int32)
    _, first, sizes = np.unique(patients[order], return_index=True, return_counts=True)
    length = len(patients) + SPAN
    lead = len(patients)
    draws = np.empty((DRAWS, length), np.int32)
    for draw in draws:
        # As many as fill the stream and a lead-in before it, in which some films of a patient fall.
        chosen = random.integers(len(sizes), size=-(-(length + lead) * len(sizes) // lead))
        places = np.sort(random.uniform(0, length + lead, len(chosen)))
        films = sizes[chosen]
        inside = np.arange(films.sum()) - np.repeat(np.cumsum(films) - films, films)
        numbers = order[np.repeat(first[chosen], films) + inside]
        offsets = numbers - np.repeat(order[first[chosen]], films)
        by_time = np.argsort(np.repeat(places, films) + offsets, kind="stable")
        sequence = numbers[by_time]
        middle = max((len(sequence) - length) // 2, 0)
        draw[:] = np.resize(sequence[middle:], length)
    return draws


def _draws_of_runs(films: int, random: np.random.Generator) -> NDArray[np.int32]:
    """Return numbers of films, shape (draws, films + SPAN), runs of `_RUN` films in their order."""
    length = films + SPAN
    runs = -(-length // _RUN)
    starts = random.integers(films, size=(DRAWS, runs, 1))
    numbers = (starts + np.arange(_RUN)) % films
    return numbers.reshape(DRAWS, -1)[:, :length].astype(np.int32)
