"""What one network's labels have in common, as priors for the curve of each.

A network that is overconfident for one finding is so, by much the same factor, for the others: the
labels estimate one another. Each label's slope, curvature and offset is drawn to the labels' common
value as far as their spread allows (random effects; DerSimonian and Laird, "Meta-analysis in
clinical trials", 1986). Spread and noise are told apart by standard errors over patients, because
the films of one patient are not independent outcomes (Liang and Zeger, 1986).
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from cxr_model.calibrate.fitting import NETWORK_PRIOR, Prior, fit_platt
from cxr_model.predict.curves import Floats, sigmoid, softplus

#: A label with fewer outcomes of either kind says nothing of the others; it only learns from them.
POOLING_MINIMUM = 10

# Variances (slope, curvature, offset) where no label can say; and the least of any.
_UNKNOWN = np.array([0.1, 0.1, 0.1])

_LEAST = 1e-4


@dataclass(frozen=True, slots=True)
class Common:
    """Means and variances (3,) of slope, curvature and offset over a network's labels."""

    mean: Floats
    variance: Floats


@dataclass(frozen=True, slots=True)
class Evidence:
    """What one label's outcomes say of its slope, curvature and offset, (3,) each.

    The three are taken where the label's outcomes are decided, so that they are nearly
    independent: the offset at the `centre` of the logits, the curvature apart from the slope.
    `inflation` is how much larger variances over patients are than over films.
    """

    estimate: Floats
    variance: Floats
    inflation: float
    is_informative: bool
    centre: float
    curve_mean: float
    curve_slope: float

    @classmethod
    def of(cls, logits: Floats, targets: Floats, patients: npt.NDArray[np.object_]) -> "Evidence":
        """One Newton step from a cautious Platt curve; all (n,)."""
        start = fit_platt(logits, targets, prior=NETWORK_PRIOR)
        p = sigmoid(start.apply(logits))
        weight = p * (1 - p)
        centre = float(np.average(logits, weights=weight))
        moved, curve = logits - centre, _curvature(logits)
        curve_mean = float(np.average(curve, weights=weight))
        spread = float((weight * moved**2).sum())
        # A network that always says the same has no slope to be estimated.
        varies = spread > _LEAST
        curve_slope = float((weight * moved * curve).sum()) / spread if varies else 0.0
        design = np.stack(
            [moved, curve - curve_mean - curve_slope * moved, np.ones_like(moved)], axis=1
        )
        inverse = np.linalg.inv((design.T * weight) @ design + _LEAST * np.eye(3))
        scores = design * (targets - p)[:, None]
        whose = np.unique(patients, return_inverse=True)[1]
        by_patient = np.stack([np.bincount(whose, column) for column in scores.T], axis=1)
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
        """`common` as a prior on this label's beta parameters a, b and c."""
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


def shared_priors(
    logits: Floats, targets: Floats, patients: npt.NDArray[np.object_]
) -> list[Prior]:
    """A prior per label for `fit_platt` and `fit_beta`; `logits` and `targets` are (n, labels)."""
    columns = range(logits.shape[1])
    labels = [Evidence.of(logits[:, i], targets[:, i], patients) for i in columns]
    common = pool([label for label in labels if label.is_informative])
    return [label.prior(common) for label in labels]


def pool(labels: Sequence[Evidence]) -> Common:
    """The labels' common slope, curvature and offset, and how far labels differ in them.

    Offsets are drawn to 0, the network's own mean; an error of the mean that labels share widens
    their spread and so is kept. Without labels the network is believed, as far as `_UNKNOWN` says.
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
    """Variances between labels: what their distances exceed their errors by."""
    excess = (weight * distances**2).sum(axis=0) - freedom
    return np.asarray(np.maximum(excess, 0.0) / scale)


def _curvature(logits: Floats) -> Floats:
    """(ln p + ln(1 - p)) / 2: beta's slopes a and b differ by its coefficient."""
    return np.asarray(-(softplus(logits) + softplus(-logits)) / 2)
