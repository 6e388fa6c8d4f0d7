"""What a card says of a model's quality: AUC with intervals, and how its thresholds did."""

import math
import warnings
from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

from cxr_model.evaluate.bootstrap import RESAMPLES, Resampling, bootstrap, interval
from cxr_model.evaluate.metrics import auc, brier, sensitivity, specificity
from cxr_model.evaluate.score_network import Scored
from cxr_model.findings import LABELS

Floats = npt.NDArray[np.float64]

_DIGITS = 4


def measure(
    scored: Scored,
    probabilities: Floats,
    thresholds: Mapping[str, float],
    *,
    resamples: int = RESAMPLES,
) -> dict[str, Any]:
    """Metrics per label and their mean, with 95 % intervals from resampled patients, as JSON.

    `probabilities` (n, 14) are calibrated. A metric that the films do not define is null, and the
    mean is over the labels that have one.
    """
    resampling = Resampling.of(scored.patients.astype(object), resamples=resamples)
    rows: dict[str, Any] = {}
    drawn: list[Floats] = []
    for i, label in enumerate(LABELS):
        p, y = probabilities[:, i], scored.targets[:, i].astype(np.float64)
        resampled = bootstrap(p, y, resampling)["auc"]
        if np.isfinite(auc(p, y)):
            drawn.append(resampled)
        rows[label] = {
            "positives": int(y.sum()),
            "auc": _number(auc(p, y)),
            "auc_95": _bounds(resampled),
            "brier": _number(brier(p, y)),
            "sensitivity": _number(sensitivity(p, y, thresholds[label])),
            "specificity": _number(specificity(p, y, thresholds[label])),
        }
    defined = [row["auc"] for row in rows.values() if row["auc"] is not None]
    return {
        "images": len(scored.targets),
        "patients": len(np.unique(scored.patients)),
        "labels_in_mean": len(defined),
        "mean_auc": _number(float(np.mean(defined))) if defined else None,
        "mean_auc_95": _bounds(_mean(drawn)) if drawn else None,
        "interval": f"95 %, percentiles of {resamples} resamples of whole patients",
        "labels": rows,
    }


def _mean(drawn: list[Floats]) -> Floats:
    with warnings.catch_warnings():
        # A resample in which no label is defined has no mean, and that is what NaN says.
        warnings.simplefilter("ignore", RuntimeWarning)
        return np.asarray(np.nanmean(np.stack(drawn), axis=0))


def _bounds(values: Floats) -> list[float | None]:
    bounds = interval(values)
    return [_number(bounds.low), _number(bounds.high)]


def _number(value: float) -> float | None:
    return round(value, _DIGITS) if math.isfinite(value) else None
