"""ROC and reliability of each label, with intervals over patients, as numbers to draw."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from cxr_model.evaluate import metrics
from cxr_model.evaluate.bootstrap import Interval, Resampling, bootstrap, interval
from cxr_model.evaluate.evaluation import ENOUGH
from cxr_model.predict.curves import Floats

#: Resamples of patients for the intervals.
RESAMPLES = 400

_MOST_POINTS = 200

# Films of a bin, so that its share says something.
_BIN_FILMS = 20


@dataclass(frozen=True, slots=True)
class Estimate:
    """A value with its 95 % interval over resampled patients; NaN where it is not defined."""

    value: float
    bounds: Interval


_UNDEFINED = Estimate(float("nan"), Interval(float("nan"), float("nan")))


@dataclass(frozen=True, slots=True)
class Bin:
    """Films of similar probability: its mean, the share with the label, Wilson's interval of it."""

    mean: float
    rate: float
    low: float
    high: float
    count: int


@dataclass(frozen=True, slots=True)
class LabelFigures:
    """The figures of one label.

    With fewer than `ENOUGH` films with the label, or without it, the AUC is not defined: that of a
    single film is 0 or 1 by chance. `roc` is empty then, else it has points (1 - specificity,
    sensitivity) from (0, 0) to (1, 1); `operating` is the point of the threshold.
    """

    label: str
    films: int
    positives: int
    auc: Estimate
    brier: Estimate
    roc: tuple[tuple[float, float], ...]
    operating: tuple[float, float] | None
    bins: tuple[Bin, ...]


@dataclass(frozen=True, slots=True)
class Measured:
    """The figures of the labels with outcomes, and the mean AUC.

    The mean is over the `labels_in_mean` labels that at least `ENOUGH` films have and as many have
    not.
    """

    labels: tuple[LabelFigures, ...]
    mean_auc: Estimate
    labels_in_mean: int
    films: int
    patients: int


def measure_outcomes(
    labels: Sequence[str],
    probabilities: Floats,
    outcomes: Floats,
    patients: npt.NDArray[np.object_],
    thresholds: Mapping[str, float],
    *,
    resamples: int = RESAMPLES,
    seed: int = 0,
) -> Measured:
    """Measure probabilities (n, labels) by outcomes (n, labels): 0, 1, or NaN if not known."""
    resampling = Resampling.of(patients, resamples=resamples, seed=seed)
    figures, drawn = [], []
    for i, label in enumerate(labels):
        known = ~np.isnan(outcomes[:, i])
        if not known.any():
            continue
        p, y = probabilities[known, i], outcomes[known, i]
        draws = bootstrap(p, y, Resampling(resampling.counts, resampling.rows[known]))
        found = _figures(label, p, y, draws, thresholds[label])
        figures.append(found)
        if found.roc:
            drawn.append((found.auc.value, draws["auc"]))
    mean = _UNDEFINED
    if drawn:
        averaged = np.stack([values for _, values in drawn]).mean(axis=0)
        mean = Estimate(float(np.mean([value for value, _ in drawn])), interval(averaged))
    return Measured(tuple(figures), mean, len(drawn), len(patients), len(set(patients.astype(str))))


def _figures(
    label: str, p: Floats, y: Floats, draws: Mapping[str, Floats], threshold: float
) -> LabelFigures:
    positives = int(y.sum())
    enough = min(positives, len(y) - positives) >= ENOUGH
    return LabelFigures(
        label,
        len(y),
        positives,
        Estimate(metrics.auc(p, y), interval(draws["auc"])) if enough else _UNDEFINED,
        Estimate(metrics.brier(p, y), interval(draws["brier"])),
        _roc(p, y) if enough else (),
        (1 - metrics.specificity(p, y, threshold), metrics.sensitivity(p, y, threshold))
        if enough
        else None,
        _bins(p, y),
    )


def _roc(p: Floats, y: Floats) -> tuple[tuple[float, float], ...]:
    """Return at most `_MOST_POINTS` points of the curve, those of the ends among them."""
    order = np.argsort(-p, kind="stable")
    ends = np.flatnonzero(np.append(np.diff(p[order]) != 0, True))
    true = np.cumsum(y[order])[ends] / y.sum()
    false = np.cumsum(1 - y[order])[ends] / (len(y) - y.sum())
    if len(ends) > _MOST_POINTS:
        kept = np.unique(np.linspace(0, len(ends) - 1, _MOST_POINTS).round().astype(int))
        true, false = true[kept], false[kept]
    return ((0.0, 0.0), *zip(false.tolist(), true.tolist(), strict=True))


def _bins(p: Floats, y: Floats) -> tuple[Bin, ...]:
    bin_of = metrics.mass_bins(p, max(1, min(metrics.BINS, len(p) // _BIN_FILMS)))
    counts = np.bincount(bin_of)
    filled = counts > 0
    n = counts[filled]
    mean, rate = np.bincount(bin_of, p)[filled] / n, np.bincount(bin_of, y)[filled] / n
    low, high = metrics.wilson(rate, n)
    columns = (mean, rate, np.maximum(low, 0.0), np.minimum(high, 1.0), n)
    return tuple(Bin(*values) for values in zip(*(one.tolist() for one in columns), strict=True))
