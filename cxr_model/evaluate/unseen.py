"""The calibration slope on patients whom no step of the fit has seen, as a card records it."""

import math
from collections.abc import Mapping
from typing import Any

import numpy as np

from cxr_model.calibrate.calibration import FOLDS, Calibration, calibrate
from cxr_model.calibrate.selection import DEFAULT_METHODS
from cxr_model.calibrate.slope import RESAMPLES, Slope, measure_slope
from cxr_model.data.predictions import Predictions, split_patients
from cxr_model.predict.choices import Sharing
from cxr_model.predict.curves import Floats, logit

_DIGITS = 4
_HOW = (
    "one slope of outcomes on calibrated logits for all labels, with an offset per label; "
    "interval: 95 % of {resamples} resamples of whole patients"
)
CROSS_VALIDATED = (
    f"cross-validation over patients in {FOLDS} folds, with the selection of the curves in each"
)


def left_out_slope(
    predictions: Predictions,
    *,
    methods: tuple[Sharing, ...] = DEFAULT_METHODS,
    seed: int = 0,
    resamples: int = RESAMPLES,
) -> Slope:
    """Return the slope of `calibrate` on left-out patients.

    Curves are selected and fitted on the other folds each time. A fold with many positives is left
    out of fits with few, which give it low offsets; this alone lowers the slope of a perfect model.
    So the curves of each fold are moved to the mean of those of all patients: one number per label,
    which the free offsets of the slope absorb. The slope is NaN if there are too few patients for
    folds within the folds.
    """
    patients = predictions.patients
    count = len(np.unique(patients.astype(str)))
    if count < 2 * FOLDS:
        return Slope(math.nan, math.nan, math.nan, count, len(predictions))
    fold_of = split_patients(patients, FOLDS, seed)
    whole = _calibrated_logits(calibrate(predictions, methods=methods, seed=seed), predictions)
    left_out = np.empty_like(whole)
    for fold in range(FOLDS):
        out = fold_of == fold
        fitted = calibrate(predictions.where(~out), methods=methods, seed=seed)
        logits = _calibrated_logits(fitted, predictions)
        left_out[out] = (logits + (whole - logits).mean(axis=0))[out]
    return measure_slope(left_out, predictions.targets, patients, resamples=resamples, seed=seed)


def _calibrated_logits(calibration: Calibration, predictions: Predictions) -> Floats:
    return logit(calibration.apply_to_fitted(predictions).probabilities)


def slope_of(calibrated: Predictions, *, resamples: int = RESAMPLES, seed: int = 0) -> Slope:
    """Return the slope of calibrated probabilities, the same before and after a shift."""
    return measure_slope(
        logit(calibrated.probabilities),
        calibrated.targets,
        calibrated.patients,
        resamples=resamples,
        seed=seed,
    )


def slope_record(slope: Slope, measured: str) -> dict[str, Any]:
    """Return the slope for a card; it has no number if the outcomes define no slope."""
    numbers = {}
    if not math.isnan(slope.value):
        numbers = {
            "slope": round(slope.value, _DIGITS),
            "slope_95": [round(slope.low, _DIGITS), round(slope.high, _DIGITS)],
        }
    return {
        **numbers,
        "patients": slope.patients,
        "films": slope.films,
        "measured": f"{measured}; {_HOW.format(resamples=RESAMPLES)}",
    }


def calibration_record(
    calibration: Calibration, slope: Slope, measured: str, **further: Mapping[str, Any]
) -> dict[str, Any]:
    """Return the table `calibration` of a card: slope, prevalence and shift of the curves."""
    return {
        **slope_record(slope, measured),
        **further,
        "prevalence": {k: round(v, 6) for k, v in calibration.prevalence.items()},
        "shifts": dict(calibration.shifts),
        "metrics": "Brier scores of this card are those before the shift to this prevalence",
    }
