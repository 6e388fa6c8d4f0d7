"""One label's calibration curve, judged by what it does for patients left out of its fit."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from cxr_model.calibrate.fitting import Prior, fit_beta, fit_isotonic, fit_platt
from cxr_model.predict.curves import Calibrator, Floats, Identity, Method, sigmoid

#: With fewer outcomes of the rarer kind a third parameter follows the noise, and a curve must win
#: clearly.
FEW_OUTCOMES = 100

#: By how many standard errors, over patients, a curve must lower the loss of patients left out. A
#: curve drawn to what the labels have in common is the rule: only evidence against it counts.
LEAST_GAIN = -0.5

LEAST_GAIN_OF_FEW = 2.0

#: Platt's curve is the beta curve without curvature; isotonic lost to both on patients it had not
#: seen in every split tried.
DEFAULT_METHODS = (Method.BETA, Method.PLATT)

_PREFERENCE = (*DEFAULT_METHODS, Method.ISOTONIC, Method.IDENTITY)


@dataclass(frozen=True, slots=True)
class Folds:
    """Which fold (n,) each film is left out in, and whose film it is (n,)."""

    of_film: npt.NDArray[np.int64]
    patients: npt.NDArray[np.object_]

    def standard_errors(self, gains: Floats) -> float:
        """Sum of gains per film (n,) in standard errors over patients; 0 where there is no gain."""
        whose = np.unique(self.patients, return_inverse=True)[1]
        by_patient = np.bincount(whose, gains)
        spread = float(np.sqrt((by_patient**2).sum()))
        return float(by_patient.sum()) / spread if spread > 0 else 0.0


@dataclass(frozen=True, slots=True)
class Priors:
    """One label's prior from all patients, and from those that are not left out, per fold."""

    whole: Prior
    left_in: Sequence[Prior]


@dataclass(frozen=True, slots=True)
class Score:
    """Mean negative log likelihood and Brier score on patients left out."""

    nll: float
    brier: float


@dataclass(frozen=True, slots=True)
class Choice:
    """The curve chosen for one label and the out-of-fold scores it was chosen by."""

    calibrator: Calibrator
    report: Mapping[str, Any]


def choose(
    logits: Floats,
    targets: Floats,
    folds: Folds,
    priors: Priors,
    methods: tuple[Method, ...] = DEFAULT_METHODS,
) -> Choice:
    """The richest of `methods` that the outcomes allow, unless patients left out speak against it.

    `logits` and `targets` are (n,). Where the curve does not do for likelihood what is asked of it
    above, or raises the Brier score by more than chance, the network's own probability stays.
    """
    positives = int(targets.sum())
    rarer = min(positives, len(targets) - positives)
    method = _candidate(methods, rarer)
    own = _losses(logits, targets)
    curved = _losses(_left_out(method, logits, targets, folds, priors), targets)
    nll_gain, brier_gain = (
        folds.standard_errors(before - after) for before, after in zip(own, curved, strict=True)
    )
    least = LEAST_GAIN_OF_FEW if rarer < FEW_OUTCOMES else LEAST_GAIN
    wins = nll_gain >= least and brier_gain >= LEAST_GAIN
    # Outcomes of one kind gain by every shift towards it: that is no evidence.
    chosen = method if wins and rarer > 0 else Method.IDENTITY
    report = {
        "images": len(targets),
        "positives": positives,
        "chosen": chosen.value,
        "gain_in_standard_errors": {"nll": nll_gain, "brier": brier_gain},
        "left_out": {
            name.value: asdict(Score(*(float(loss.mean()) for loss in losses)))
            for name, losses in ((Method.IDENTITY, own), (method, curved))
        },
    }
    return Choice(_fit(chosen, logits, targets, priors.whole), report)


def _candidate(methods: tuple[Method, ...], rarer: int) -> Method:
    ranked = sorted(methods, key=_PREFERENCE.index)
    allowed = [one for one in ranked if one is not Method.BETA or rarer >= FEW_OUTCOMES]
    return (allowed or ranked)[0]


def _fit(method: Method, logits: Floats, targets: Floats, prior: Prior) -> Calibrator:
    match method:
        case Method.IDENTITY:
            return Identity()
        case Method.PLATT:
            return fit_platt(logits, targets, prior=prior)
        case Method.BETA:
            return fit_beta(logits, targets, prior=prior)
        case Method.ISOTONIC:
            return fit_isotonic(logits, targets)


def _left_out(
    method: Method, logits: Floats, targets: Floats, folds: Folds, priors: Priors
) -> Floats:
    calibrated = np.empty_like(logits)
    for fold, prior in enumerate(priors.left_in):
        out = folds.of_film == fold
        calibrated[out] = _fit(method, logits[~out], targets[~out], prior).apply(logits[out])
    return calibrated


def _losses(logits: Floats, targets: Floats) -> tuple[Floats, Floats]:
    """Negative log likelihood and squared error of each film, (n,) each."""
    nll = np.logaddexp(0.0, logits) - targets * logits
    return np.asarray(nll), np.asarray((sigmoid(logits) - targets) ** 2)
