"""Thresholds and heatmap scales, chosen on patients the network was not trained on."""

import math
from dataclasses import replace
from datetime import datetime
from typing import Any

import numpy as np
import numpy.typing as npt

from cxr_model.calibrate.calibration import Calibration
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


def operating_point(specificity: float, chosen_on: str) -> dict[str, Any]:
    """Return the card's record of the rule for its thresholds."""
    return {
        "rule": "the lowest threshold of at least this specificity",
        "specificity": specificity,
        "chosen_on": chosen_on,
    }


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
    *,
    specificity: float,
    now: datetime,
) -> Bundle:
    """Return the bundle with the curves of `calibration` and new thresholds from `fitted`.

    `fitted` are the films of the calibration with the network's own probabilities, not those of
    the former curves. The metrics are removed, because they belong to the former curves and
    thresholds. Raises CalibrationError if a label is missing or `specificity` is not between 0
    and 1.
    """
    if not 0 < specificity < 1:
        raise CalibrationError(f"specificity must lie between 0 and 1, not {specificity}")
    if fitted.labels != LABELS:
        missing = next(label for label in LABELS if label not in fitted.labels)
        raise CalibrationError(f"a bundle needs a curve for every label; {missing} is missing")
    probabilities = calibration.apply_to_fitted(fitted).probabilities
    targets = fitted.targets
    positives = {label: int(targets[:, i].sum()) for i, label in enumerate(LABELS)}
    card = replace(
        bundle.card,
        created=timestamp(now),
        calibrators=calibration.to_card(),
        thresholds=thresholds_at_specificity(probabilities, targets, specificity),
        operating_point=operating_point(specificity, "the patients the calibration was fitted on"),
        provenance={
            **bundle.card.provenance,
            "recalibrated": {
                "from_sha256": bundle.sha256,
                "films": len(fitted),
                "patients": len(calibration.fitted_on),
                "positives": positives,
            },
        },
        metrics={},
    )
    return bundle.with_card(card)
