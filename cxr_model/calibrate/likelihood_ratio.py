"""One likelihood ratio for all labels, from which the thresholds follow.

The likelihood ratio of a film and a label is the calibrated odds of the label over its prior odds:
how much the film speaks for the finding. A finding is called where this ratio reaches one value
that is common to all labels. Among all thresholds that make as many calls on films without the
finding, those of a common ratio make the most true calls (Neyman and Pearson, 1933). All labels
share the evidence for the one value, so a label with few positives adds no threshold of its own.
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

# Weight of the mean calibrated probability in a prevalence, in positives.
_EXPECTED_POSITIVES = 10.0


@dataclass(frozen=True, slots=True)
class CommonRatio:
    """A common likelihood ratio and the threshold per label that follows from it."""

    ratio: float
    thresholds: Mapping[str, float]


def without_findings(targets: Floats) -> npt.NDArray[np.bool_]:
    """Return (n,) True for films that have none of the labels; `targets` is (n, labels)."""
    return np.asarray(targets.sum(axis=1) == 0)


def prior_probabilities(
    probabilities: Floats, targets: Floats, recorded: Mapping[str, float] | None = None
) -> Floats:
    """Return the prior probability of each label, (14,).

    The prior is the prevalence `recorded` for the calibration, because calibrated probabilities
    refer to it. Without a record it is the prevalence among the films. That prevalence is shrunk
    towards the mean calibrated probability by `_EXPECTED_POSITIVES`: a label with few positives
    then has the prior of its probabilities, a label with many that of its outcomes.
    """
    if recorded is not None:
        priors = np.asarray([recorded[label] for label in LABELS])
    else:
        mean = probabilities.mean(axis=0)
        seen = targets.sum(axis=0) + _EXPECTED_POSITIVES
        priors = mean * seen / (len(targets) * mean + _EXPECTED_POSITIVES)
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
