"""Sensitivity, specificity, PPV and false calls of thresholds, with 95 % intervals."""

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy.stats import beta

from cxr_model.calibrate.likelihood_ratio import without_findings
from cxr_model.data.predictions import Predictions
from cxr_model.predict.curves import Floats

#: Origin of the intervals, as a card names it.
INTERVALS = (
    "95 %; of rates: exact (Clopper and Pearson) for the effective number of films, because films "
    "of a patient are alike; of false calls: percentiles of resampled patients, the upper one at "
    "least that of the share of films with a call"
)

_RESAMPLES = 1000
_DIGITS = 4


@dataclass(frozen=True, slots=True)
class Rate:
    """A share with its 95 % interval; all are NaN if there is no film to count."""

    value: float
    low: float
    high: float

    def to_json(self, name: str) -> dict[str, Any]:
        """Return ``name`` and ``name_95``, rounded; None for a share that does not exist."""
        if not math.isfinite(self.value):
            return {name: None, f"{name}_95": None}
        low, high = round(self.low, _DIGITS), round(self.high, _DIGITS)
        return {name: round(self.value, _DIGITS), f"{name}_95": [low, high]}


def call_rates(predictions: Predictions, thresholds: Mapping[str, float]) -> dict[str, Any]:
    """Return, as JSON, the rates of each label and the false calls on films without findings.

    A finding is called at or above its threshold; `predictions` are calibrated. The PPV holds for
    films with the prevalences of these films only.
    """
    limits = np.asarray([thresholds[label] for label in predictions.labels])
    called = predictions.probabilities >= limits
    present = predictions.targets > 0
    patients = np.unique(predictions.patients.astype(str), return_inverse=True)[1]
    labels = {}
    for i, label in enumerate(predictions.labels):
        call, is_present = called[:, i], present[:, i]
        labels[label] = {
            **rate(call[is_present], patients[is_present]).to_json("sensitivity"),
            **rate(~call[~is_present], patients[~is_present]).to_json("specificity"),
            **rate(is_present[call], patients[call]).to_json("ppv"),
        }
    empty = without_findings(predictions.targets)
    calls = called.sum(axis=1).astype(np.float64)
    with_a_call = rate(calls[empty] > 0, patients[empty])
    false_calls = _mean_over_patients(calls[empty], patients[empty])
    # A film with a call has at least one, and resamples of films without a call have none.
    false_calls = replace(false_calls, high=max(false_calls.high, with_a_call.high))
    return {
        "labels": labels,
        "calls_per_film": round(float(calls.mean()), _DIGITS),
        "false_calls": {
            "films_without_findings": int(empty.sum()),
            **false_calls.to_json("per_film_without_findings"),
            **with_a_call.to_json("share_of_films_with_a_call"),
        },
        "intervals": INTERVALS,
    }


def rate(hits: npt.NDArray[np.bool_], patients: npt.NDArray[np.int64]) -> Rate:
    """Return the share of `hits` (n,) with an exact interval for films of `patients` (n,).

    The number of films is first divided by the design effect, the variance over patients over that
    of independent films (Korn and Graubard, "Confidence intervals for proportions with small
    expected number of positive counts", Survey Methodology 1998). If all films agree, each patient
    counts once.
    """
    n = hits.size
    if n == 0:
        return Rate(math.nan, math.nan, math.nan)
    share = float(hits.mean())
    return exact_interval(share, _effective_number(hits, patients, share))


def exact_interval(share: float, trials: float) -> Rate:
    """Return a share of `trials` with its 95 % interval (Clopper and Pearson 1934)."""
    found = trials * share
    low = float(beta.ppf(0.025, found, trials - found + 1)) if share > 0 else 0.0
    high = float(beta.ppf(0.975, found + 1, trials - found)) if share < 1 else 1.0
    return Rate(share, low, high)


def _effective_number(
    hits: npt.NDArray[np.bool_], patients: npt.NDArray[np.int64], share: float
) -> float:
    clusters = np.unique(patients, return_inverse=True)[1]
    count = int(clusters.max()) + 1
    if not 0 < share < 1 or count == 1:
        return float(count)
    residual = np.bincount(clusters, hits - share)
    variance = float((residual**2).sum()) * count / (count - 1) / hits.size**2
    independent = share * (1 - share) / (hits.size - 1)
    effect = max(1.0, variance / independent)
    return max(1.0, hits.size / effect)


def _mean_over_patients(values: Floats, patients: npt.NDArray[np.int64]) -> Rate:
    if values.size == 0:
        return Rate(math.nan, math.nan, math.nan)
    clusters = np.unique(patients, return_inverse=True)[1]
    sums, films = np.bincount(clusters, values), np.bincount(clusters)
    rng = np.random.default_rng(0)
    draws = (rng.integers(0, films.size, films.size) for _ in range(_RESAMPLES))
    low, high = np.percentile([sums[d].sum() / films[d].sum() for d in draws], [2.5, 97.5])
    return Rate(float(values.mean()), float(low), float(high))
