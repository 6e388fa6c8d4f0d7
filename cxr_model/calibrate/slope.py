"""The calibration slope: one for all labels, with an offset of its own for each label.

The outcomes are regressed on the logits of the probabilities (Cox, "Two further applications of a
model for binary regression", Biometrika 1958). A slope below 1 says that the probabilities are too
far apart, above 1 that they are too close together. The offsets are free, so that a shift of the
prevalence changes no slope.
"""

import math
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from cxr_model.predict.curves import Floats, logit, sigmoid

RESAMPLES = 1000

#: Bounds of a slope. Outcomes that the logits separate have no finite one.
LARGEST = 20.0

_STEPS = 100
_SMALLEST_WEIGHT = 1e-9


@dataclass(frozen=True, slots=True)
class Slope:
    """A slope with its 95 % interval over resampled patients; NaN if the outcomes define none."""

    value: float
    low: float
    high: float
    patients: int
    films: int


@dataclass(frozen=True, slots=True, eq=False)
class _Fit:
    """The slope and, per film and label (n, labels), the centred logits, weights and residuals."""

    slope: float
    logits: Floats
    weights: Floats
    residuals: Floats


def common_slope(logits: Floats, targets: Floats, *, precision: float = 0.0) -> float:
    """Return the slope of outcomes on logits, both (n, labels), by maximum likelihood.

    An outcome that is not known is NaN. `precision` is that of a normal prior with mean 1. Returns
    NaN if no label has both outcomes or no logit varies.
    """
    fit = _fit(logits, targets, precision)
    return math.nan if fit is None else fit.slope


def measure_slope(
    logits: Floats,
    targets: Floats,
    patients: npt.NDArray[np.object_],
    *,
    resamples: int = RESAMPLES,
    seed: int = 0,
) -> Slope:
    """Return the slope with its interval; arrays are (n, labels), `patients` is (n,).

    An outcome that is not known is NaN.

    Each resample takes one Newton step from the slope of all patients, which is as accurate as a
    full fit to second order (Davidson and MacKinnon, "Bootstrap testing in nonlinear models",
    International Economic Review 1999).
    """
    names, patient = np.unique(patients.astype(str), return_inverse=True)
    fit = _fit(logits, targets, 0.0)
    if fit is None:
        return Slope(math.nan, math.nan, math.nan, len(names), len(patients))
    drawn = np.random.default_rng(seed).integers(0, len(names), (resamples, len(names)))
    counts = np.stack([np.bincount(row, minlength=len(names)) for row in drawn]).astype(np.float64)

    def resampled(terms: Floats) -> Floats:
        """Return the sums (resamples, labels) of terms (n, labels)."""
        sums = np.zeros((len(names), terms.shape[1]))
        np.add.at(sums, patient, terms)
        return np.asarray(counts @ sums)

    step = _step(
        resampled(fit.residuals),
        resampled(fit.residuals * fit.logits).sum(axis=1),
        resampled(fit.weights),
        resampled(fit.weights * fit.logits),
        resampled(fit.weights * fit.logits**2).sum(axis=1),
    )
    values = np.clip(fit.slope + step, -LARGEST, LARGEST)
    low, high = np.percentile(values, [2.5, 97.5])
    return Slope(fit.slope, float(low), float(high), len(names), len(patients))


def _fit(logits: Floats, targets: Floats, precision: float) -> _Fit | None:
    known = ~np.isnan(targets)
    count = known.sum(axis=0)
    positives = np.nansum(targets, axis=0)
    least = np.where(known, logits, np.inf).min(axis=0)
    varies = np.where(known, logits, -np.inf).max(axis=0) > least
    used = (positives > 0) & (positives < count) & varies
    if not used.any():
        return None
    known, count = known[:, used], count[used]
    mean = np.where(known, logits[:, used], 0.0).sum(axis=0) / count
    x, y = np.where(known, logits[:, used] - mean, 0.0), np.where(known, targets[:, used], 0.0)
    slope, offsets = 0.0, logit(positives[used] / count)
    for _ in range(_STEPS):
        p = sigmoid(slope * x + offsets)
        weights = known * np.maximum(p * (1 - p), _SMALLEST_WEIGHT)
        residuals = known * (y - p)
        gradient, crossed = residuals.sum(axis=0), (weights * x).sum(axis=0)
        step = float(
            _step(
                gradient,
                (residuals * x).sum() - precision * (slope - 1),
                weights.sum(axis=0),
                crossed,
                (weights * x**2).sum() + precision,
            )
        )
        moved = float(np.clip(slope + np.clip(step, -1.0, 1.0), -LARGEST, LARGEST))
        change = moved - slope
        slope = moved
        offsets = offsets + np.clip((gradient - crossed * change) / weights.sum(axis=0), -1.0, 1.0)
        if abs(change) < 1e-9 and float(np.abs(gradient).max()) < 1e-6 * len(y):
            break
    p = sigmoid(slope * x + offsets)
    weights = known * np.maximum(p * (1 - p), _SMALLEST_WEIGHT)
    return _Fit(slope, x, weights, known * (y - p))


def _step(
    gradient: Floats, slope_gradient: Floats, weight: Floats, crossed: Floats, curvature: Floats
) -> Floats:
    """Return Newton's step of the slope, the offsets (…, labels) being free."""
    weight = np.maximum(weight, _SMALLEST_WEIGHT)
    numerator = slope_gradient - (crossed * gradient / weight).sum(axis=-1)
    return np.asarray(
        numerator / np.maximum(curvature - (crossed**2 / weight).sum(axis=-1), _SMALLEST_WEIGHT)
    )
