"""Choosing one label's calibration curve by what it does for patients left out of its fit."""

from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from cxr_model.calibrators import Calibrator, Floats, Identity, Method, sigmoid
from cxr_model.fitting import fit_beta, fit_isotonic, fit_platt

#: Below so many positives a third parameter follows the noise.
POSITIVES_FOR_BETA = 50

#: By what part a free fit must lower the loss of the drawn one to be taken; with fewer positives
#: than `FEW_POSITIVES` by the larger part, since it then wins by luck.
FREE_MARGIN = 0.005
FEW_POSITIVES = 30
FEW_MARGIN = 0.25

#: By what part a curve may raise the Brier score on patients left out. A drawn curve is close to
#: the network's own, and a difference of less than this is chance more often than harm.
BRIER_MARGIN = 0.01

#: Isotonic is left out: on patients it has not seen it lost to both in every split tried.
DEFAULT_METHODS = (Method.PLATT, Method.BETA)


@dataclass(frozen=True, slots=True)
class Fit:
    """A way to fit one label: a method, drawn to the network's own probability or free."""

    method: Method
    shrink: bool = False

    def __call__(self, logits: Floats, targets: Floats) -> Calibrator:
        """The curve fitted to these outcomes."""
        match self.method:
            case Method.IDENTITY:
                return Identity()
            case Method.PLATT:
                return fit_platt(logits, targets, shrink=self.shrink)
            case Method.BETA:
                return fit_beta(logits, targets, shrink=self.shrink)
            case Method.ISOTONIC:
                return fit_isotonic(logits, targets)

    @property
    def is_isotonic(self) -> bool:
        """Whether this is the method that cannot be drawn to anything."""
        return self.method is Method.ISOTONIC

    @property
    def name(self) -> str:
        """The method, and whether it was free."""
        free = self.method in (Method.PLATT, Method.BETA) and not self.shrink
        return f"{self.method.value} (free)" if free else self.method.value


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
    folds: npt.NDArray[np.int64],
    methods: tuple[Method, ...] = DEFAULT_METHODS,
) -> Choice:
    """Choose by likelihood on patients left out, and keep the network's own if Brier got worse.

    `logits`, `targets` and `folds` are (n,); a patient's images must be in one fold. A curve drawn
    to the network's own probability is the rule: the prior protects where outcomes are few, better
    than choosing between that curve and none does. A free one must win clearly.
    """
    positives = int(targets.sum())
    left_out = {
        fit: _left_out(fit, logits, targets, folds) for fit in _candidates(methods, positives)
    }
    scores = {
        fit: Score(_nll(values, targets), _brier(values, targets))
        for fit, values in left_out.items()
    }
    best = _best(scores, positives)
    report = {
        "images": len(targets),
        "positives": positives,
        "chosen": best.name,
        "left_out": {fit.name: asdict(score) for fit, score in scores.items()},
    }
    return Choice(best(logits, targets), report)


def _candidates(methods: tuple[Method, ...], positives: int) -> list[Fit]:
    allowed = [
        method for method in methods if method is not Method.BETA or positives >= POSITIVES_FOR_BETA
    ]
    fits = [Fit(method, shrink) for method in allowed for shrink in (True, False)]
    return [Fit(Method.IDENTITY), *(fit for fit in fits if not (fit.shrink and fit.is_isotonic))]


def _best(scores: Mapping[Fit, Score], positives: int) -> Fit:
    identity = Fit(Method.IDENTITY)
    drawn = [fit for fit in scores if fit.shrink]
    free = [fit for fit in scores if not fit.shrink and fit != identity]
    best = _likeliest(scores, drawn) if drawn else identity
    if free:
        bolder = _likeliest(scores, free)
        margin = FEW_MARGIN if positives < FEW_POSITIVES else FREE_MARGIN
        if scores[bolder].nll < (1 - margin) * scores[best].nll:
            best = bolder
    worst_brier = (1 + BRIER_MARGIN) * scores[identity].brier
    return identity if scores[best].brier > worst_brier else best


def _likeliest(scores: Mapping[Fit, Score], fits: Iterable[Fit]) -> Fit:
    return min(fits, key=lambda fit: scores[fit].nll)


def _left_out(fit: Fit, logits: Floats, targets: Floats, folds: npt.NDArray[np.int64]) -> Floats:
    calibrated = np.empty_like(logits)
    for fold in np.unique(folds):
        out = folds == fold
        calibrated[out] = fit(logits[~out], targets[~out]).apply(logits[out])
    return calibrated


def _nll(logits: Floats, targets: Floats) -> float:
    return float((np.logaddexp(0.0, logits) - targets * logits).mean())


def _brier(logits: Floats, targets: Floats) -> float:
    return float(((sigmoid(logits) - targets) ** 2).mean())
