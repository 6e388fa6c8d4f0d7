"""The calibration slope: one for all labels, with an interval over patients."""

import math

import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression

from cxr_model.calibrate.slope import LARGEST, common_slope, measure_slope
from tests.builders.data.made_predictions import COLUMNS, FILMS, outcomes


def test_the_slope_agrees_with_a_logistic_regression_with_a_dummy_per_label() -> None:
    logits, y, _ = outcomes(0.6)
    dummies = np.tile(np.eye(COLUMNS), (FILMS, 1))
    design = np.column_stack([logits.ravel(), dummies])
    reference = LogisticRegression(C=1e10, fit_intercept=False, tol=1e-10, max_iter=500)
    reference.fit(design, y.ravel())
    assert common_slope(logits, y) == pytest.approx(reference.coef_[0, 0], abs=1e-4)


def test_a_shift_of_a_label_changes_no_slope() -> None:
    logits, y, patients = outcomes(0.6)
    here = measure_slope(logits, y, patients)
    there = measure_slope(logits + np.array([0.0, 3.0, -2.0, 1.0, 0.5]), y, patients)
    assert (there.value, there.low, there.high) == pytest.approx(
        (here.value, here.low, here.high), abs=1e-9
    )


def test_the_interval_covers_the_true_slope_as_often_as_it_says() -> None:
    hits = 0
    for seed in range(60):
        logits, y, patients = outcomes(0.7, films=240, seed=seed)
        slope = measure_slope(logits, y, patients, resamples=200, seed=seed)
        hits += slope.low <= 0.7 <= slope.high
    assert 52 <= hits <= 60


def test_films_of_a_patient_are_drawn_together() -> None:
    logits, y, _ = outcomes(0.8, films=200)
    alone = np.arange(800).astype(str).astype(object)
    logits, y = np.repeat(logits, 4, axis=0), np.repeat(y, 4, axis=0)
    wide = measure_slope(logits, y, np.repeat(np.arange(200), 4).astype(str).astype(object))
    narrow = measure_slope(logits, y, alone)
    assert wide.high - wide.low > 1.7 * (narrow.high - narrow.low)
    assert (wide.patients, wide.films) == (200, 800)


def test_outcomes_without_a_slope_have_none() -> None:
    logits, y, patients = outcomes(0.8, films=40)
    for x, target in ((logits, np.zeros_like(y)), (np.zeros_like(logits), y)):
        slope = measure_slope(x, target, patients)
        assert all(math.isnan(value) for value in (slope.value, slope.low, slope.high))


def test_separated_outcomes_stay_finite() -> None:
    logits, _, patients = outcomes(0.8, films=40)
    slope = measure_slope(logits, (logits > -1.5).astype(float), patients)
    assert slope.low > 1
    assert slope.value <= LARGEST
