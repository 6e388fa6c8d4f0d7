"""Priors for the curve of each label, pooled over all labels of a network.

A network is overconfident by a similar factor for all findings. Each label's slope, curvature and
offset is therefore shrunk towards the labels' common value, as far as their spread allows (random
effects; DerSimonian and Laird, "Meta-analysis in clinical trials", 1986). Spread is separated from
noise by standard errors over patients, because the films of a patient are not independent outcomes
(Liang and Zeger, 1986).
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from cxr_model.calibrate.fitting import NETWORK_PRIOR, SMALLEST_SLOPE, Prior, fit_platt
from cxr_model.calibrate.slope import common_slope
from cxr_model.predict.curves import Floats, sigmoid, softplus

#: Positives and negatives that a label needs to contribute to the common values.
POOLING_MINIMUM = 10

# Variances of slope, curvature and offset if no label contributes.
_UNKNOWN = np.array([0.1, 0.1, 0.1])

# Smallest variance.
_LEAST = 1e-4

# Variance of a value that the labels have in common.
_NONE = 1e-9

# Precision of the prior on the common slope, that of `NETWORK_PRIOR` on both slopes.
_SLOPE_PRECISION = 10.0


@dataclass(frozen=True, slots=True)
class Common:
    """Means and variances (3,) of slope, curvature and offset over the labels of a network."""

    mean: Floats
    variance: Floats


@dataclass(frozen=True, slots=True)
class Evidence:
    """Estimates of slope, curvature and offset from one label's outcomes, (3,) each.

    The parametrisation makes the three nearly independent: the offset is taken at the `centre` of
    the logits, the curvature orthogonal to the slope. `inflation` is the ratio of variances over
    patients to variances over films.
    """

    estimate: Floats
    variance: Floats
    inflation: float
    is_informative: bool
    centre: float
    curve_mean: float
    curve_slope: float

    @classmethod
    def of(cls, logits: Floats, targets: Floats, patients: npt.NDArray[Any]) -> "Evidence":
        """Estimate by one Newton step from a shrunk Platt curve; all arguments are (n,)."""
        start = fit_platt(logits, targets, prior=NETWORK_PRIOR)
        p = sigmoid(start.apply(logits))
        weight = p * (1 - p)
        centre = float(np.average(logits, weights=weight))
        moved, curve = logits - centre, _curvature(logits)
        curve_mean = float(np.average(curve, weights=weight))
        spread = float((weight * moved**2).sum())
        # A constant output has no slope.
        varies = spread > _LEAST
        curve_slope = float((weight * moved * curve).sum()) / spread if varies else 0.0
        design = np.stack(
            [moved, curve - curve_mean - curve_slope * moved, np.ones_like(moved)], axis=1
        )
        inverse = np.linalg.inv((design.T * weight) @ design + _LEAST * np.eye(3))
        scores = design * (targets - p)[:, None]
        patient = np.unique(patients, return_inverse=True)[1]
        by_patient = np.stack([np.bincount(patient, column) for column in scores.T], axis=1)
        robust = np.diag(inverse @ (by_patient.T @ by_patient) @ inverse)
        plain = np.diag(inverse)
        from_start = np.array([start.slope, 0.0, start.apply(centre) - centre])
        positives = float(targets.sum())
        return cls(
            estimate=from_start + inverse @ scores.sum(axis=0),
            variance=np.maximum(robust, plain),
            inflation=max(1.0, float(np.median(robust / plain))),
            is_informative=varies and min(positives, len(targets) - positives) >= POOLING_MINIMUM,
            centre=centre,
            curve_mean=curve_mean,
            curve_slope=curve_slope,
        )

    def prior(self, common: Common) -> Prior:
        """Return `common` as a prior on the label's beta parameters a, b and c."""
        slope, curve = np.array([1.0, 0.0, 0.0]), np.array([0.0, 1.0, 0.0])
        # The curve is slope (x - centre) + curvature (q - curve_mean - curve_slope (x - centre))
        # + offset + centre; Beta has it as a, b and c over the same x and q.
        along_x = slope - self.curve_slope * curve
        constant = np.array([0.0, 0.0, 1.0]) - self.centre * along_x - self.curve_mean * curve
        to_beta = np.stack([along_x + curve / 2, along_x - curve / 2, constant])
        from_beta = np.linalg.inv(to_beta)
        mean = to_beta @ common.mean + np.array([0.0, 0.0, self.centre])
        precision = from_beta.T @ np.diag(self.inflation / common.variance) @ from_beta
        return Prior(mean, precision)


@dataclass(frozen=True, slots=True)
class SharedPriors:
    """Priors of one label for `fit_platt` and `fit_beta`.

    `pooled` pulls its slope, curvature and offset towards the common values. `common` holds its
    slope to that of all labels, without curvature, and pulls its offset only.
    """

    pooled: Prior
    common: Prior


def shared_priors(
    logits: Floats, targets: Floats, patients: npt.NDArray[Any]
) -> list[SharedPriors]:
    """Return the priors per label; arrays are (n, labels), an outcome that is not known is NaN.

    A label without a known outcome gets the prior of the network's own probability.
    """
    labels = []
    for i in range(logits.shape[1]):
        known = ~np.isnan(targets[:, i])
        evidence = None
        if known.any():
            evidence = Evidence.of(logits[known, i], targets[known, i], patients[known])
        labels.append(evidence)
    common = pool([label for label in labels if label is not None and label.is_informative])
    slope = common_slope(logits, targets, precision=_SLOPE_PRECISION)
    if math.isnan(slope):
        slope = 1.0
    one_slope = Common(
        np.array([max(slope, SMALLEST_SLOPE), 0.0, 0.0]),
        np.array([_NONE, _NONE, common.variance[2]]),
    )
    return [
        SharedPriors(NETWORK_PRIOR, NETWORK_PRIOR)
        if label is None
        else SharedPriors(label.prior(common), label.prior(one_slope))
        for label in labels
    ]


def pool(labels: Sequence[Evidence]) -> Common:
    """Return the common slope, curvature and offset of the labels, and their variance.

    Offsets are shrunk towards 0, the network's own mean; an error of the mean that labels share
    widens the spread, so it survives. Without labels the common values are those of the network,
    with the variances `_UNKNOWN`.
    """
    if not labels:
        return Common(np.array([1.0, 0.0, 0.0]), _UNKNOWN)
    estimates = np.stack([label.estimate for label in labels])
    variances = np.stack([label.variance for label in labels])
    weight = 1 / variances
    first = _mean(estimates, weight)
    lost = (weight**2).sum(axis=0) / weight.sum(axis=0)
    spread = np.zeros(3)
    if len(labels) > 1:
        spread = _spread(estimates - first, weight, len(labels) - 1, weight.sum(axis=0) - lost)
    mean = _mean(estimates, 1 / (variances + spread))
    spread[2] = _spread(estimates, weight, len(labels), weight.sum(axis=0))[2]
    mean[2] = 0.0
    return Common(mean, np.maximum(spread, _LEAST))


def _mean(estimates: Floats, weight: Floats) -> Floats:
    return np.asarray((weight * estimates).sum(axis=0) / weight.sum(axis=0))


def _spread(distances: Floats, weight: Floats, freedom: int, scale: Floats) -> Floats:
    """Return variances between labels: their squared distances in excess of their errors."""
    excess = (weight * distances**2).sum(axis=0) - freedom
    return np.asarray(np.maximum(excess, 0.0) / scale)


def _curvature(logits: Floats) -> Floats:
    """Return (ln p + ln(1 - p)) / 2; its coefficient is the difference of beta's a and b."""
    return np.asarray(-(softplus(logits) + softplus(-logits)) / 2)
