"""Thresholds and heatmap scales, chosen on patients the network was not fitted on."""

import math
from dataclasses import replace
from datetime import UTC, datetime

import numpy as np
import numpy.typing as npt

from cxr_model.calibrate.calibration import Calibration, apply
from cxr_model.data.predictions import Predictions
from cxr_model.errors import CalibrationError
from cxr_model.findings import LABELS
from cxr_model.predict.bundle import Bundle

#: Share of map cells, over all images looked at, that are drawn below fully hot.
MAP_QUANTILE = 0.99

# A finding whose map never rises still needs a scale; this many logits are no evidence of anything.
_SMALLEST_SCALE = 0.05


def thresholds_at_specificity(
    probabilities: npt.NDArray[np.float64], targets: npt.NDArray[np.int64], specificity: float
) -> dict[str, float]:
    """Per label, the lowest threshold that calls at least that share of the negatives absent.

    `probabilities` and `targets` are (n, 14); a probability at or above its threshold is present.
    A label without negatives gets 0.5.
    """
    return {
        label: _threshold(probabilities[targets[:, i] == 0, i], specificity)
        for i, label in enumerate(LABELS)
    }


def map_scales(maps: npt.NDArray[np.float32]) -> dict[str, float]:
    """Per label, the logit contribution drawn as fully hot: a high quantile of the rising cells.

    `maps` is (n, 14, h, w). The scale is fixed, so that a weak map looks weak beside a strong one.
    """
    return {
        label: max(float(np.quantile(np.maximum(maps[:, i], 0), MAP_QUANTILE)), _SMALLEST_SCALE)
        for i, label in enumerate(LABELS)
    }


def _threshold(negatives: npt.NDArray[np.float64], specificity: float) -> float:
    if negatives.size == 0:
        return 0.5
    ordered = np.sort(negatives)
    below = math.ceil(specificity * ordered.size)
    highest_absent = float(ordered[below - 1])
    above = ordered[ordered > highest_absent]
    # Halfway to the next negative, so that neither of the two decides on a rounding error.
    return float((highest_absent + float(above[0] if above.size else 1.0)) / 2)


def recalibrated(
    bundle: Bundle,
    calibration: Calibration,
    fitted: Predictions,
    *,
    specificity: float,
    now: datetime,
) -> Bundle:
    """A bundle that answers with `calibration`, with thresholds chosen on the films of its fit.

    `fitted` holds the network's own probabilities, not those of the bundle's former curves. The
    former metrics are left out: they are those of the former curves and thresholds. Raises
    CalibrationError when a label is missing or `specificity` is not between 0 and 1.
    """
    if not 0 < specificity < 1:
        raise CalibrationError(f"specificity must lie between 0 and 1, not {specificity}")
    if fitted.labels != LABELS:
        missing = next(label for label in LABELS if label not in fitted.labels)
        raise CalibrationError(f"a bundle needs a curve for every label; {missing} is missing")
    probabilities = apply(calibration.calibrators, fitted.labels, fitted.probabilities)
    targets = fitted.targets.astype(np.int64)
    positives = {label: int(targets[:, i].sum()) for i, label in enumerate(LABELS)}
    card = replace(
        bundle.card,
        created=now.astimezone(UTC).isoformat(timespec="seconds"),
        calibrators=calibration.to_card(),
        thresholds=thresholds_at_specificity(probabilities, targets, specificity),
        operating_point={
            "rule": "the lowest threshold of at least this specificity",
            "specificity": specificity,
            "chosen_on": "the patients the calibration was fitted on",
        },
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
