"""The calibration of all labels: fitted on some patients, applied to and scored on others."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

import numpy as np

from cxr_model.calibrate.choosing import DEFAULT_METHODS, Folds, Priors, choose
from cxr_model.calibrate.fitting import fit_offset
from cxr_model.calibrate.pooling import shared_priors
from cxr_model.data.patients import PatientSet
from cxr_model.data.predictions import Predictions, split_patients
from cxr_model.errors import CalibrationError
from cxr_model.predict.curves import (
    Calibrator,
    Floats,
    Method,
    calibrators_from_card,
    logit,
    sigmoid,
)

FORMAT = "cxrd-calibration/1"

FOLDS = 5

#: Below so many outcomes of either kind a local site keeps the offset it had.
LOCAL_MINIMUM = 10


@dataclass(frozen=True, slots=True)
class Calibration:
    """One curve per label, and which patients they were fitted on.

    `report` holds, per label, what the choice was made on; it is kept for readers and not used.
    """

    calibrators: Mapping[str, Calibrator]
    fitted_on: PatientSet
    report: Mapping[str, Mapping[str, Any]]

    def apply(self, predictions: Predictions) -> Predictions:
        """The same images with calibrated probabilities.

        Raises PatientOverlapError when a curve was fitted on one of their patients, and
        CalibrationError when a label has no curve.
        """
        self.fitted_on.refuse(predictions.patients)
        probabilities = apply(self.calibrators, predictions.labels, predictions.probabilities)
        return predictions.with_probabilities(probabilities)

    def to_card(self) -> dict[str, dict[str, Any]]:
        """The curves as a bundle's card keeps them."""
        return {label: curve.to_json() for label, curve in self.calibrators.items()}

    def save(self, path: Path) -> None:
        """Write JSON, into a folder that is made where there is none."""
        path.parent.mkdir(parents=True, exist_ok=True)
        content = {
            "format": FORMAT,
            "labels": self.to_card(),
            "fitted_on": self.fitted_on.to_json(),
            "report": {label: dict(row) for label, row in self.report.items()},
        }
        path.write_text(json.dumps(content, indent=2, allow_nan=False) + "\n", encoding="utf-8")

    @classmethod
    def load(cls, path: Path) -> Self:
        """Read JSON. Raises CalibrationError when it is missing or not such a file."""
        try:
            content = json.loads(path.read_text(encoding="utf-8"))
        except (OSError, ValueError) as error:
            raise CalibrationError(f"{path} cannot be read as JSON: {error}") from error
        if not isinstance(content, dict) or content.get("format") != FORMAT:
            raise CalibrationError(f"{path} is not a calibration of format {FORMAT!r}")
        try:
            return cls(
                calibrators_from_card(content["labels"]),
                PatientSet.from_json(content["fitted_on"]),
                content["report"],
            )
        except (KeyError, TypeError, ValueError, AttributeError, CalibrationError) as error:
            raise CalibrationError(f"{path} is malformed: {error}") from error


def apply(
    calibrators: Mapping[str, Calibrator], labels: tuple[str, ...], probabilities: Floats
) -> Floats:
    """Calibrate probabilities (n, labels). Raises CalibrationError when a label has no curve."""
    missing = [label for label in labels if label not in calibrators]
    if missing:
        raise CalibrationError(f"the calibration has no curve for {missing[0]}")
    logits = logit(probabilities)
    columns = [calibrators[label].apply(logits[:, i]) for i, label in enumerate(labels)]
    return sigmoid(np.stack(columns, axis=1))


def calibrate(
    predictions: Predictions, *, methods: tuple[Method, ...] = DEFAULT_METHODS, seed: int = 0
) -> Calibration:
    """Choose and fit a curve per label on all of `predictions`.

    Curves are drawn to what the labels have in common, see `pooling`. Raises DataError when there
    are too few patients to cross-validate.
    """
    logits, targets = logit(predictions.probabilities), predictions.targets
    folds = Folds(split_patients(predictions.patients, FOLDS, seed), predictions.patients)
    whole = shared_priors(logits, targets, folds.patients)
    left_in = [
        shared_priors(logits[others], targets[others], folds.patients[others])
        for others in (folds.of_film != fold for fold in range(FOLDS))
    ]
    calibrators: dict[str, Calibrator] = {}
    report: dict[str, Mapping[str, Any]] = {}
    for column, label in enumerate(predictions.labels):
        priors = Priors(whole[column], [fold[column] for fold in left_in])
        choice = choose(logits[:, column], targets[:, column], folds, priors, methods)
        calibrators[label], report[label] = choice.calibrator, choice.report
    return Calibration(calibrators, PatientSet.of(predictions.patients), report)


def refit_offsets(calibration: Calibration, local: Predictions) -> Calibration:
    """Move each curve so that its mean fits a site's own outcomes; slopes and shapes stay.

    A site's prevalence is rarely the one a model was calibrated at. A label with fewer than
    `LOCAL_MINIMUM` positives or negatives keeps its curve. Raises PatientOverlapError when the
    curves were fitted on one of these patients, CalibrationError when a label has no curve.
    """
    calibrated = logit(calibration.apply(local).probabilities)
    calibrators, report = dict(calibration.calibrators), dict(calibration.report)
    for column, label in enumerate(local.labels):
        targets = local.targets[:, column]
        positives = int(targets.sum())
        if min(positives, len(targets) - positives) < LOCAL_MINIMUM:
            continue
        offset = fit_offset(calibrated[:, column], targets)
        calibrators[label] = calibrators[label].shifted(offset)
        local_report = {"images": len(targets), "positives": positives, "offset": offset}
        report[label] = {**report.get(label, {}), "local": local_report}
    return Calibration(calibrators, calibration.fitted_on.joined(local.patients), report)
