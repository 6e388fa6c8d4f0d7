"""Fits, stores and applies the calibration of all labels; refuses the patients of its fit."""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Self

import numpy as np

from cxr_model.calibrate.fitting import fit_offset
from cxr_model.calibrate.pooling import shared_priors
from cxr_model.calibrate.prevalence import expected_prevalence, prevalence_shifts
from cxr_model.calibrate.selection import DEFAULT_METHODS, Folds, Priors, select
from cxr_model.data.patients import PatientSet
from cxr_model.data.predictions import Predictions, split_patients
from cxr_model.errors import CalibrationError
from cxr_model.files.regular_file import MB, read_regular
from cxr_model.files.strict_json import parse_json
from cxr_model.predict.choices import Sharing
from cxr_model.predict.curves import (
    Calibrator,
    calibrated_probabilities,
    calibrators_from_card,
    logit,
)

FORMAT = "cxrd-calibration/1"
FOLDS = 5

# A patient takes 11 bytes.
_LARGEST_FILE = 16 * MB

#: Positives and negatives that a site needs to refit the offset of a label.
LOCAL_MINIMUM = 10


@dataclass(frozen=True, slots=True)
class Calibration:
    """A curve per label and the patients of the fit.

    `report` holds the evidence for the choice of each curve; it is informative only. `prevalence`
    is the prevalence per label that the curves hold for, `shifts` the offset by which each curve
    was moved there from the sample; no shift means the prevalence of the sample.
    """

    calibrators: Mapping[str, Calibrator]
    fitted_on: PatientSet
    report: Mapping[str, Mapping[str, Any]]
    prevalence: Mapping[str, float] = field(default_factory=dict)
    shifts: Mapping[str, float] = field(default_factory=dict)

    def apply(self, predictions: Predictions) -> Predictions:
        """Return the same images with calibrated probabilities.

        Raises PatientOverlapError if a curve was fitted on one of the patients, CalibrationError
        if a label has no curve.
        """
        self.fitted_on.refuse(predictions.patients)
        return self.apply_to_fitted(predictions)

    def apply_to_fitted(self, predictions: Predictions) -> Predictions:
        """Calibrate as `apply` does, without the check of patients."""
        missing = [label for label in predictions.labels if label not in self.calibrators]
        if missing:
            raise CalibrationError(f"the calibration has no curve for {missing[0]}")
        logits = logit(predictions.probabilities)
        return predictions.with_probabilities(
            calibrated_probabilities(self.calibrators, predictions.labels, logits), calibrated=True
        )

    def to_card(self) -> dict[str, dict[str, Any]]:
        """Return the curves for the card of a bundle."""
        return {label: curve.to_json() for label, curve in self.calibrators.items()}

    def save(self, path: Path) -> None:
        """Write JSON; make the folder if it is missing."""
        path.parent.mkdir(parents=True, exist_ok=True)
        content = {
            "format": FORMAT,
            "labels": self.to_card(),
            "fitted_on": self.fitted_on.to_json(),
            "prevalence": dict(self.prevalence),
            "shifts": dict(self.shifts),
            "report": {label: dict(row) for label, row in self.report.items()},
        }
        path.write_text(json.dumps(content, indent=2, allow_nan=False) + "\n", encoding="utf-8")

    @classmethod
    def load(cls, path: Path) -> Self:
        """Read the JSON of `save`. Raises CalibrationError if it is missing or malformed."""
        data = read_regular(path, _LARGEST_FILE, CalibrationError)
        try:
            content = parse_json(data, longest_text=_LARGEST_FILE)
        except ValueError as error:
            raise CalibrationError(f"{path} cannot be read as JSON: {error}") from error
        if not isinstance(content, dict) or content.get("format") != FORMAT:
            raise CalibrationError(f"{path} is not a calibration of format {FORMAT!r}")
        try:
            return cls(
                calibrators_from_card(content["labels"]),
                PatientSet.from_json(content["fitted_on"]),
                {str(label): dict(row) for label, row in content["report"].items()},
                _numbers(content.get("prevalence", {})),
                _numbers(content.get("shifts", {})),
            )
        except (KeyError, TypeError, ValueError, AttributeError, CalibrationError) as error:
            raise CalibrationError(f"{path} is malformed: {str(error)[:200]}") from error


def calibrate(
    predictions: Predictions,
    *,
    methods: tuple[Sharing, ...] = DEFAULT_METHODS,
    seed: int = 0,
    prevalence: Mapping[str, float] | None = None,
) -> Calibration:
    """Select and fit the curves of all labels on all `predictions`.

    `selection` decides how, `pooling` shrinks the curves towards the common values of the labels.
    The curves hold for `prevalence`, a share per label, or without it for that of the sample.
    Raises DataError if there are fewer patients than `FOLDS`.
    """
    logits, targets = logit(predictions.probabilities), predictions.targets
    patients = np.unique(predictions.patients.astype(str), return_inverse=True)[1]
    folds = Folds(split_patients(predictions.patients, FOLDS, seed), patients)
    left_in = [
        shared_priors(logits[others], targets[others], folds.patients[others])
        for others in (folds.of_film != fold for fold in range(FOLDS))
    ]
    priors = Priors(shared_priors(logits, targets, folds.patients), left_in)
    selection = select(logits, targets, folds, priors, methods)
    labels = predictions.labels
    curves = dict(zip(labels, selection.calibrators, strict=True))
    fitted = Calibration(
        curves,
        PatientSet.of(predictions.patients),
        dict(zip(labels, selection.reports, strict=True)),
        expected_prevalence(curves, labels, logits),
    )
    if prevalence is None:
        return fitted
    shifts = prevalence_shifts(curves, labels, logits, prevalence)
    return replace(
        fitted,
        calibrators={label: curve.shifted(shifts[label]) for label, curve in curves.items()},
        prevalence={label: prevalence[label] for label in labels},
        shifts=shifts,
    )


def refit_offsets(calibration: Calibration, local: Predictions) -> Calibration:
    """Refit the offset of each curve to the prevalence of a site; slopes and shapes stay.

    A label with fewer than `LOCAL_MINIMUM` positives or negatives keeps its curve. Raises
    PatientOverlapError if the curves were fitted on one of the site's patients, CalibrationError
    if a label has no curve.
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
    return Calibration(
        calibrators,
        calibration.fitted_on.joined(local.patients),
        report,
        expected_prevalence(calibrators, local.labels, logit(local.probabilities)),
    )


def _numbers(content: Mapping[str, Any]) -> dict[str, float]:
    return {str(label): float(value) for label, value in content.items()}
