"""Metrics of one label: ranking, accuracy and calibration of its probabilities.

Nearly every function takes `probabilities` and `targets` (0 or 1) of shape (n,). A metric that the
outcomes do not define (an AUC without positives) is NaN.
"""

from collections.abc import Mapping

import numpy as np
import numpy.typing as npt
from sklearn.metrics import (
    average_precision_score,
    brier_score_loss,
    log_loss,
    roc_auc_score,
)

from cxr_model.calibrate.prevalence import before_shift
from cxr_model.data.predictions import Predictions
from cxr_model.files.reliability_file import Reliability, ReliabilityBin
from cxr_model.predict.curves import Floats

#: Bins of a calibration error. Its noise floor grows with the root of their number.
BINS = 10

_TINY = 1e-15

# Normal quantile of a two-sided 95 % interval.
_Z = 1.959964
_DIGITS = 5


def auc(probabilities: Floats, targets: Floats) -> float:
    """Return the area under the ROC curve."""
    if not 0 < targets.sum() < len(targets):
        return float("nan")
    return float(roc_auc_score(targets, probabilities))


def average_precision(probabilities: Floats, targets: Floats) -> float:
    """Return the precision at each distinct threshold, weighted by the recall it adds."""
    return float(average_precision_score(targets, probabilities)) if targets.any() else float("nan")


def brier(probabilities: Floats, targets: Floats) -> float:
    """Return the mean squared difference of probability and outcome (Brier, 1950)."""
    return float(brier_score_loss(targets, probabilities))


def brier_skill(probabilities: Floats, targets: Floats) -> float:
    """Return 1 - Brier / (Brier of a constant prediction of the prevalence); 0 is no skill."""
    prevalence = float(targets.mean())
    reference = prevalence * (1 - prevalence)
    return float("nan") if reference == 0 else 1 - brier(probabilities, targets) / reference


def nll(probabilities: Floats, targets: Floats) -> float:
    """Return the mean negative log likelihood in nats; probabilities are clipped by 1e-15."""
    return float(log_loss(targets, _clipped(probabilities), labels=[0, 1]))


def nll_terms(probabilities: Floats, targets: Floats) -> Floats:
    """Return the negative log likelihood of each row, (n,)."""
    p = _clipped(probabilities)
    return np.asarray(-(targets * np.log(p) + (1 - targets) * np.log1p(-p)))


def ece_mass(probabilities: Floats, targets: Floats, bins: int = BINS) -> float:
    """Return the expected calibration error over bins with equal numbers of rows."""
    return _ece(probabilities, targets, mass_bins(probabilities, bins))


def ece_width(probabilities: Floats, targets: Floats, bins: int = BINS) -> float:
    """Return the expected calibration error over bins of equal width in [0, 1]."""
    return _ece(probabilities, targets, width_bins(probabilities, bins))


def ece_debiased(probabilities: Floats, targets: Floats, bins: int = BINS) -> float:
    """Return the root mean squared calibration error over equal-mass bins, corrected for noise.

    The squared gap of each bin is reduced by the sampling variance of its observed share (Kumar,
    Liang and Ma, "Verified uncertainty calibration", NeurIPS 2019); a negative sum counts as zero.
    """
    bin_of = mass_bins(probabilities, bins)
    counts = np.bincount(bin_of).astype(np.float64)
    filled = counts > 1
    share = np.bincount(bin_of, targets)[filled] / counts[filled]
    predicted = np.bincount(bin_of, probabilities)[filled] / counts[filled]
    noise = share * (1 - share) / (counts[filled] - 1)
    excess = (predicted - share) ** 2 - noise
    return float(np.sqrt(max(0.0, float((excess * counts[filled]).sum()) / len(targets))))


def noise_floor(
    probabilities: Floats, bins: int = BINS, *, draws: int = 200, seed: int = 0
) -> float:
    """Return the expected equal-mass ECE of these probabilities if they are exactly right.

    Outcomes are drawn from the probabilities themselves. A measured ECE near this value is no
    evidence against the probabilities.
    """
    rng = np.random.default_rng(seed)
    bin_of = mass_bins(probabilities, bins)
    total = 0.0
    for _ in range(draws):
        drawn = (rng.random(len(probabilities)) < probabilities).astype(np.float64)
        total += _ece(probabilities, drawn, bin_of)
    return total / draws


def sensitivity(probabilities: Floats, targets: Floats, threshold: float) -> float:
    """Return the share of positives at or above the threshold."""
    return _share(probabilities[targets > 0] >= threshold)


def specificity(probabilities: Floats, targets: Floats, threshold: float) -> float:
    """Return the share of negatives below the threshold."""
    return _share(probabilities[targets == 0] < threshold)


def wilson(share: Floats, n: npt.NDArray[np.int64]) -> tuple[Floats, Floats]:
    """Return Wilson's 95 % interval of binomial shares of `n` (Wilson, 1927)."""
    centre = (share + _Z**2 / (2 * n)) / (1 + _Z**2 / n)
    half = _Z / (1 + _Z**2 / n) * np.sqrt(share * (1 - share) / n + _Z**2 / (4 * n**2))
    return centre - half, centre + half


def no_skill(probabilities: Floats, targets: Floats) -> bool:
    """Return True if the probabilities are no better than a constant prediction.

    A constant prediction of the prevalence has the lowest calibration error, so that error alone
    does not show quality. Skill needs an AUC above one half and a gain in Brier score.
    """
    ranking, saving = auc(probabilities, targets), brier_skill(probabilities, targets)
    return not (ranking > 0.5 and saving > 0.0)


def mass_bins(probabilities: Floats, bins: int) -> npt.NDArray[np.int64]:
    """Return the equal-mass bin (n,) of each row; equal probabilities share a bin."""
    n = len(probabilities)
    order = np.argsort(probabilities, kind="stable")
    ordered = probabilities[order]
    first = np.searchsorted(ordered, ordered, side="left")
    sizes = np.full(bins, n // bins) + (np.arange(bins) < n % bins)
    by_rank = np.repeat(np.arange(bins), sizes)
    bin_of = np.empty(n, dtype=np.int64)
    bin_of[order] = by_rank[first]
    return bin_of


def width_bins(probabilities: Floats, bins: int) -> npt.NDArray[np.int64]:
    """Return the equal-width bin (n,) of each row; 1 belongs to the last bin."""
    return np.minimum((probabilities * bins).astype(np.int64), bins - 1)


def _clipped(probabilities: Floats) -> Floats:
    return np.clip(probabilities, _TINY, 1 - _TINY)


def _ece(probabilities: Floats, targets: Floats, bin_of: npt.NDArray[np.int64]) -> float:
    gaps = np.bincount(bin_of, probabilities - targets)
    return float(np.abs(gaps).sum() / len(targets))


def _share(hits: npt.NDArray[np.bool_]) -> float:
    return float(hits.mean()) if hits.size else float("nan")


def measure_reliability(
    calibrated: Predictions, shifts: Mapping[str, float], part: str
) -> Reliability:
    """Return the bins of each label, with `BINS` bins of equal numbers of films.

    `calibrated` are the predictions of a bundle, and `shifts` those of its card: the bins have the
    probabilities before them. Films with an unknown outcome are left out.
    """
    scored, _ = before_shift(calibrated, {}, shifts)
    labels = {}
    for i, label in enumerate(scored.labels):
        p, y = scored.probabilities[:, i], scored.targets[:, i]
        known = ~np.isnan(y)
        labels[label] = reliability_bins(p[known], y[known]) if known.any() else ()
    return Reliability(part, len(scored), len(set(scored.patients)), labels)


def reliability_bins(p: Floats, y: Floats) -> tuple[ReliabilityBin, ...]:
    """Return the filled bins of probabilities (n,) and outcomes (n,), with Wilson intervals."""
    bin_of = mass_bins(p, BINS)
    counts = np.bincount(bin_of)
    filled = counts > 0
    n = counts[filled]
    predicted = np.bincount(bin_of, p)[filled] / n
    observed = np.bincount(bin_of, y)[filled] / n
    low, high = wilson(observed, n)
    values = np.clip(np.column_stack([predicted, observed, low, high]), 0, 1).round(_DIGITS)
    return tuple(
        ReliabilityBin(float(mean), float(rate), float(below), float(above), int(films))
        for (mean, rate, below, above), films in zip(values, n, strict=True)
    )
