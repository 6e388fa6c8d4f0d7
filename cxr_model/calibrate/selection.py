"""Selects the calibration curve of a label by its loss on patients left out of the fit."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from cxr_model.calibrate.fitting import Prior, fit_beta, fit_isotonic, fit_platt
from cxr_model.predict.choices import Method
from cxr_model.predict.curves import Calibrator, Floats, Identity, sigmoid

#: Outcomes of the rarer kind below which a third parameter would follow the noise, and below which
#: a curve must win clearly.
FEW_OUTCOMES = 100

#: Gain in loss on left-out patients that a curve needs, in standard errors over patients. The
#: pooled curve is the default, so only evidence against it counts.
LEAST_GAIN = -0.5
LEAST_GAIN_OF_FEW = 2.0

#: Platt's curve is the beta curve without curvature. Isotonic lost to both on unseen patients in
#: every split tried.
DEFAULT_METHODS = (Method.BETA, Method.PLATT)
_PREFERENCE = (*DEFAULT_METHODS, Method.ISOTONIC, Method.IDENTITY)


@dataclass(frozen=True, slots=True)
class Folds:
    """The fold (n,) in which each film is left out, and the patient (n,) of each film."""

    of_film: npt.NDArray[np.int64]
    patients: npt.NDArray[np.object_]

    def standard_errors(self, gains: Floats) -> float:
        """Return the sum of gains per film (n,) in standard errors over patients, or 0."""
        patient = np.unique(self.patients, return_inverse=True)[1]
        by_patient = np.bincount(patient, gains)
        spread = float(np.sqrt((by_patient**2).sum()))
        return float(by_patient.sum()) / spread if spread > 0 else 0.0


@dataclass(frozen=True, slots=True)
class Priors:
    """The prior of a label from all patients, and per fold from the patients left in."""

    whole: Prior
    left_in: Sequence[Prior]


@dataclass(frozen=True, slots=True)
class Selection:
    """The selected curve of a label and a report of its out-of-fold scores."""

    calibrator: Calibrator
    report: Mapping[str, Any]


def select(
    logits: Floats,
    targets: Floats,
    folds: Folds,
    priors: Priors,
    methods: tuple[Method, ...] = DEFAULT_METHODS,
) -> Selection:
    """Fit the richest of `methods` that the outcomes allow, or keep the network's probability.

    `logits` and `targets` are (n,). The identity is selected if the curve's gain in likelihood on
    left-out patients is below `LEAST_GAIN` (`LEAST_GAIN_OF_FEW` with few outcomes), or if its
    Brier score is worse by more than chance.
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
    # If all outcomes are equal, every shift towards them is a gain: no evidence.
    chosen = method if wins and rarer > 0 else Method.IDENTITY
    report = {
        "images": len(targets),
        "positives": positives,
        "chosen": chosen.value,
        "gain_in_standard_errors": {"nll": nll_gain, "brier": brier_gain},
        "left_out": {
            name.value: {"nll": float(nll.mean()), "brier": float(brier.mean())}
            for name, (nll, brier) in ((Method.IDENTITY, own), (method, curved))
        },
    }
    return Selection(_fit(chosen, logits, targets, priors.whole), report)


def _candidate(methods: tuple[Method, ...], rarer: int) -> Method:
    ranked = sorted(methods, key=_PREFERENCE.index)
    allowed = [method for method in ranked if method is not Method.BETA or rarer >= FEW_OUTCOMES]
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
    """Return negative log likelihood and squared error of each film, (n,) each."""
    nll = np.logaddexp(0.0, logits) - targets * logits
    return np.asarray(nll), np.asarray((sigmoid(logits) - targets) ** 2)
