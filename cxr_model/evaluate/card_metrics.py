"""The metrics on a card: some columns of the metrics table, rounded and as JSON."""

import math
from collections.abc import Mapping
from typing import Any

import numpy as np

from cxr_model.calibrate.call_rates import call_rates
from cxr_model.data.predictions import Predictions
from cxr_model.evaluate.bootstrap import RESAMPLES
from cxr_model.evaluate.evaluation import MEAN, metrics_table

_DIGITS = 4


def card_metrics(
    calibrated: Predictions, thresholds: Mapping[str, float], *, resamples: int = RESAMPLES
) -> dict[str, Any]:
    """Return metrics per label and their mean, with 95 % intervals over resampled patients.

    The rates of the calls at `thresholds` have the intervals of `call_rates`. A metric that the
    films do not define is None; the mean is over the labels that have one.
    """
    table = metrics_table(calibrated, thresholds, resamples=resamples)
    rows: dict[str, Any] = {row["label"]: row for row in table.to_dict("records")}
    mean = rows.pop(MEAN)
    calls = call_rates(calibrated, thresholds)
    labels: dict[str, Any] = {
        label: {
            "positives": int(row["positives"]),
            "auc": _number(row["auc"]),
            "auc_95": _bounds(row),
            "brier": _number(row["brier"]),
            **calls["labels"][label],
        }
        for label, row in rows.items()
    }
    defined = [row["auc"] for row in labels.values() if row["auc"] is not None]
    return {
        "images": len(calibrated),
        "patients": len(np.unique(calibrated.patients)),
        "labels_in_mean": len(defined),
        "mean_auc": _number(float(np.mean(defined))) if defined else None,
        "mean_auc_95": _bounds(mean) if defined else None,
        "interval": f"95 %, percentiles of {resamples} resamples of whole patients",
        "calls_per_film": calls["calls_per_film"],
        "false_calls": calls["false_calls"],
        "intervals_of_calls": calls["intervals"],
        "labels": labels,
    }


def _bounds(row: Mapping[str, Any]) -> list[float | None]:
    return [_number(row["auc_low"]), _number(row["auc_high"])]


def _number(value: float) -> float | None:
    return round(value, _DIGITS) if math.isfinite(value) else None
