"""One likelihood ratio for all labels, from which the thresholds follow.

The likelihood ratio of a film and a label is the calibrated odds of the label over its prior odds:
how much the film speaks for the finding. A finding is called where this ratio reaches one value
that is common to all labels. Among all thresholds with the same sum of false positive rates over
the labels, those of a common ratio have the highest sum of sensitivities, as far as the
probabilities are calibrated (Neyman and Pearson, 1933). All labels share the evidence for the one
value, so a label with few positives adds no threshold of its own.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from cxr_model.calibrate.goal import Aim, Goal
from cxr_model.errors import CalibrationError
from cxr_model.findings import LABELS
from cxr_model.predict.curves import Floats, logit, sigmoid

#: Calls that a PPV is measured on at least; fewer show chance only.
LEAST_CALLS = 20


@dataclass(frozen=True, slots=True)
class CommonRatio:
    """A common likelihood ratio and the threshold per label that follows from it."""

    ratio: float
    thresholds: Mapping[str, float]


def without_findings(targets: Floats) -> npt.NDArray[np.bool_]:
    """Return (n,) True for films that have none of the labels; `targets` is (n, labels)."""
    return np.asarray(targets.sum(axis=1) == 0)


def prior_probabilities(
    probabilities: Floats, recorded: Mapping[str, float] | None = None
) -> Floats:
    """Return the prior probability of each label, (14,).

    The prior is the prevalence `recorded` for curves that were fitted on these films, or else the
    mean calibrated probability (n, 14) of the films. Neither counts the positives among the films,
    so a label with few of them has a steady prior. A label whose probabilities are all too high on
    these films has a prior as high, so it does not use up the calls of the others.
    """
    if recorded:
        priors = np.asarray([recorded[label] for label in LABELS])
    else:
        priors = probabilities.mean(axis=0)
    return np.asarray(sigmoid(logit(priors)))


def common_ratio(probabilities: Floats, targets: Floats, priors: Floats, goal: Goal) -> CommonRatio:
    """Return the ratio that reaches `goal` on these films, and its thresholds.

    `probabilities` are calibrated, (n, 14) as `targets`; `priors` is (14,). For false calls and PPV
    the ratio is the smallest that reaches the goal, for a sensitivity the largest.

    Raises CalibrationError if no film is without findings (false calls), no film has a finding
    (PPV, sensitivity), or no ratio with `LEAST_CALLS` calls reaches the PPV.
    """
    ratios = logit(probabilities) - logit(priors)
    order = np.argsort(-ratios, axis=None, kind="stable")
    descending = ratios.ravel()[order]
    # Calls before and after each run of equal ratios; the first choice calls nothing.
    calls = np.append(0, np.flatnonzero(np.append(np.diff(descending) != 0, True)) + 1)
    empty = without_findings(targets)
    true_calls = _at(calls, targets.ravel()[order])
    match goal.aim:
        case Aim.MAX_FALSE_CALLS:
            of_empty = np.broadcast_to(empty[:, None], ratios.shape).ravel()[order]
            chosen = _within_budget(_at(calls, of_empty), int(empty.sum()), goal.value)
        case Aim.PPV:
            chosen = _at_ppv(calls, true_calls, goal.value)
        case Aim.SENSITIVITY:
            chosen = _at_sensitivity(true_calls, goal.value)
        case Aim.SPECIFICITY:
            raise CalibrationError("a specificity is that of each label, not of a common ratio")
    log_ratio = _between(descending, int(calls[chosen]))
    thresholds = sigmoid(logit(priors) + log_ratio)
    return CommonRatio(
        math.exp(min(log_ratio, 700.0)), dict(zip(LABELS, thresholds.tolist(), strict=True))
    )


def _at(calls: npt.NDArray[np.int64], marks: npt.NDArray[np.generic]) -> Floats:
    """Return the number of marked entries among the first `calls` ones."""
    return np.append(0.0, np.cumsum(marks, dtype=np.float64))[calls]


def _within_budget(false_calls: Floats, films: int, budget: float) -> int:
    if films == 0:
        raise CalibrationError(
            "no film is without findings, so false calls cannot be counted: add such films, or "
            "choose thresholds by specificity"
        )
    return int(np.flatnonzero(false_calls <= budget * films + 1e-9)[-1])


def _at_ppv(calls: npt.NDArray[np.int64], true_calls: Floats, ppv: float) -> int:
    _need_positives(true_calls)
    enough = calls >= min(LEAST_CALLS, calls[-1])
    reached = np.where(enough, true_calls / np.maximum(calls, 1), 0.0)
    good = np.flatnonzero(reached >= ppv)
    if good.size == 0:
        raise CalibrationError(
            f"no likelihood ratio with {LEAST_CALLS} calls or more has a PPV of {ppv:g} on these "
            f"films; the highest is {reached.max():.3f}"
        )
    return int(good[-1])


def _at_sensitivity(true_calls: Floats, sensitivity: float) -> int:
    _need_positives(true_calls)
    return int(np.flatnonzero(true_calls >= sensitivity * true_calls[-1] - 1e-9)[0])


def _need_positives(true_calls: Floats) -> None:
    if true_calls[-1] == 0:
        raise CalibrationError("no film has a finding, so no PPV or sensitivity can be measured")


def _between(descending: Floats, calls: int) -> float:
    """Return a log ratio halfway between the last called and the first not called."""
    if calls == 0:
        return float(descending[0]) + 1.0
    if calls == descending.size:
        return float(descending[-1]) - 1.0
    return float(descending[calls - 1] + descending[calls]) / 2
