"""Selects the calibration curves of all labels together, by loss on patients left out of the fit.

The evidence of one label rarely decides. The labels therefore decide together how their curves are
fitted, and a label leaves that decision only if its own scores are clearly worse for it.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from cxr_model.calibrate.fitting import fit_beta, fit_isotonic, fit_platt
from cxr_model.calibrate.pooling import SharedPriors
from cxr_model.predict.choices import Sharing
from cxr_model.predict.curves import Calibrator, Floats, Identity, sigmoid

#: Outcomes of the rarer kind below which a third parameter would follow the noise; and, summed
#: over the labels, below which the curves must win clearly.
FEW_OUTCOMES = 100

#: Gain in loss on left-out patients that the curves need, in standard errors over patients. The
#: curves are the default, so only evidence against them counts.
LEAST_GAIN = -0.5
LEAST_GAIN_OF_FEW = 2.0

#: Gains of a single label, in the same unit, at which it keeps the network's probability. The loss
#: in likelihood is the more sensitive sign that the Brier score will get worse on other patients.
LEAST_OWN_GAIN: Mapping[str, float] = {"nll": -0.75, "brier": -2.0}

#: Isotonic lost to the others on unseen patients in every split tried.
DEFAULT_METHODS = (Sharing.COMMON, Sharing.PLATT, Sharing.BETA)
_SIMPLEST_FIRST = (*DEFAULT_METHODS, Sharing.ISOTONIC)


@dataclass(frozen=True, slots=True)
class Folds:
    """The fold (n,) in which each film is left out, and the patient (n,) of each film."""

    of_film: npt.NDArray[np.int64]
    patients: npt.NDArray[Any]

    def standard_errors(self, gains: Floats) -> float:
        """Return the sum of gains per film (n,) in standard errors over patients, or 0."""
        patient = np.unique(self.patients, return_inverse=True)[1]
        by_patient = np.bincount(patient, gains)
        spread = float(np.sqrt((by_patient**2).sum()))
        return float(by_patient.sum()) / spread if spread > 0 else 0.0


@dataclass(frozen=True, slots=True)
class Priors:
    """The priors of all labels from all patients, and per fold from the patients left in."""

    whole: Sequence[SharedPriors]
    left_in: Sequence[Sequence[SharedPriors]]


@dataclass(frozen=True, slots=True)
class Selection:
    """The curve of each label and a report of its out-of-fold scores."""

    calibrators: tuple[Calibrator, ...]
    reports: tuple[Mapping[str, Any], ...]


@dataclass(frozen=True, slots=True)
class _Losses:
    """Negative log likelihood and squared error of each film and label, (n, labels).

    They are 0 where the outcome is not known.
    """

    nll: Floats
    brier: Floats

    @classmethod
    def of(cls, logits: Floats, targets: Floats) -> "_Losses":
        known = ~np.isnan(targets)
        nll = np.logaddexp(0.0, logits) - targets * logits
        return cls(
            np.where(known, nll, 0.0), np.where(known, (sigmoid(logits) - targets) ** 2, 0.0)
        )


def select(
    logits: Floats,
    targets: Floats,
    folds: Folds,
    priors: Priors,
    methods: tuple[Sharing, ...] = DEFAULT_METHODS,
) -> Selection:
    """Fit all labels by the one of `methods` with the least loss on left-out patients.

    `logits` and `targets` are (n, labels); a target that is not known is NaN. All labels keep the
    network's probability if the gain in likelihood over it is below `LEAST_GAIN`
    (`LEAST_GAIN_OF_FEW` with few outcomes), or if their Brier score is worse by more than chance. A
    single label keeps it if one of its own gains is at most `LEAST_OWN_GAIN`. A label with one kind
    of outcome has no vote.
    """
    known = (~np.isnan(targets)).sum(axis=0)
    positives = np.nansum(targets, axis=0)
    rarer = np.minimum(positives, known - positives).astype(int)
    losses = {Sharing.IDENTITY: _Losses.of(logits, targets)}
    for method in _candidates(methods, rarer):
        losses[method] = _Losses.of(_left_out(method, logits, targets, folds, priors), targets)
    votes = rarer > 0
    chosen = _joint_choice(losses, votes, int(rarer.sum()), folds)
    calibrators, reports = [], []
    for i, prior in enumerate(priors.whole):
        gains = _gains(losses, chosen, folds, np.arange(len(rarer)) == i)
        keeps = any(gains[score] <= least for score, least in LEAST_OWN_GAIN.items())
        own = Sharing.IDENTITY if keeps else chosen
        calibrators.append(_fit(own, logits[:, i], targets[:, i], prior))
        reports.append(
            {
                "images": int(known[i]),
                "positives": int(positives[i]),
                "joint_choice": chosen.value,
                "chosen": own.value,
                "gain_in_standard_errors": gains,
                "left_out": {
                    method.value: {
                        "nll": float(loss.nll[:, i].sum() / max(known[i], 1)),
                        "brier": float(loss.brier[:, i].sum() / max(known[i], 1)),
                    }
                    for method, loss in losses.items()
                },
            }
        )
    return Selection(tuple(calibrators), tuple(reports))


def _candidates(methods: tuple[Sharing, ...], rarer: npt.NDArray[np.int64]) -> Iterator[Sharing]:
    """Yield the methods to compare with the identity, the simplest first."""
    for method in _SIMPLEST_FIRST:
        # Without a label that has outcomes enough, beta would be fitted as Platt's curve.
        same_as_platt = method is Sharing.BETA and rarer.max() < FEW_OUTCOMES
        if method in methods and not (same_as_platt and Sharing.PLATT in methods):
            yield method


def _joint_choice(
    losses: Mapping[Sharing, _Losses], votes: npt.NDArray[np.bool_], outcomes: int, folds: Folds
) -> Sharing:
    curves = [method for method in losses if method is not Sharing.IDENTITY]
    if not curves or not votes.any():
        return Sharing.IDENTITY
    best = min(curves, key=lambda method: float(losses[method].nll[:, votes].sum()))
    gains = _gains(losses, best, folds, votes)
    least = LEAST_GAIN_OF_FEW if outcomes < FEW_OUTCOMES else LEAST_GAIN
    wins = gains["nll"] >= least and gains["brier"] >= LEAST_GAIN
    return best if wins else Sharing.IDENTITY


def _gains(
    losses: Mapping[Sharing, _Losses],
    method: Sharing,
    folds: Folds,
    labels: npt.NDArray[np.bool_],
) -> dict[str, float]:
    """Return the gains of a method over the identity for these labels, in standard errors."""
    before, after = losses[Sharing.IDENTITY], losses[method]
    return {
        "nll": folds.standard_errors((before.nll - after.nll)[:, labels].sum(axis=1)),
        "brier": folds.standard_errors((before.brier - after.brier)[:, labels].sum(axis=1)),
    }


def _fit(method: Sharing, logits: Floats, targets: Floats, priors: SharedPriors) -> Calibrator:
    known = ~np.isnan(targets)
    if not known.any():
        return Identity()
    logits, targets = logits[known], targets[known]
    match method:
        case Sharing.IDENTITY:
            return Identity()
        case Sharing.COMMON:
            return fit_platt(logits, targets, prior=priors.common)
        case Sharing.ISOTONIC:
            return fit_isotonic(logits, targets)
        case Sharing.BETA if min(targets.sum(), (1 - targets).sum()) >= FEW_OUTCOMES:
            return fit_beta(logits, targets, prior=priors.pooled)
        case Sharing.PLATT | Sharing.BETA:
            return fit_platt(logits, targets, prior=priors.pooled)


def _left_out(
    method: Sharing, logits: Floats, targets: Floats, folds: Folds, priors: Priors
) -> Floats:
    """Return the logits (n, labels) of curves that were fitted without the film's fold."""
    calibrated = np.empty_like(logits)
    for fold, shared in enumerate(priors.left_in):
        out = folds.of_film == fold
        for i, prior in enumerate(shared):
            curve = _fit(method, logits[~out, i], targets[~out, i], prior)
            calibrated[out, i] = curve.apply(logits[out, i])
    return calibrated
