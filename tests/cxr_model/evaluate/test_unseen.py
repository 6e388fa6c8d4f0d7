"""The calibration slope on patients whom no fit has seen, and what a card says of it."""

import json
import math
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest

from cxr_model.calibrate.calibration import Calibration, calibrate
from cxr_model.calibrate.prevalence import target_prevalence
from cxr_model.data.predictions import Predictions
from cxr_model.evaluate.unseen import calibration_record, left_out_slope, slope_of
from cxr_model.findings import LABELS
from cxr_model.predict.curves import logit, sigmoid
from tests.builders.data.made_predictions import predictions
from tests.builders.made_models import made_card


def test_the_slope_of_left_out_patients_is_that_of_the_fit_and_not_of_the_network() -> None:
    overconfident = predictions(0.5, films=400)
    assert slope_of(overconfident).high < 0.7
    left_out = left_out_slope(overconfident)
    assert left_out.low < 1 < left_out.high
    assert left_out == left_out_slope(overconfident)


def rare_findings(seed: int, films: int = 90) -> Predictions:
    """Return few films with rare findings, of a network that errs by an offset and a slope only."""
    rng = np.random.default_rng(seed)
    prevalences = np.linspace(0.03, 0.16, len(LABELS))
    true = rng.normal(size=(films, len(LABELS))) * 0.9 + logit(prevalences)
    outcomes = rng.random(true.shape) < sigmoid(true)
    probabilities = sigmoid(1.2 * true - 0.8 + rng.normal(size=len(LABELS)) * 0.4)
    columns: dict[str, object] = {"image": np.arange(films).astype(str)}
    columns["patient_id"] = columns["image"]
    columns |= {f"prob_{label}": probabilities[:, i] for i, label in enumerate(LABELS)}
    columns |= {f"y_{label}": outcomes[:, i].astype(float) for i, label in enumerate(LABELS)}
    return Predictions.from_table(pd.DataFrame(columns))


def test_rare_findings_do_not_lower_the_slope_of_left_out_patients() -> None:
    slopes = [left_out_slope(rare_findings(seed), resamples=50).value for seed in range(4)]
    # With the offsets of each fold's own fit the mean is 0.75.
    assert 0.88 < np.mean(slopes) < 1.1


def test_too_few_patients_for_folds_in_folds_have_no_slope() -> None:
    assert math.isnan(left_out_slope(predictions(0.5, films=18)).value)


@pytest.mark.parametrize(
    ("calibration", "calibrated", "words"),
    [
        ({}, False, "not calibrated: no slope on unseen patients is recorded"),
        ({"slope": 0.9, "slope_95": [0.7, 1.1], "patients": 88}, True, "calibrated: slope 0.90"),
        ({"slope": 0.4, "slope_95": [0.2, 0.6], "patients": 88}, False, "not calibrated: slope"),
        ({"slope": 1.4, "slope_95": [1.1, 1.8], "patients": 88}, False, "not calibrated: slope"),
        # So few films that they show nothing.
        ({"slope": 0.9, "slope_95": [-0.7, 2.5], "patients": 5}, False, "not calibrated: slope"),
        ({"slope": 0.9, "slope_95": [0.7], "patients": 88}, False, "not calibrated: slope"),
        ({"slope": 0.9}, False, "not calibrated: slope"),
        ({"patients": 7, "measured": "none"}, False, "not calibrated: no slope"),
    ],
)
def test_a_card_is_calibrated_if_its_interval_has_1_and_not_0(
    calibration: dict[str, object], calibrated: bool, words: str
) -> None:
    card = replace(made_card(), calibration=calibration)
    assert card.calibrated is calibrated
    assert card.calibration_words().startswith(words)


def test_the_held_out_patients_have_a_veto() -> None:
    good = {"slope": 0.9, "slope_95": [0.7, 1.1], "patients": 88}
    bad = {"slope": 0.4, "slope_95": [0.2, 0.6], "patients": 133}
    card = replace(made_card(), calibration={**good, "held_out": bad})
    assert not card.calibrated
    assert "133" in card.calibration_words()
    assert replace(card, calibration={**good, "held_out": good}).calibrated


def test_the_record_of_a_card_is_json_even_without_a_slope() -> None:
    few = predictions(0.5, films=18)
    fitted = Calibration({}, calibrate(few).fitted_on, {}, target_prevalence("nih") or {}, {})
    record = calibration_record(fitted, left_out_slope(few), "nowhere")
    assert "slope" not in json.loads(json.dumps(record, allow_nan=False))
    assert record["patients"] == 9
    assert record["prevalence"]["Hernia"] == pytest.approx(227 / 112_120, abs=1e-6)
