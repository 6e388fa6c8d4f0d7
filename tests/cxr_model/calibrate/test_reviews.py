"""Reviews move the curves that have enough of them, whatever share of the films was reviewed."""

from dataclasses import replace
from datetime import UTC, datetime

import numpy as np
import pytest

from cxr_model.calibrate.reviews.films import ReviewedFilms
from cxr_model.calibrate.reviews.recalibrate import (
    Recalibration,
    recalibrate,
    recalibrated_bundle,
    without_training_patients,
)
from cxr_model.data.patients import PatientSet
from cxr_model.errors import CalibrationError, PatientOverlapError
from cxr_model.evaluate.unseen import calibration_record, slope_of
from cxr_model.findings import LABELS
from cxr_model.predict.bundle import Bundle
from cxr_model.predict.curves import calibrators_from_card, logit, sigmoid
from tests.builders.made_models import random_bundle

NOW = datetime(2026, 3, 1, tzinfo=UTC)
MASS, EDEMA = LABELS.index("Mass"), LABELS.index("Edema")
SLOPE, INTERCEPT = 0.5, -0.8
"""The curve by which the outcomes are drawn."""


def bundle() -> Bundle:
    made = random_bundle(calibrator={"method": "platt", "slope": 1.0, "intercept": 0.0})
    return made.with_card(replace(made.card, thresholds=dict.fromkeys(LABELS, 0.4)))


def site(films: int = 4000, seed: int = 0) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return the logits of a site's films, the true outcomes and the calls, (n, 14) each."""
    rng = np.random.default_rng(seed)
    logits = rng.normal(-1.5, 1.5, (films, len(LABELS)))
    truth = (rng.random(logits.shape) < sigmoid(SLOPE * logits + INTERCEPT)).astype(float)
    return logits, truth, (sigmoid(logits) >= 0.4).astype(float)


def reviewed(share_not_called: float, *labels: int, films: int = 4000) -> ReviewedFilms:
    """Return the site's films with reviews of every call and of a share of the others."""
    logits, truth, called = site(films)
    looked_at = (called == 1) | (np.random.default_rng(1).random(logits.shape) < share_not_called)
    looked_at[:, [i for i in range(len(LABELS)) if i not in labels]] = False
    return ReviewedFilms(
        np.asarray([f"film{i}" for i in range(films)], dtype=object),
        np.asarray([f"patient{i // 2}" for i in range(films)], dtype=object),
        logits,
        np.where(looked_at, truth, np.nan),
        np.where(looked_at, called, np.nan),
    )


def curve_at(found: Recalibration, label: str, logits: np.ndarray) -> np.ndarray:
    return found.calibration.calibrators[label].apply(logits)


def test_a_curve_from_reviews_of_mostly_calls_holds_for_all_films() -> None:
    found = recalibrate(bundle(), reviewed(0.3, MASS, EDEMA), site()[0])
    assert found.fitted_labels == ("Mass", "Edema")
    places = np.array([-3.0, -1.0, 1.0])
    for label in found.fitted_labels:
        assert curve_at(found, label, places) == pytest.approx(SLOPE * places + INTERCEPT, abs=0.3)
    # Among the reviewed films the share is far higher than at the site.
    share = float(site()[1][:, MASS].mean())
    assert found.calibration.prevalence["Mass"] == pytest.approx(share, abs=0.03)
    assert float(np.nanmean(reviewed(0.1, MASS).outcomes[:, MASS])) > share + 0.1


def test_the_other_findings_keep_curve_and_threshold() -> None:
    found = recalibrate(bundle(), reviewed(0.1, MASS), site()[0])
    before = bundle().card
    places = np.linspace(-4, 2, 7)
    for label in set(LABELS) - {"Mass"}:
        assert curve_at(found, label, places) == pytest.approx(places)
        assert found.thresholds[label] == before.thresholds[label]


def test_the_same_films_are_called() -> None:
    films = reviewed(0.1, MASS)
    found = recalibrate(bundle(), films, site()[0])
    probabilities = sigmoid(curve_at(found, "Mass", films.logits[:, MASS]))
    assert found.thresholds["Mass"] != pytest.approx(0.4, abs=0.02)
    now = probabilities >= found.thresholds["Mass"]
    assert np.array_equal(now, sigmoid(films.logits[:, MASS]) >= 0.4)


def test_reviews_that_agree_with_the_curve_change_nothing_much() -> None:
    films = reviewed(0.2, MASS, films=600)
    fits = sigmoid(films.logits)
    drawn = (np.random.default_rng(5).random(fits.shape) < fits).astype(float)
    films = replace(films, outcomes=np.where(np.isnan(films.outcomes), np.nan, drawn))
    found = recalibrate(bundle(), films, films.logits)
    assert curve_at(found, "Mass", np.array([0.0])) == pytest.approx(0.0, abs=0.4)


@pytest.mark.parametrize(
    ("share", "films", "lacks"),
    [(0.0, 4000, "10 more films that were not called"), (0.5, 10, "more films with the finding")],
)
def test_too_few_reviews_are_refused_with_what_is_missing(
    share: float, films: int, lacks: str
) -> None:
    with pytest.raises(CalibrationError, match=rf"too few reviews.*Mass.*{lacks}"):
        recalibrate(bundle(), reviewed(share, MASS, films=films), site()[0])


def test_films_of_one_patient_are_too_few() -> None:
    films = reviewed(0.2, MASS)
    films = replace(films, patients=np.full(len(films), "one", dtype=object))
    with pytest.raises(CalibrationError, match="9 more patients"):
        recalibrate(bundle(), films, site()[0])


def test_patients_of_the_training_are_left_out_or_refused() -> None:
    made = bundle()
    trained_on = {"fitted_on": [PatientSet.of(["patient0", "patient1"]).to_json()]}
    made = made.with_card(replace(made.card, provenance=trained_on))
    films = reviewed(0.5, MASS)
    with pytest.raises(PatientOverlapError):
        recalibrate(made, films, site()[0])
    left = without_training_patients(made, films)
    assert len(left) == len(films) - 4
    assert recalibrate(made, left, site()[0]).fitted_labels == ("Mass",)


def test_a_new_bundle_records_the_reviews_and_no_former_metrics() -> None:
    made = bundle()
    made = made.with_card(replace(made.card, metrics={"held_out": {"mean_auc": 0.8}}))
    found = recalibrate(made, reviewed(0.1, MASS), site()[0])
    record = calibration_record(found.calibration, slope_of(found.fitted), "reviews")
    new = recalibrated_bundle(made, found, record, NOW)
    new.card.check()
    assert set(new.card.calibration["prevalence"]) == set(LABELS)
    origin = new.card.provenance["recalibrated"]
    assert (origin["from_sha256"], origin["findings"]) == (made.sha256, ["Mass"])
    assert origin["outcomes"] == "reviews of the site"
    assert "moved with the curves" in new.card.operating_point["moved"]
    assert new.card.metrics == {}
    curve = calibrators_from_card(new.card.calibrators)["Mass"]
    assert curve.apply(np.array([0.5])) == pytest.approx(curve_at(found, "Mass", np.array([0.5])))


@pytest.mark.parametrize(
    "curve",
    [
        {"method": "identity"},
        {"method": "platt", "slope": 0.7, "intercept": -1.0},
        {"method": "beta", "a": 0.5, "b": 1.5, "c": 0.2},
        {"method": "isotonic", "logits": [-2.0, 0.0], "calibrated": [-3.0, -0.5]},
    ],
)
def test_every_curve_can_be_rescaled(curve: dict[str, object]) -> None:
    (made,) = calibrators_from_card({"Mass": curve}).values()
    places = np.linspace(-30, 30, 61)
    assert made.rescaled(0.5, 0.3).apply(places) == pytest.approx(0.5 * made.apply(places) + 0.3)


def test_outcomes_not_known_have_no_weight() -> None:
    """Films without a review of the finding change neither its curve nor the slope."""
    some = reviewed(0.1, MASS)
    only = some.where(~np.isnan(some.outcomes[:, MASS]))
    whole, part = (recalibrate(bundle(), films, site()[0]) for films in (some, only))
    both = replace(reviewed(0.1, MASS, EDEMA))
    places = np.array([-2.0, 0.0])
    assert curve_at(whole, "Mass", places) == pytest.approx(curve_at(part, "Mass", places))
    assert curve_at(recalibrate(bundle(), both, site()[0]), "Mass", places) == pytest.approx(
        curve_at(whole, "Mass", places), abs=0.15
    )
    assert logit(sigmoid(places)) == pytest.approx(places)


def test_shifts_of_fitted_curves_end() -> None:
    """A curve that is fitted to the site is no longer moved from one prevalence to another."""
    made = bundle()
    tables = {"shifts": dict.fromkeys(LABELS, -0.7), "prevalence": dict.fromkeys(LABELS, 0.03)}
    made = made.with_card(replace(made.card, calibration=tables))
    found = recalibrate(made, reviewed(0.1, MASS), site()[0]).calibration
    assert (found.shifts["Mass"], found.shifts["Hernia"]) == (0.0, -0.7)
    assert (found.prevalence["Hernia"], found.prevalence["Mass"] > 0.1) == (0.03, True)
