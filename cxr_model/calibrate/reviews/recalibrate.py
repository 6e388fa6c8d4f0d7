"""New curves for a bundle from the reviews of a site.

Reviewers choose what they look at. If they choose by what the model called, the films with a review
still show the outcome at each probability, and a curve fitted to them holds for all films of the
site. The share of positives among them does not: so the prevalence of a curve is its mean over all
films that the site has analysed. If they choose by the look of a film, the curve is as biased as
their choice, which no number here can show.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any

import numpy as np

from cxr_model.calibrate.calibration import Calibration, calibrate
from cxr_model.calibrate.operating_point import refuse_training_patients
from cxr_model.calibrate.prevalence import expected_prevalence
from cxr_model.calibrate.reviews.films import Evidence, ReviewedFilms
from cxr_model.data.patients import PatientSet, recorded_sets
from cxr_model.data.predictions import Predictions
from cxr_model.errors import CalibrationError
from cxr_model.findings import LABELS
from cxr_model.predict.bundle import Bundle
from cxr_model.predict.card import timestamp
from cxr_model.predict.choices import Sharing
from cxr_model.predict.curves import (
    Calibrator,
    Floats,
    Platt,
    calibrators_from_card,
    logit,
    sigmoid,
)

#: Ways whose curves can follow the present ones.
METHODS = (Sharing.COMMON, Sharing.PLATT)

_MOVED = "moved with the curves of the reviews, so that the same films are called"


@dataclass(frozen=True, slots=True, eq=False)
class Recalibration:
    """Curves of all findings, of which `fitted_labels` follow the reviews.

    `fitted` has the films and labels of the fit with the probabilities of the present curves.
    """

    calibration: Calibration
    thresholds: Mapping[str, float]
    fitted: Predictions
    evidence: tuple[Evidence, ...]

    @property
    def fitted_labels(self) -> tuple[str, ...]:
        """Findings whose curve was fitted to reviews."""
        return self.fitted.labels


def without_training_patients(bundle: Bundle, films: ReviewedFilms) -> ReviewedFilms:
    """Return the films of patients that the network was not trained on."""
    rows = np.ones(len(films), dtype=np.bool_)
    for seen in recorded_sets(bundle.card.provenance):
        rows &= [not seen.holds(patient) for patient in films.patients]
    return films.where(rows)


def recalibrate(
    bundle: Bundle,
    films: ReviewedFilms,
    site_logits: Floats,
    *,
    methods: Sequence[Sharing] = METHODS,
    seed: int = 0,
) -> Recalibration:
    """Fit a slope and an offset to the bundle's present curve of each finding with enough reviews.

    The other findings keep their curves, and a finding keeps it also where the reviews show no gain
    on left-out patients. Each threshold moves with its curve. `site_logits` (m, 14) are those of
    all films that the model has analysed at the site.

    Raises CalibrationError if no finding has enough reviews, PatientOverlapError if the network was
    trained on one of the patients.
    """
    evidence = tuple(films.evidence())
    labels = tuple(each.label for each in evidence if not each.lacks)
    if not labels:
        raise CalibrationError(_too_few(evidence))
    present = calibrators_from_card(bundle.card.calibrators)
    before = np.stack(
        [present[label].apply(films.logits[:, i]) for i, label in enumerate(LABELS)], axis=1
    )
    fitted = films.predictions(labels, before)
    refuse_training_patients(bundle, fitted)
    steps = calibrate(fitted, methods=tuple(methods), seed=seed)
    curves = dict(present)
    thresholds = dict(bundle.card.thresholds)
    for label, step in steps.calibrators.items():
        slope, intercept = _line(step)
        curves[label] = present[label].rescaled(slope, intercept)
        moved = slope * logit(thresholds[label]) + intercept
        thresholds[label] = float(sigmoid(moved))
    kept = bundle.card.calibration
    shifts = _of_others(kept.get("shifts"), labels)
    prevalence = {
        **expected_prevalence(curves, LABELS, site_logits),
        **_of_others(kept.get("prevalence"), labels),
    }
    report = {each.label: _report(each, steps) for each in evidence if each.label in labels}
    calibration = Calibration(
        {label: curves[label] for label in LABELS},
        PatientSet.of(fitted.patients),
        report,
        prevalence,
        shifts and {**dict.fromkeys(labels, 0.0), **shifts},
    )
    return Recalibration(calibration, thresholds, fitted, evidence)


def recalibrated_bundle(
    bundle: Bundle, found: Recalibration, agreement: Mapping[str, Any], now: datetime
) -> Bundle:
    """Return the bundle with the curves and the moved thresholds.

    `agreement` is the card's table `calibration`. The metrics are removed, because they belong to
    the former curves.
    """
    record = {key: value for key, value in bundle.card.operating_point.items() if key != "moved"}
    card = replace(
        bundle.card,
        created=timestamp(now),
        calibrators=found.calibration.to_card(),
        calibration=agreement,
        thresholds=found.thresholds,
        operating_point={**record, "moved": _MOVED},
        provenance={
            **bundle.card.provenance,
            "recalibrated": {
                "from_sha256": bundle.sha256,
                "outcomes": "reviews of the site",
                "findings": list(found.fitted_labels),
                "films": len(found.fitted),
                "patients": len(found.calibration.fitted_on),
                "fitted_on": [found.calibration.fitted_on.to_json()],
                "positives": {
                    each.label: each.present
                    for each in found.evidence
                    if each.label in found.fitted_labels
                },
            },
        },
        metrics={},
    )
    return bundle.with_card(card)


def _line(step: Calibrator) -> tuple[float, float]:
    return (step.slope, step.intercept) if isinstance(step, Platt) else (1.0, 0.0)


def _report(evidence: Evidence, steps: Calibration) -> dict[str, Any]:
    counts = {
        name: getattr(evidence, name)
        for name in ("present", "absent", "called", "not_called", "patients")
    }
    return {**steps.report[evidence.label], "reviews": counts}


def _of_others(values: Any, labels: Sequence[str]) -> dict[str, float]:
    """Return the values of a card's table for the findings whose curves stay."""
    content = values if isinstance(values, Mapping) else {}
    return {label: float(value) for label, value in content.items() if label not in labels}


def _too_few(evidence: Sequence[Evidence]) -> str:
    """Return the error for reviews of which no finding has enough, with the nearest finding."""
    nearest = max(
        evidence,
        key=lambda each: (
            min(each.present, each.absent, each.called, each.not_called),
            each.present + each.absent,
        ),
    )
    return (
        "too few reviews to calibrate on: no finding has 10 films that the reviewers hold for "
        "present, 10 for absent, 10 that were called and 10 that were not, of 10 patients; "
        f"{nearest.label} is nearest and lacks {nearest.lacks}"
    )
