"""How good probabilities are: ranking, accuracy and calibration of one label.

Every function takes `probabilities` and `targets` (0 or 1) of shape (n,). A metric that the
outcomes do not define (an AUC without positives) is NaN.
"""

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]

#: Bins of a calibration error. Its noise floor grows with the root of their number.
BINS = 10

_TINY = 1e-15


def auc(probabilities: Floats, targets: Floats) -> float:
    """Chance that a positive has a higher probability than a negative; ties count half."""
    positives = float(targets.sum())
    negatives = len(targets) - positives
    if positives == 0 or negatives == 0:
        return float("nan")
    ranks = _mean_ranks(probabilities)
    above = float(ranks[targets > 0].sum()) - positives * (positives + 1) / 2
    return above / (positives * negatives)


def average_precision(probabilities: Floats, targets: Floats) -> float:
    """Precision at each distinct threshold, weighted by the recall it adds."""
    positives = float(targets.sum())
    if positives == 0:
        return float("nan")
    order = np.argsort(-probabilities, kind="stable")
    last = np.append(np.diff(probabilities[order]) != 0, True)
    found = np.cumsum(targets[order])[last]
    called = np.flatnonzero(last) + 1
    return float((np.diff(found, prepend=0.0) * found / called).sum() / positives)


def brier(probabilities: Floats, targets: Floats) -> float:
    """Mean squared distance of probability and outcome (Brier, 1950)."""
    return float(((probabilities - targets) ** 2).mean())


def brier_skill(probabilities: Floats, targets: Floats) -> float:
    """Part of the Brier score of always saying the prevalence that is saved; 0 is no skill."""
    prevalence = float(targets.mean())
    reference = prevalence * (1 - prevalence)
    return float("nan") if reference == 0 else 1 - brier(probabilities, targets) / reference


def nll(probabilities: Floats, targets: Floats) -> float:
    """Mean negative log likelihood in nats; probabilities are kept 1e-15 from 0 and 1."""
    return float(nll_terms(probabilities, targets).mean())


def nll_terms(probabilities: Floats, targets: Floats) -> Floats:
    """Each row's negative log likelihood, (n,)."""
    p = np.clip(probabilities, _TINY, 1 - _TINY)
    return np.asarray(-(targets * np.log(p) + (1 - targets) * np.log1p(-p)))


def ece_mass(probabilities: Floats, targets: Floats, bins: int = BINS) -> float:
    """Mean distance of predicted and observed share over bins of as many rows each."""
    return _ece(probabilities, targets, mass_bins(probabilities, bins))


def ece_width(probabilities: Floats, targets: Floats, bins: int = BINS) -> float:
    """Mean distance of predicted and observed share over bins of equal width in [0, 1]."""
    return _ece(probabilities, targets, width_bins(probabilities, bins))


def ece_debiased(probabilities: Floats, targets: Floats, bins: int = BINS) -> float:
    """Root mean squared calibration error over equal-mass bins less what noise alone gives.

    Each bin's squared gap is reduced by the sampling variance of its observed share (Kumar, Liang
    and Ma, "Verified uncertainty calibration", NeurIPS 2019); below zero counts as zero.
    """
    which = mass_bins(probabilities, bins)
    counts = np.bincount(which).astype(np.float64)
    filled = counts > 1
    share = np.bincount(which, targets)[filled] / counts[filled]
    predicted = np.bincount(which, probabilities)[filled] / counts[filled]
    noise = share * (1 - share) / (counts[filled] - 1)
    excess = (predicted - share) ** 2 - noise
    return float(np.sqrt(max(0.0, float((excess * counts[filled]).sum()) / len(targets))))


def noise_floor(
    probabilities: Floats, bins: int = BINS, *, draws: int = 200, seed: int = 0
) -> float:
    """Equal-mass ECE to be expected of these probabilities when they are exactly right.

    Outcomes are drawn from the probabilities themselves; a measured ECE near this says nothing
    against them.
    """
    rng = np.random.default_rng(seed)
    which = mass_bins(probabilities, bins)
    total = 0.0
    for _ in range(draws):
        drawn = (rng.random(len(probabilities)) < probabilities).astype(np.float64)
        total += _ece(probabilities, drawn, which)
    return total / draws


def sensitivity(probabilities: Floats, targets: Floats, threshold: float) -> float:
    """Share of positives at or above the threshold."""
    return _share(probabilities[targets > 0] >= threshold)


def specificity(probabilities: Floats, targets: Floats, threshold: float) -> float:
    """Share of negatives below the threshold."""
    return _share(probabilities[targets == 0] < threshold)


def no_skill(probabilities: Floats, targets: Floats) -> bool:
    """Whether these are no better than always saying the prevalence.

    The constant predictor has the best calibration error of all, so that error alone must never
    pass for quality: without an AUC above one half or a saving in Brier score there is no skill.
    """
    ranking, saving = auc(probabilities, targets), brier_skill(probabilities, targets)
    return not (ranking > 0.5 and saving > 0.0)


def mass_bins(probabilities: Floats, bins: int) -> npt.NDArray[np.int64]:
    """The equal-mass bin (n,) of each row; equal probabilities are never parted."""
    n = len(probabilities)
    order = np.argsort(probabilities, kind="stable")
    ordered = probabilities[order]
    first = np.searchsorted(ordered, ordered, side="left")
    sizes = np.full(bins, n // bins) + (np.arange(bins) < n % bins)
    by_rank = np.repeat(np.arange(bins), sizes)
    which = np.empty(n, dtype=np.int64)
    which[order] = by_rank[first]
    return which


def width_bins(probabilities: Floats, bins: int) -> npt.NDArray[np.int64]:
    """The equal-width bin (n,) of each row; 1 belongs to the last."""
    return np.minimum((probabilities * bins).astype(np.int64), bins - 1)


def _ece(probabilities: Floats, targets: Floats, which: npt.NDArray[np.int64]) -> float:
    gaps = np.bincount(which, probabilities - targets)
    return float(np.abs(gaps).sum() / len(targets))


def _mean_ranks(values: Floats) -> Floats:
    """Ranks from 1; equal values share their mean rank."""
    _, inverse, counts = np.unique(values, return_inverse=True, return_counts=True)
    last = np.cumsum(counts)
    return np.asarray((last - (counts - 1) / 2)[inverse], dtype=np.float64)


def _share(hits: npt.NDArray[np.bool_]) -> float:
    return float(hits.mean()) if hits.size else float("nan")
