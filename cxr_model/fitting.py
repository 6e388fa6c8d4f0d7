"""Fitting one label's calibration curve to outcomes. Needs scikit-learn for isotonic only."""

import numpy as np
import numpy.typing as npt

from cxr_model.calibrators import Beta, Floats, Isotonic, Platt, logit, sigmoid, softplus
from cxr_model.errors import CalibrationError

#: Inverse variances of normal priors on (distance of a slope from 1, intercept): the network's own
#: probability is believed until some hundred outcomes say otherwise.
SLOPE_PRECISION = 10.0
INTERCEPT_PRECISION = 10.0

_STEPS = 200
_SMALLEST_SLOPE = 1e-3


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


def fit_platt(logits: npt.ArrayLike, targets: npt.ArrayLike, *, shrink: bool = False) -> Platt:
    """Platt's curve of highest likelihood for smoothed targets.

    `shrink` adds the priors above, which steadies labels with few positives. Raises
    CalibrationError when the two differ in length or an outcome is not 0 or 1.
    """
    x = _logits(logits, targets)
    slopes = _minimise(x[:, None], smoothed_targets(targets), np.array([1.0, 0.0]), shrink=shrink)
    return Platt(float(slopes[0]), float(slopes[1]))


def fit_beta(logits: npt.ArrayLike, targets: npt.ArrayLike, *, shrink: bool = False) -> Beta:
    """The beta curve of highest likelihood for smoothed targets, with both slopes positive.

    `shrink` and the errors are those of `fit_platt`.
    """
    x = _logits(logits, targets)
    columns = np.stack([-softplus(-x), softplus(x)], axis=1)
    start = np.array([1.0, 1.0, 0.0])
    a, b, c = _minimise(columns, smoothed_targets(targets), start, shrink=shrink)
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


def _minimise(columns: Floats, targets: Floats, start: Floats, *, shrink: bool) -> Floats:
    """Newton's method with step halving on the mean cross-entropy; slopes stay positive.

    `columns` (n, k) gets an intercept; `start` (k + 1) is also the centre of the priors.
    """
    design = np.concatenate([columns, np.ones((len(columns), 1))], axis=1)
    precision = np.full(start.size, SLOPE_PRECISION if shrink else 1e-6)
    precision[-1] = INTERCEPT_PRECISION if shrink else 1e-6
    weights, free = start.copy(), np.ones(start.size, dtype=bool)
    loss = _loss(design, targets, weights, precision, start)
    for _ in range(_STEPS):
        p = sigmoid(design @ weights)
        gradient = design.T @ (p - targets) + precision * (weights - start)
        # A slope held at its bound is let go again once the loss falls inwards.
        free = (weights > _SMALLEST_SLOPE) | (gradient < 0)
        free[-1] = True
        hessian = (design.T * (p * (1 - p))) @ design + np.diag(precision)
        step = np.zeros(start.size)
        step[free] = np.linalg.solve(hessian[np.ix_(free, free)], gradient[free])
        weights, better = _search(design, targets, weights, step, precision, start, loss)
        if loss - better <= 1e-12 * max(1.0, abs(loss)):
            break
        loss = better
    return weights


def _search(
    design: Floats,
    targets: Floats,
    weights: Floats,
    step: Floats,
    precision: Floats,
    centre: Floats,
    loss: float,
) -> tuple[Floats, float]:
    for halving in range(40):
        candidate = weights - step * 0.5**halving
        candidate[:-1] = np.maximum(candidate[:-1], _SMALLEST_SLOPE)
        value = _loss(design, targets, candidate, precision, centre)
        if value < loss:
            return candidate, value
    return weights, loss


def _loss(
    design: Floats, targets: Floats, weights: Floats, precision: Floats, centre: Floats
) -> float:
    x = design @ weights
    prior = 0.5 * float((precision * (weights - centre) ** 2).sum())
    return float((softplus(x) - targets * x).sum()) + prior


def _logits(logits: npt.ArrayLike, targets: npt.ArrayLike) -> Floats:
    x = np.asarray(logits, dtype=np.float64)
    if x.ndim != 1 or x.shape != np.shape(targets):
        raise CalibrationError(f"{x.shape} logits for {np.shape(targets)} outcomes")
    if not np.isfinite(x).all():
        raise CalibrationError("a logit is not a finite number")
    return x
