"""New thresholds of a bundle, from labelled films of a site."""

from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from cxr_model.calibrate.calibration import calibrate
from cxr_model.calibrate.goal import Aim, Goal
from cxr_model.calibrate.operating_point import recalibrate_bundle
from cxr_model.calibrate.site_thresholds import rethreshold_bundle
from cxr_model.data.patients import PatientSet
from cxr_model.data.predictions import Predictions
from cxr_model.errors import BundleError, DataError, ModelError, PatientOverlapError
from cxr_model.evaluate.card_metrics import with_metrics
from cxr_model.findings import LABELS
from cxr_model.predict.bundle import Bundle
from cxr_model.predict.curves import logit, sigmoid
from storage.files.csv_file import neutralise
from tests.builders.made_models import INTERCEPT, NARROW, SLOPE, random_bundle

NOW = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)


@pytest.fixture(scope="module")
def bundle() -> Bundle:
    return random_bundle()


def site(n: int = 300, positives: int = 1) -> Predictions:
    """Return uncalibrated films of n // 2 patients; each second film has findings."""
    rng = np.random.default_rng(1)
    targets = np.zeros((n, 14))
    for film in range(0, n, 2):
        targets[film, rng.integers(0, 14, positives)] = 1
    probabilities = sigmoid(rng.normal(-2, 1, (n, 14)) + 3 * targets)
    names = np.asarray([f"{i}.png" for i in range(n)], dtype=object)
    patients = np.asarray([f"P{i // 2}" for i in range(n)], dtype=object)
    return Predictions(
        LABELS, names, patients, probabilities, targets, pd.DataFrame(index=range(n)), False
    )


def test_the_thresholds_keep_the_budget_on_calibrated_probabilities(bundle: Bundle) -> None:
    films = site()
    renewed = rethreshold_bundle(bundle, films, goal=Goal(), now=NOW)
    calibrated = sigmoid(SLOPE * logit(films.probabilities) + INTERCEPT)
    called = calibrated >= np.asarray([renewed.card.thresholds[label] for label in LABELS])
    empty = films.targets.sum(axis=1) == 0
    assert 0.48 < called[empty].sum(axis=1).mean() <= 0.5
    record = renewed.card.operating_point
    assert (record["films"], record["patients"]) == (300, 150)
    sensitivity = called[films.targets[:, 2] > 0, 2].mean()
    assert record["labels"]["Effusion"]["sensitivity"] == pytest.approx(sensitivity, abs=1e-4)
    assert renewed.card.calibrators == bundle.card.calibrators
    assert renewed.card.provenance["thresholds"]["from_sha256"] == bundle.sha256
    assert renewed.sha256 != bundle.sha256


def test_prior_odds_are_those_of_the_films_of_the_site(bundle: Bundle) -> None:
    films = site()
    renewed = rethreshold_bundle(bundle, films, goal=Goal(), now=NOW)
    means = sigmoid(SLOPE * logit(films.probabilities) + INTERCEPT).mean(axis=0)
    record = renewed.card.operating_point
    assert record["prior_odds"] == "mean calibrated probability of the films"
    for label, mean in zip(LABELS, means, strict=True):
        threshold = renewed.card.thresholds[label]
        odds = threshold / (1 - threshold)
        assert odds == pytest.approx(record["likelihood_ratio"] * mean / (1 - mean))


def test_metrics_stay_without_the_rates_of_the_former_thresholds(bundle: Bundle) -> None:
    metrics = {
        "held_out": {
            "mean_auc": 0.7,
            "false_calls": {"per_film_without_findings": 0.4},
            "calls_per_film": 1.0,
            "labels": {"Mass": {"auc": 0.7, "sensitivity": 0.5, "sensitivity_95": [0.1, 0.9]}},
        },
        "stability": {"jpeg_50": {"calls": 8, "changed": 2, "share": 0.25}},
    }
    known = bundle.with_card(replace(bundle.card, metrics=metrics))
    renewed = rethreshold_bundle(known, site(), goal=Goal(Aim.SENSITIVITY, 0.8), now=NOW)
    assert renewed.card.metrics["held_out"] == {
        "mean_auc": 0.7,
        "labels": {"Mass": {"auc": 0.7, "sensitivity": None, "sensitivity_95": None}},
    }
    assert set(renewed.card.metrics) == {"held_out"}


def test_the_films_of_the_choice_are_not_measured_on_the_card(bundle: Bundle) -> None:
    films = site()
    renewed = rethreshold_bundle(bundle, films, goal=Goal(), now=NOW)
    with pytest.raises(PatientOverlapError, match="choice of thresholds was fitted on 150 of"):
        with_metrics(renewed, films, part="evaluated", resamples=5)
    others = replace(films, patients=np.asarray([f"Q{i}" for i in range(300)], dtype=object))
    measured = with_metrics(renewed, others, part="evaluated", resamples=5)
    assert measured.card.metrics["evaluated"]["images"] == 300
    again = rethreshold_bundle(bundle, films, goal=Goal(), now=NOW)
    assert again.sha256 == renewed.sha256


def without(films: Predictions, kind: str) -> Predictions:
    empty = films.targets.sum(axis=1) == 0
    return films.where(~empty if kind == "empty" else empty)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda films: replace(films, calibrated=True), "are calibrated already"),
        (lambda films: without(films, "empty"), "needs 20 films without findings, these are 0"),
        (lambda films: without(films, "found"), "no film has a finding"),
        (lambda films: films.where(np.arange(300) < 30), "these are 15"),
        (
            lambda films: films.with_probabilities(np.full((300, 14), 0.5)),
            "no threshold reaches this goal and calls a finding",
        ),
        (
            lambda films: replace(films, labels=LABELS[:13]),
            "outcomes of every label; Hernia is missing",
        ),
    ],
)
def test_films_that_cannot_choose_thresholds_are_refused(
    bundle: Bundle, change: Callable[[Predictions], Predictions], message: str
) -> None:
    with pytest.raises(ModelError, match=message):
        rethreshold_bundle(bundle, change(site()), goal=Goal(), now=NOW)


def test_patients_of_the_training_are_refused(bundle: Bundle) -> None:
    def trained_on(sets: list[dict[str, Any]]) -> Bundle:
        return bundle.with_card(replace(bundle.card, provenance={"fitted_on": sets}))

    seen = [PatientSet.of(["X1"]).to_json(), PatientSet.of(["X2", "P7", "P8"]).to_json()]
    with pytest.raises(DataError, match="random was fitted on 2 of these patients"):
        rethreshold_bundle(trained_on(seen), site(), goal=Goal(), now=NOW)
    rethreshold_bundle(trained_on(seen[:1]), site(), goal=Goal(), now=NOW)
    with pytest.raises(BundleError, match="fitted_on is malformed"):
        rethreshold_bundle(trained_on([{"salt": "?"}]), site(), goal=Goal(), now=NOW)


def test_curves_are_not_fitted_on_patients_of_the_training(bundle: Bundle) -> None:
    seen = PatientSet.of(["P7", "P8", "Q1"]).to_json()
    trained = bundle.with_card(replace(bundle.card, provenance={"fitted_on": [seen]}))
    films = site()
    with pytest.raises(PatientOverlapError, match="random was fitted on 2 of these patients"):
        recalibrate_bundle(trained, calibrate(films), films, {}, goal=Goal(), now=NOW)


def test_a_table_safe_for_spreadsheets_names_the_same_patients(tmp_path: Path) -> None:
    names = ["-A1", "=B", "O'Neil", " '@x", "'quoted", "a;=b"]
    films = site().where(np.arange(300) < len(names))
    named = replace(films, patients=np.asarray(names, dtype=object))
    named.to_csv(tmp_path / "p.csv", neutralise)
    assert "'-A1" in (tmp_path / "p.csv").read_text()
    read = Predictions.from_csv(tmp_path / "p.csv").patients.tolist()
    assert read == ["-A1", "=B", "O'Neil", "@x", "'quoted", "a;=b"]


def test_brier_scores_on_a_card_are_those_before_the_shift(bundle: Bundle) -> None:
    films = site()
    shifts = dict.fromkeys(LABELS, -2.0)
    moved = bundle.with_card(replace(bundle.card, calibration={"shifts": shifts}))
    shown = films.with_probabilities(sigmoid(logit(films.probabilities) - 2.0))
    measured = with_metrics(moved, shown, part="evaluated", resamples=5).card.metrics["evaluated"]
    expected = np.mean((films.probabilities[:, 4] - films.targets[:, 4]) ** 2)
    assert measured["labels"]["Mass"]["brier"] == pytest.approx(expected, abs=1e-4)
    called = shown.probabilities >= np.asarray([bundle.card.thresholds[label] for label in LABELS])
    assert measured["calls_per_film"] == pytest.approx(called.sum(axis=1).mean(), abs=1e-4)


def test_the_new_bundle_can_be_saved_and_loaded(bundle: Bundle, tmp_path: Path) -> None:
    renewed = rethreshold_bundle(bundle, site(), goal=Goal(Aim.PPV, 0.5), now=NOW)
    renewed.save(tmp_path / "site")
    assert Bundle.load(tmp_path / "site", blocks=NARROW).sha256 == renewed.sha256
