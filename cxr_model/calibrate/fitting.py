"""Fits the calibration curve of one label to outcomes."""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from sklearn.isotonic import IsotonicRegression

from cxr_model.errors import CalibrationError
from cxr_model.predict.curves import Beta, Floats, Isotonic, Platt, logit, sigmoid, softplus

#: Lower bound of every slope that is fitted.
SMALLEST_SLOPE = 1e-3

_STEPS = 200
_FLAT_PRECISION = 1e-6


@dataclass(frozen=True, slots=True)
class Prior:
    """A normal prior on beta's (a, b, c): `mean` (3,) and inverse covariance `precision` (3, 3)."""

    mean: Floats
    precision: Floats

    def for_platt(self) -> "Prior":
        """Return the prior over Platt's (slope, intercept): this one restricted to a = b."""
        both = np.array([[1.0, 0.0], [1.0, 0.0], [0.0, 1.0]])
        precision = both.T @ self.precision @ both
        mean = np.linalg.solve(precision, both.T @ self.precision @ self.mean)
        return Prior(mean, precision)


#: A flat prior; the slopes start at 1.
FLAT = Prior(np.array([1.0, 1.0, 0.0]), _FLAT_PRECISION * np.eye(3))

#: A prior on the network's own probability that about a hundred outcomes can overrule.
NETWORK_PRIOR = Prior(np.array([1.0, 1.0, 0.0]), np.diag([5.0, 5.0, 10.0]))


def smoothed_targets(targets: npt.ArrayLike) -> Floats:
    """Return outcomes smoothed by Platt's rule: (n₊+1)/(n₊+2) for 1 and 1/(n₋+2) for 0.

    Raises CalibrationError if `targets` is empty or holds values other than 0 and 1.
    """
    y = np.asarray(targets, dtype=np.float64)
    if y.ndim != 1 or y.size == 0 or not np.isin(y, (0.0, 1.0)).all():
        raise CalibrationError("outcomes must be a list of 0 and 1")
    positives = float(y.sum())
    negatives = y.size - positives
    return np.asarray(np.where(y > 0, (positives + 1) / (positives + 2), 1 / (negatives + 2)))


def fit_platt(logits: npt.ArrayLike, targets: npt.ArrayLike, *, prior: Prior = FLAT) -> Platt:
    """Fit Platt's curve to smoothed targets by maximum posterior density.

    A `prior` stabilises labels with few positives. Raises CalibrationError if the lengths differ
    or an outcome is not 0 or 1.
    """
    x = _logits(logits, targets)
    slope, intercept = _minimise(x[:, None], smoothed_targets(targets), prior.for_platt())
    return Platt(float(slope), float(intercept))


def fit_beta(logits: npt.ArrayLike, targets: npt.ArrayLike, *, prior: Prior = FLAT) -> Beta:
    """Fit a beta curve with positive slopes; arguments and errors as in `fit_platt`."""
    x = _logits(logits, targets)
    columns = np.stack([-softplus(-x), softplus(x)], axis=1)
    a, b, c = _minimise(columns, smoothed_targets(targets), prior)
    return Beta(float(a), float(b), float(c))


def fit_isotonic(logits: npt.ArrayLike, targets: npt.ArrayLike) -> Isotonic:
    """Fit a centred isotonic regression to smoothed targets; errors as in `fit_platt`."""
    x = _logits(logits, targets)
    levels = IsotonicRegression().fit_transform(x, smoothed_targets(targets))
    # Rounded, because the level of one step differs in the last bits.
    values, inverse, counts = np.unique(
        np.round(levels, 10), return_inverse=True, return_counts=True
    )
    centres = np.bincount(inverse, weights=x) / counts
    # Equal scores in two steps would give two knots at the same place.
    keep = np.concatenate([[True], np.diff(centres) > 1e-9])
    return Isotonic(tuple(centres[keep].tolist()), tuple(logit(values[keep]).tolist()))


def fit_offset(logits: npt.ArrayLike, targets: npt.ArrayLike) -> float:
    """Return the offset that fits calibrated logits to smoothed outcomes (maximum likelihood)."""
    x, t = _logits(logits, targets), smoothed_targets(targets)
    offset = 0.0
    for _ in range(_STEPS):
        p = sigmoid(x + offset)
        step = float((t - p).sum() / max(float((p * (1 - p)).sum()), 1e-9))
        offset += min(max(step, -1.0), 1.0)
        if abs(step) < 1e-10:
            break
    return offset


def _minimise(columns: Floats, targets: Floats, prior: Prior) -> Floats:
    """Minimise the cross-entropy by Newton's method with step halving; slopes stay positive.

    An intercept is added to `columns` (n, k); `prior` is over the k slopes and the intercept.
    """
    design = np.concatenate([columns, np.ones((len(columns), 1))], axis=1)
    weights = prior.mean.copy()
    weights[:-1] = np.maximum(weights[:-1], SMALLEST_SLOPE)
    loss = _loss(design, targets, weights, prior)
    for _ in range(_STEPS):
        p = sigmoid(design @ weights)
        gradient = design.T @ (p - targets) + prior.precision @ (weights - prior.mean)
        # A slope at its bound is released when the loss falls inwards.
        free = (weights > SMALLEST_SLOPE) | (gradient < 0)
        free[-1] = True
        hessian = (design.T * (p * (1 - p))) @ design + prior.precision
        step = np.zeros(weights.size)
        step[free] = np.linalg.solve(hessian[np.ix_(free, free)], gradient[free])
        # The loss that the step would save: below this the search finds only rounding.
        if float(gradient @ step) <= 1e-12 * max(1.0, abs(loss)):
            break
        weights, better = _search(design, targets, weights, step, prior, loss)
        if loss - better <= 1e-12 * max(1.0, abs(loss)):
            break
        loss = better
    return weights


def _search(
    design: Floats, targets: Floats, weights: Floats, step: Floats, prior: Prior, loss: float
) -> tuple[Floats, float]:
    for halving in range(40):
        candidate = weights - step * 0.5**halving
        candidate[:-1] = np.maximum(candidate[:-1], SMALLEST_SLOPE)
        value = _loss(design, targets, candidate, prior)
        if value < loss:
            return candidate, value
    return weights, loss


def _loss(design: Floats, targets: Floats, weights: Floats, prior: Prior) -> float:
    x = design @ weights
    away = weights - prior.mean
    return float((softplus(x) - targets * x).sum()) + 0.5 * float(away @ prior.precision @ away)


def _logits(logits: npt.ArrayLike, targets: npt.ArrayLike) -> Floats:
    x = np.asarray(logits, dtype=np.float64)
    if x.ndim != 1 or x.shape != np.shape(targets):
        raise CalibrationError(f"{x.shape} logits for {np.shape(targets)} outcomes")
    if not np.isfinite(x).all():
        raise CalibrationError("a logit is not a finite number")
    return x
