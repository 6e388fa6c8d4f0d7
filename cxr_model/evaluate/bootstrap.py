"""95 % intervals from resampled patients: all images of a patient are drawn together."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from cxr_model.evaluate.metrics import BINS, mass_bins, nll_terms, width_bins
from cxr_model.predict.curves import Floats

RESAMPLES = 1000

# Resamples per computation: 50 of 11,000 rows need some megabytes per array.
_CHUNK = 50


@dataclass(frozen=True, slots=True)
class Interval:
    """Bounds of 95 % of the resamples; NaN if the metric is undefined in all of them."""

    low: float
    high: float


@dataclass(frozen=True, slots=True, eq=False)
class Resampling:
    """Resamples of patients.

    `counts` (resamples, patients) is the number of times each patient was drawn, `rows` (n,) the
    column of each row's patient.
    """

    counts: npt.NDArray[np.int32]
    rows: npt.NDArray[np.int64]

    @classmethod
    def of(
        cls, patients: npt.NDArray[np.object_], *, resamples: int = RESAMPLES, seed: int = 0
    ) -> "Resampling":
        """Draw the number of patients with replacement, `resamples` times."""
        names, rows = np.unique(patients.astype(str), return_inverse=True)
        rng = np.random.default_rng(seed)
        draws = rng.integers(0, len(names), (resamples, len(names)))
        counts = np.stack([np.bincount(draw, minlength=len(names)) for draw in draws])
        return cls(counts.astype(np.int32), rows.astype(np.int64))

    def chunks(self, order: npt.NDArray[np.int64]) -> Iterator[Floats]:
        """Yield weights (resamples, n) of the rows in `order`, for a chunk of resamples each."""
        columns = self.rows[order]
        for start in range(0, len(self.counts), _CHUNK):
            yield self.counts[start : start + _CHUNK].astype(np.float64)[:, columns]


@dataclass(frozen=True, slots=True, eq=False)
class _Sorted:
    """Rows of a label sorted by probability, with the starts of ties and the bins."""

    p: Floats
    y: Floats
    ties: npt.NDArray[np.int64]
    bins: Mapping[str, npt.NDArray[np.int64]]


def bootstrap(
    probabilities: Floats,
    targets: Floats,
    resampling: Resampling,
    *,
    threshold: float | None = None,
    bins: int = BINS,
) -> dict[str, Floats]:
    """Return the value of each metric in each resample, (resamples,), by its name in `metrics`.

    Bins are those of the whole sample. `threshold` adds sensitivity and specificity.
    """
    order = np.argsort(probabilities, kind="stable")
    p, y = probabilities[order], targets[order]
    ties = np.flatnonzero(np.append(True, np.diff(p) != 0))
    rows = _Sorted(p, y, ties, {"ece_mass": mass_bins(p, bins), "ece_width": width_bins(p, bins)})
    parts: dict[str, list[Floats]] = {}
    for weights in resampling.chunks(order):
        for name, values in _measure(weights, rows, threshold).items():
            parts.setdefault(name, []).append(values)
    return {name: np.concatenate(values) for name, values in parts.items()}


def interval(values: Floats) -> Interval:
    """Return the 2.5th and 97.5th percentile of the defined values."""
    defined = values[np.isfinite(values)]
    if defined.size == 0:
        return Interval(float("nan"), float("nan"))
    low, high = np.percentile(defined, [2.5, 97.5])
    return Interval(float(low), float(high))


def _measure(weights: Floats, rows: _Sorted, threshold: float | None) -> dict[str, Floats]:
    total = weights.sum(axis=1)
    squared = (rows.p - rows.y) ** 2
    mean_squared = weights @ squared / total
    share = weights @ rows.y / total
    with np.errstate(divide="ignore", invalid="ignore"):
        measured = {
            "brier": mean_squared,
            "brier_skill": 1 - mean_squared / (share * (1 - share)),
            "nll": weights @ nll_terms(rows.p, rows.y) / total,
            **_ranking(weights, rows),
        }
        for name, bin_of in rows.bins.items():
            measured[name] = _ece(weights, rows, bin_of) / total
        if threshold is not None:
            called = (rows.p >= threshold).astype(np.float64)
            measured["sensitivity"] = weights @ (rows.y * called) / (weights @ rows.y)
            negative = 1 - rows.y
            measured["specificity"] = weights @ (negative * (1 - called)) / (weights @ negative)
    return measured


def _ranking(weights: Floats, rows: _Sorted) -> dict[str, Floats]:
    """Return weighted AUC and average precision; rows of equal probability are one step."""
    ones = np.add.reduceat(weights * rows.y, rows.ties, axis=1)
    zeros = np.add.reduceat(weights * (1 - rows.y), rows.ties, axis=1)
    below = np.cumsum(zeros, axis=1)
    n_ones, n_zeros = ones.sum(axis=1), below[:, -1]
    wins = (ones * (below - zeros / 2)).sum(axis=1)
    found = np.cumsum(ones[:, ::-1], axis=1)
    called = found + np.cumsum(zeros[:, ::-1], axis=1)
    precision = np.divide(found, called, out=np.zeros_like(found), where=called > 0)
    return {
        "auc": wins / (n_ones * n_zeros),
        "average_precision": (ones[:, ::-1] * precision).sum(axis=1) / n_ones,
    }


def _ece(weights: Floats, rows: _Sorted, bin_of: npt.NDArray[np.int64]) -> Floats:
    starts = np.flatnonzero(np.append(True, np.diff(bin_of) != 0))
    gaps = np.add.reduceat(weights * (rows.p - rows.y), starts, axis=1)
    return np.asarray(np.abs(gaps).sum(axis=1))
