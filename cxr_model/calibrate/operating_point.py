"""Thresholds and heatmap scales, chosen on patients the network was not trained on."""

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any

import numpy as np
import numpy.typing as npt

from cxr_model.calibrate.calibration import Calibration
from cxr_model.calibrate.call_rates import call_rates
from cxr_model.calibrate.goal import Aim, Goal
from cxr_model.calibrate.likelihood_ratio import common_ratio, prior_probabilities
from cxr_model.data.patients import recorded_sets
from cxr_model.data.predictions import Predictions
from cxr_model.errors import CalibrationError
from cxr_model.findings import LABELS
from cxr_model.predict.bundle import Bundle
from cxr_model.predict.card import timestamp
from cxr_model.predict.curves import Floats

#: Share of the map cells of all images that lie below the hottest colour.
MAP_QUANTILE = 0.99

_MAP_DIGITS = 4

# Scale in logits of a finding whose map is nowhere positive.
_SMALLEST_SCALE = 0.05


_RULES = {
    Aim.MAX_FALSE_CALLS: "the smallest likelihood ratio, common to all labels, that keeps at most "
    "these false calls per film without findings",
    Aim.PPV: "the smallest likelihood ratio, common to all labels, of at least this PPV over all "
    "labels together",
    Aim.SENSITIVITY: "the largest likelihood ratio, common to all labels, of at least this "
    "sensitivity over all labels together",
    Aim.SPECIFICITY: "the lowest threshold of at least this specificity",
}


@dataclass(frozen=True, slots=True)
class OperatingPoint:
    """Thresholds per label, and the card's record of their rule and of their rates."""

    thresholds: Mapping[str, float]
    record: Mapping[str, Any]


def operating_point(
    calibrated: Predictions,
    goal: Goal,
    chosen_on: str,
    prevalence: Mapping[str, float] | None = None,
) -> OperatingPoint:
    """Choose the thresholds that reach `goal` on these films, and measure them there.

    `calibrated` has all labels; `chosen_on` names its patients. `prevalence` is that of a
    calibration that was fitted on these films, see `prior_probabilities`. Raises CalibrationError
    if the films cannot show the goal.
    """
    probabilities, targets = calibrated.probabilities, calibrated.targets
    shared: dict[str, Any] = {}
    if goal.aim is Aim.SPECIFICITY:
        thresholds: Mapping[str, float] = thresholds_at_specificity(
            probabilities, targets, goal.value
        )
    else:
        priors = prior_probabilities(probabilities, prevalence)
        common = common_ratio(probabilities, targets, priors, goal)
        thresholds = common.thresholds
        shared = {
            "likelihood_ratio": common.ratio,
            "prior_odds": "prevalence of the calibration"
            if prevalence
            else "mean calibrated probability of the films",
        }
    record = {
        "rule": _RULES[goal.aim],
        goal.aim.value: goal.value,
        **shared,
        "chosen_on": chosen_on,
        "films": len(calibrated),
        "patients": len(np.unique(calibrated.patients.astype(str))),
        **call_rates(calibrated, thresholds),
    }
    return OperatingPoint(thresholds, record)


def thresholds_at_specificity(
    probabilities: Floats, targets: Floats, specificity: float
) -> dict[str, float]:
    """Return per label the lowest threshold of at least `specificity`.

    `probabilities` and `targets` are (n, 14); a finding is present at or above its threshold. A
    label without negatives gets 0.5.
    """
    return {
        label: _threshold(probabilities[targets[:, i] == 0, i], specificity)
        for i, label in enumerate(LABELS)
    }


def mean_film(maps: npt.NDArray[np.float32]) -> Floats:
    """Return the maps (14, h, w) of the mean film, made symmetrical.

    `maps` is (n, 14, h, w). A mean of few films is noisy: its mirror image halves the noise, and
    leaves in a map what lies on one side, such as the heart.
    """
    mean = maps.mean(axis=0, dtype=np.float64)
    return np.asarray(((mean + mean[..., ::-1]) / 2).round(_MAP_DIGITS), dtype=np.float64)


def map_scales(maps: npt.NDArray[np.float32]) -> dict[str, float]:
    """Return per label the logit contribution drawn in the hottest colour: a high quantile.

    `maps` is (n, 14, h, w). The scale is the same for all films, so a weak map looks weak.
    """
    return {
        label: max(float(np.quantile(np.maximum(maps[:, i], 0), MAP_QUANTILE)), _SMALLEST_SCALE)
        for i, label in enumerate(LABELS)
    }


def _threshold(negatives: Floats, specificity: float) -> float:
    if negatives.size == 0:
        return 0.5
    ordered = np.sort(negatives)
    below = math.ceil(specificity * ordered.size)
    highest_absent = float(ordered[below - 1])
    above = ordered[ordered > highest_absent]
    # Halfway to the next negative, so that rounding changes neither of the two.
    return float((highest_absent + float(above[0] if above.size else 1.0)) / 2)


def recalibrate_bundle(
    bundle: Bundle,
    calibration: Calibration,
    fitted: Predictions,
    agreement: Mapping[str, Any],
    *,
    goal: Goal,
    now: datetime,
) -> Bundle:
    """Return the bundle with the curves of `calibration` and new thresholds from `fitted`.

    `fitted` are the films of the calibration with the network's own probabilities, not those of
    the former curves. `agreement` is the card's table `calibration`. The metrics are removed,
    because they belong to the former curves and thresholds. Raises PatientOverlapError if the
    network was trained on one of the patients, DataError if the probabilities are calibrated
    already, CalibrationError if a label is missing or the films cannot show `goal`.
    """
    need_every_label(fitted)
    fitted.need_network_probabilities()
    refuse_training_patients(bundle, fitted)
    calibrated = calibration.apply_to_fitted(fitted)
    chosen = operating_point(
        calibrated, goal, "the patients the calibration was fitted on", calibration.prevalence
    )
    card = replace(
        bundle.card,
        created=timestamp(now),
        calibrators=calibration.to_card(),
        calibration=agreement,
        thresholds=chosen.thresholds,
        operating_point=chosen.record,
        provenance={
            **bundle.card.provenance,
            "recalibrated": {
                "from_sha256": bundle.sha256,
                "films": len(fitted),
                "patients": len(calibration.fitted_on),
                "fitted_on": [calibration.fitted_on.to_json()],
                "positives": positives(fitted),
            },
        },
        metrics={},
    )
    return bundle.with_card(card)


def need_every_label(predictions: Predictions) -> None:
    """Raise CalibrationError if a label of a bundle is missing."""
    if predictions.labels != LABELS:
        missing = next(label for label in LABELS if label not in predictions.labels)
        raise CalibrationError(f"a bundle needs outcomes of every label; {missing} is missing")


def refuse_training_patients(bundle: Bundle, films: Predictions) -> None:
    """Raise PatientOverlapError if the network of `bundle` was trained on one of the patients.

    Raises BundleError if the card's record of them is malformed.
    """
    for seen in recorded_sets(bundle.card.provenance):
        seen.refuse(films.patients, bundle.card.name)


def positives(films: Predictions) -> dict[str, int]:
    """Return the number of films with each label."""
    return {label: int(films.targets[:, i].sum()) for i, label in enumerate(LABELS)}
