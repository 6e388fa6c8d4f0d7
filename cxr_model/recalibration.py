"""The same weights under new calibration curves and thresholds."""

from dataclasses import replace
from datetime import UTC, datetime

import numpy as np

from cxr_model.bundle import Bundle
from cxr_model.calibration import Calibration, apply
from cxr_model.errors import CalibrationError
from cxr_model.findings import LABELS
from cxr_model.operating_point import thresholds_at_specificity
from cxr_model.predictions import Predictions


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
