"""Fitting one label's calibration curve to outcomes. Needs scikit-learn for isotonic only."""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from cxr_model.errors import CalibrationError
from cxr_model.predict.curves import Beta, Floats, Isotonic, Platt, logit, sigmoid, softplus

_STEPS = 200

_SMALLEST_SLOPE = 1e-3

_NEXT_TO_NOTHING = 1e-6


@dataclass(frozen=True, slots=True)
class Prior:
    """A normal prior on beta's (a, b, c): `mean` (3,) and inverse covariance `precision` (3, 3).

    On Platt's (slope, intercept) it is the same prior where a = b.
    """

    mean: Floats
    precision: Floats

    def for_platt(self) -> "Prior":
        """The prior where both slopes are one, over (slope, intercept)."""
        both = np.array([[1.0, 0.0], [1.0, 0.0], [0.0, 1.0]])
        precision = both.T @ self.precision @ both
        mean = np.linalg.solve(precision, both.T @ self.precision @ self.mean)
        return Prior(mean, precision)


#: Nothing is believed beforehand; the slopes start from 1.
FLAT = Prior(np.array([1.0, 1.0, 0.0]), _NEXT_TO_NOTHING * np.eye(3))

#: The network's own probability is believed until some hundred outcomes say otherwise.
NETWORK_PRIOR = Prior(np.array([1.0, 1.0, 0.0]), np.diag([5.0, 5.0, 10.0]))


def smoothed_targets(targets: npt.ArrayLike) -> Floats:
    """Outcomes drawn away from 0 and 1 by Platt's rule: (n₊+1)/(n₊+2) and 1/(n₋+2).

    Raises CalibrationError for values other than 0 and 1, or when there are none.
    """
    y = np.asarray(targets, dtype=np.float64)
    if y.ndim != 1 or y.size == 0 or not np.isin(y, (0.0, 1.0)).all():
        raise CalibrationError("outcomes must be a list of 0 and 1")
    positives = float(y.sum())
    negatives = y.size - positives
    return np.asarray(np.where(y > 0, (positives + 1) / (positives + 2), 1 / (negatives + 2)))


def fit_platt(logits: npt.ArrayLike, targets: npt.ArrayLike, *, prior: Prior = FLAT) -> Platt:
    """Platt's curve of highest likelihood, or posterior density, for smoothed targets.

    A `prior` steadies labels with few positives. Raises CalibrationError when the two differ in
    length or an outcome is not 0 or 1.
    """
    x = _logits(logits, targets)
    slope, intercept = _minimise(x[:, None], smoothed_targets(targets), prior.for_platt())
    return Platt(float(slope), float(intercept))


def fit_beta(logits: npt.ArrayLike, targets: npt.ArrayLike, *, prior: Prior = FLAT) -> Beta:
    """The beta curve of highest likelihood or posterior density, with both slopes positive.

    Targets, `prior` and errors are those of `fit_platt`.
    """
    x = _logits(logits, targets)
    columns = np.stack([-softplus(-x), softplus(x)], axis=1)
    a, b, c = _minimise(columns, smoothed_targets(targets), prior)
    return Beta(float(a), float(b), float(c))


def fit_isotonic(logits: npt.ArrayLike, targets: npt.ArrayLike) -> Isotonic:
    """Isotonic regression of smoothed targets, each step replaced by its centre.

    Errors are those of `fit_platt`.
    """
    from sklearn.isotonic import IsotonicRegression

    x = _logits(logits, targets)
    levels = IsotonicRegression().fit_transform(x, smoothed_targets(targets))
    # Rounded, because one step's level comes back with differences in the last bits.
    values, inverse, counts = np.unique(
        np.round(levels, 10), return_inverse=True, return_counts=True
    )
    centres = np.bincount(inverse, weights=x) / counts
    # Equal scores split between two steps would give knots on top of each other.
    keep = np.concatenate([[True], np.diff(centres) > 1e-9])
    return Isotonic(tuple(centres[keep].tolist()), tuple(logit(values[keep]).tolist()))


def fit_offset(logits: npt.ArrayLike, targets: npt.ArrayLike) -> float:
    """What to add to calibrated logits so that they fit smoothed outcomes best."""
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
    """Newton's method with step halving on the cross-entropy; slopes stay positive.

    `columns` (n, k) gets an intercept; `prior` is over the k slopes and the intercept.
    """
    design = np.concatenate([columns, np.ones((len(columns), 1))], axis=1)
    weights = prior.mean.copy()
    weights[:-1] = np.maximum(weights[:-1], _SMALLEST_SLOPE)
    loss = _loss(design, targets, weights, prior)
    for _ in range(_STEPS):
        p = sigmoid(design @ weights)
        gradient = design.T @ (p - targets) + prior.precision @ (weights - prior.mean)
        # A slope held at its bound is let go again once the loss falls inwards.
        free = (weights > _SMALLEST_SLOPE) | (gradient < 0)
        free[-1] = True
        hessian = (design.T * (p * (1 - p))) @ design + prior.precision
        step = np.zeros(weights.size)
        step[free] = np.linalg.solve(hessian[np.ix_(free, free)], gradient[free])
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
        candidate[:-1] = np.maximum(candidate[:-1], _SMALLEST_SLOPE)
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
