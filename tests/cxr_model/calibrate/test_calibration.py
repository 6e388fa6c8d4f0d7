"""Calibration: rising curves, fitted and scored on different patients."""

import itertools
import json
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.linear_model import LogisticRegression

from cxr_model.calibrate.calibration import Calibration, calibrate, refit_offsets
from cxr_model.calibrate.fitting import (
    NETWORK_PRIOR,
    fit_beta,
    fit_isotonic,
    fit_offset,
    fit_platt,
    smoothed_targets,
)
from cxr_model.calibrate.pooling import shared_priors
from cxr_model.calibrate.selection import DEFAULT_METHODS, Folds, Priors, Selection, select
from cxr_model.data.predictions import Predictions, split_patients
from cxr_model.errors import CalibrationError, DataError, PatientOverlapError
from cxr_model.predict.choices import Method, Sharing
from cxr_model.predict.curves import (
    Beta,
    Calibrator,
    Identity,
    Isotonic,
    Platt,
    calibrator_from_json,
    logit,
    sigmoid,
)

CURVES = [
    Identity(),
    Platt(0.7, -1.0),
    Beta(0.5, 1.5, 0.2),
    Isotonic((-2.0, 0.0, 1.5), (-3.0, -0.5, 0.1)),
]


def outcomes(
    n: int, *, slope: float, intercept: float, seed: int = 0
) -> tuple[np.ndarray, np.ndarray]:
    """Return logits, and outcomes drawn from slope * logit + intercept."""
    rng = np.random.default_rng(seed)
    logits = rng.normal(-1.5, 1.5, n)
    return logits, (rng.random(n) < sigmoid(slope * logits + intercept)).astype(float)


def select_curves(
    logits: np.ndarray,
    y: np.ndarray,
    folds: np.ndarray | None = None,
    methods: tuple[Sharing, ...] = DEFAULT_METHODS,
) -> Selection:
    """Select the curves of labels (films, labels) with a film per patient, in five folds."""
    folds = np.arange(len(y)) % 5 if folds is None else folds
    patients = np.arange(len(y)).astype(str).astype(object)

    def priors(rows: np.ndarray) -> Any:
        return shared_priors(logits[rows], y[rows], patients[rows])

    shared = Priors(priors(folds >= 0), [priors(folds != fold) for fold in range(5)])
    return select(logits, y, Folds(folds, patients), shared, methods)


def select_curve(
    logits: np.ndarray, y: np.ndarray, folds: np.ndarray | None = None
) -> tuple[Calibrator, Mapping[str, Any]]:
    """Select the curve of a single label and return it with its report."""
    selection = select_curves(logits[:, None], y[:, None], folds)
    return selection.calibrators[0], selection.reports[0]


def table(n: int = 600, *, first: int = 0, slope: float = 0.5, seed: int = 0) -> Predictions:
    """Return two labels, three images per patient, overconfident by 1 / slope."""
    columns: dict[str, object] = {
        "image": [f"{first + i}.png" for i in range(n)],
        "patient_id": [str((first + i) // 3) for i in range(n)],
    }
    for i, label in enumerate(("Effusion", "Mass")):
        logits, y = outcomes(n, slope=slope, intercept=0.0, seed=seed + i)
        columns |= {f"prob_{label}": sigmoid(logits), f"y_{label}": y}
    return Predictions.from_table(pd.DataFrame(columns))


@pytest.mark.parametrize("curve", CURVES)
@given(x=st.floats(-25, 25), step=st.floats(1e-3, 10))
@settings(max_examples=50, deadline=None)
def test_every_curve_rises_strictly(curve: Platt, x: float, step: float) -> None:
    low, high = curve.apply([x, x + step])
    assert high > low


@pytest.mark.parametrize("curve", CURVES)
def test_a_curve_survives_json_and_can_be_shifted(curve: Platt) -> None:
    read = calibrator_from_json(json.loads(json.dumps(curve.to_json())))
    assert read == curve
    x = np.linspace(-6, 6, 25)
    np.testing.assert_allclose(read.shifted(0.75).apply(x), curve.apply(x) + 0.75, atol=1e-12)


@pytest.mark.parametrize(
    "content",
    [
        {},
        {"method": "spline"},
        {"method": "platt", "slope": 1.0},
        {"method": "platt", "slope": -1.0, "intercept": 0.0},
        {"method": "platt", "slope": float("nan"), "intercept": 0.0},
        {"method": "beta", "a": 0.0, "b": 1.0, "c": 0.0},
        {"method": "isotonic", "logits": [0.0, 0.0], "calibrated": [0.0, 1.0]},
        {"method": "isotonic", "logits": [], "calibrated": []},
        {"method": "isotonic", "logits": None, "calibrated": []},
    ],
)
def test_a_malformed_calibrator_is_refused(content: dict[str, object]) -> None:
    with pytest.raises(CalibrationError):
        calibrator_from_json(content)


def test_logit_and_sigmoid_are_inverse_and_stay_finite() -> None:
    x = np.linspace(-25, 25, 101)
    np.testing.assert_allclose(logit(sigmoid(x)), x, rtol=1e-4)
    assert np.isfinite(logit([0.0, 1.0])).all()
    np.testing.assert_array_equal(sigmoid([-1e4, 1e4]), [0.0, 1.0])


def test_platt_agrees_with_scikit_learn() -> None:
    logits, y = outcomes(4000, slope=0.6, intercept=-0.5)
    smoothed = smoothed_targets(y)
    # A smoothed outcome is a 1 and a 0 with these weights.
    reference = LogisticRegression(C=1e12, tol=1e-10).fit(
        np.concatenate([logits, logits])[:, None],
        np.repeat([1, 0], len(y)),
        np.concatenate([smoothed, 1 - smoothed]),
    )
    platt = fit_platt(logits, y)
    assert platt.slope == pytest.approx(reference.coef_[0, 0], abs=1e-4)
    assert platt.intercept == pytest.approx(reference.intercept_[0], abs=1e-4)


def test_beta_with_equal_slopes_is_platt_and_finds_it() -> None:
    logits, y = outcomes(60_000, slope=0.6, intercept=-0.5)
    beta = fit_beta(logits, y)
    assert (beta.a, beta.b, beta.c) == pytest.approx((0.6, 0.6, -0.5), abs=0.06)
    x = np.linspace(-5, 5, 11)
    np.testing.assert_allclose(Beta(0.6, 0.6, -0.5).apply(x), Platt(0.6, -0.5).apply(x))


def test_smoothed_targets_follow_platt() -> None:
    np.testing.assert_allclose(smoothed_targets([1, 0, 0, 0]), [2 / 3, 0.2, 0.2, 0.2])


def test_a_prior_stabilises_a_label_with_few_positives() -> None:
    logits, y = outcomes(400, slope=1.0, intercept=0.0, seed=3)
    y[:] = 0
    y[:2] = 1
    free, shrunk = fit_platt(logits, y), fit_platt(logits, y, prior=NETWORK_PRIOR)
    assert abs(shrunk.slope - 1) < abs(free.slope - 1)


def test_a_reversed_score_still_gives_a_rising_curve() -> None:
    logits, y = outcomes(3000, slope=-1.0, intercept=-1.0)
    assert 0 < fit_platt(logits, y).slope < 0.01
    beta = fit_beta(logits, y)
    assert beta.a > 0
    assert beta.b > 0


def test_isotonic_keeps_the_order_of_every_pair() -> None:
    logits, y = outcomes(2000, slope=0.5, intercept=0.0)
    calibrated = fit_isotonic(logits, y).apply(logits)
    order = np.argsort(logits)
    assert (np.diff(calibrated[order])[np.diff(logits[order]) > 0] > 0).all()


@pytest.mark.parametrize("y", [[0.0, 0.5], [0.0], [0.0, float("nan")]])
def test_outcomes_other_than_zero_and_one_are_refused(y: list[float]) -> None:
    with pytest.raises(CalibrationError):
        fit_platt([0.0, 1.0], y)


def test_calibration_improves_unseen_patients_and_survives_its_file(tmp_path: Path) -> None:
    fitted = calibrate(table(3000, seed=1))
    fitted.save(tmp_path / "calibration.json")
    read = Calibration.load(tmp_path / "calibration.json")
    assert read == fitted
    unseen = table(3000, first=9000, seed=7)
    calibrated = read.apply(unseen)
    before = ((unseen.probabilities - unseen.targets) ** 2).mean(axis=0)
    after = ((calibrated.probabilities - calibrated.targets) ** 2).mean(axis=0)
    assert (after < before).all()


def test_no_patient_is_both_fitted_and_scored_on(tmp_path: Path) -> None:
    calibrate(table(600)).save(tmp_path / "calibration.json")
    with pytest.raises(PatientOverlapError, match="1 of these patients"):
        Calibration.load(tmp_path / "calibration.json").apply(table(600, first=597))


def test_the_file_names_no_patient(tmp_path: Path) -> None:
    columns = {
        "image": [f"{i}.png" for i in range(20)],
        "patient_id": [f"DOE^JANE{i}" for i in range(20)],
        "prob_Mass": np.linspace(0.1, 0.9, 20),
        "y_Mass": [0, 1] * 10,
    }
    calibrate(Predictions.from_table(pd.DataFrame(columns))).save(tmp_path / "c.json")
    assert "DOE" not in (tmp_path / "c.json").read_text()


def test_a_label_that_calibration_would_worsen_stays_uncalibrated() -> None:
    logits, y = outcomes(1000, slope=1.0, intercept=0.0)
    folds = np.arange(1000) % 5
    # The first fold has another prevalence, so a fit to the other folds is wrong for it.
    y[folds == 0] = 1 - np.arange(200) % 2
    curve, report = select_curve(logits, y, folds)
    scores = report["left_out"]
    assert scores["beta"]["brier"] > scores["identity"]["brier"]
    assert curve.method is Method.IDENTITY


def test_a_network_with_a_large_offset_is_calibrated() -> None:
    logits, y = outcomes(4000, slope=1.0, intercept=-2.0)
    far_off = logits - 8.0
    curve, report = select_curve(far_off, y)
    assert report["chosen"] != "identity"
    assert report["gain_in_standard_errors"]["nll"] > 10
    assert sigmoid(curve.apply(far_off)).mean() == pytest.approx(y.mean(), rel=0.01)


def test_few_positives_of_all_labels_together_keep_the_identity() -> None:
    logits, y = outcomes(2000, slope=0.8, intercept=-4.5)
    assert 5 < y.sum() < 30
    curve, _ = select_curve(logits - 4.5, y)
    assert curve == Identity()


def test_few_positives_suffice_for_a_large_offset() -> None:
    logits, y = outcomes(2000, slope=1.0, intercept=-3.5)
    assert 5 < y.sum() < 100
    curve, _ = select_curve(logits, y)
    assert curve.method is Method.PLATT
    calibrated = sigmoid(curve.apply(logits))
    assert calibrated.mean() == pytest.approx(y.mean(), rel=0.2)


@pytest.mark.parametrize("flip", [False, True])
def test_equal_outcomes_keep_the_identity(flip: bool) -> None:
    logits, _ = outcomes(600, slope=1.0, intercept=0.0)
    curve, _ = select_curve(logits, np.full(600, float(flip)))
    assert curve == Identity()


def test_few_negatives_count_like_few_positives() -> None:
    logits, y = outcomes(600, slope=0.8, intercept=0.0)
    y[:] = 1
    y[np.argsort(logits)[:5]] = 0
    _, mirrored = select_curve(-logits, 1 - y)
    _, found = select_curve(logits, y)
    assert found["chosen"] == mirrored["chosen"]
    assert set(found["left_out"]) == {"identity", "common", "platt"}


def overconfident(films: int, labels: int, *, slope: float, seed: int = 0) -> tuple[Any, Any]:
    """Return logits and outcomes (films, labels) of a network that exaggerates all labels alike."""
    columns = [outcomes(films, slope=slope, intercept=-0.8, seed=seed + i) for i in range(labels)]
    logits, y = (np.stack(part, axis=1) for part in zip(*columns, strict=True))
    return logits, y


def test_labels_with_few_positives_share_the_evidence_of_all() -> None:
    logits, y = overconfident(200, 12, slope=0.5)
    assert y.sum(axis=0).max() < 100
    shared = select_curves(logits, y)
    assert {report["joint_choice"] for report in shared.reports} == {"common"}
    slopes = [curve.slope for curve in shared.calibrators if isinstance(curve, Platt)]
    assert len(slopes) >= 10
    assert np.median(slopes) == pytest.approx(0.5, abs=0.1)
    unseen, outcome = overconfident(2000, 12, slope=0.5, seed=50)
    calibrated = np.stack([c.apply(unseen[:, i]) for i, c in enumerate(shared.calibrators)], 1)
    assert loss(calibrated, outcome) < loss(unseen, outcome) - 0.02


def loss(logits: Any, y: Any) -> float:
    return float((np.logaddexp(0, logits) - y * logits).mean())


def test_a_label_for_which_the_joint_choice_is_wrong_leaves_it() -> None:
    logits, y = overconfident(1000, 8, slope=0.4)
    own, right = outcomes(1000, slope=1.0, intercept=0.0, seed=99)
    logits, y = np.column_stack([logits, own]), np.column_stack([y, right])
    selection = select_curves(logits, y, methods=(Sharing.COMMON,))
    assert selection.reports[-1]["gain_in_standard_errors"]["nll"] < -0.75
    assert selection.calibrators[-1] == Identity()
    assert [report["chosen"] for report in selection.reports[:-1]] == ["common"] * 8


@pytest.mark.parametrize("methods", list(itertools.permutations(["identity", "platt", "beta"])))
def test_the_order_of_the_methods_allowed_does_not_matter(methods: tuple[str, ...]) -> None:
    predictions = table(900, slope=0.4)
    fitted = calibrate(predictions, methods=tuple(map(Sharing, methods)))
    assert (
        fitted.calibrators
        == calibrate(predictions, methods=(Sharing.PLATT, Sharing.BETA)).calibrators
    )
    assert Method.IDENTITY not in {curve.method for curve in fitted.calibrators.values()}


def test_the_same_predictions_give_the_same_curves() -> None:
    predictions = table(600)
    assert calibrate(predictions).calibrators == calibrate(predictions).calibrators


def test_folds_keep_patients_together() -> None:
    patients = np.array([str(i // 4) for i in range(400)], dtype=object)
    folds = split_patients(patients, 5, seed=0)
    assert all(len(set(folds[patients == name])) == 1 for name in set(patients))
    assert set(folds) == set(range(5))
    shuffled = np.random.default_rng(1).permutation(400)
    np.testing.assert_array_equal(split_patients(patients[shuffled], 5, seed=0), folds[shuffled])
    with pytest.raises(DataError, match="3 patients"):
        split_patients(np.array(["a", "b", "c"], dtype=object), 5, seed=0)


def test_a_local_refit_changes_offsets_of_labels_with_enough_outcomes() -> None:
    general = calibrate(table(3000))
    local = table(900, first=9000, seed=5)
    targets = local.targets.copy()
    targets[::3, 0] = 1
    targets[5:, 1] = 0
    local = replace(local, targets=targets)
    moved = refit_offsets(general, local)
    assert moved.calibrators["Mass"] == general.calibrators["Mass"]
    x = np.array([-2.0, 0.0, 2.0])
    shift = moved.calibrators["Effusion"].apply(x) - general.calibrators["Effusion"].apply(x)
    assert shift[0] > 0.1
    np.testing.assert_allclose(shift, shift[0])
    with pytest.raises(PatientOverlapError):
        moved.apply(local)


def test_an_offset_makes_the_mean_fit() -> None:
    logits, y = outcomes(5000, slope=1.0, intercept=0.8)
    offset = fit_offset(logits, y)
    assert sigmoid(logits + offset).mean() == pytest.approx(smoothed_targets(y).mean(), abs=1e-9)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"y_Mass": [0, 2]}, "0 or 1"),
        ({"prob_Mass": [0.5, 1.5]}, "between 0 and 1"),
        ({"prob_Mass": [0.5, float("nan")]}, "between 0 and 1"),
        ({"prob_Mass": ["high", "low"]}, "not a number"),
        ({"prob_Cough": [0.5, 0.5]}, "unknown label 'Cough'"),
        ({"prob_Hernia": [0.5, 0.5]}, "Hernia"),
        ({"image": ["a", "a"]}, "listed twice"),
        ({"patient_id": [None, "1"]}, "empty"),
    ],
)
def test_an_unusable_table_is_refused_with_the_reason(
    tmp_path: Path, change: dict[str, object], message: str
) -> None:
    columns = {"image": ["a", "b"], "patient_id": ["1", "2"], "prob_Mass": [0.1, 0.2]}
    pd.DataFrame(columns | {"y_Mass": [0, 1]} | change).to_csv(tmp_path / "t.csv", index=False)
    with pytest.raises(DataError, match=message):
        Predictions.from_csv(tmp_path / "t.csv")


@pytest.mark.parametrize("content", ["", "[]", "{}", '{"format": "cxrd-calibration/1"}'])
def test_a_malformed_calibration_file_is_refused(tmp_path: Path, content: str) -> None:
    (tmp_path / "c.json").write_text(content)
    with pytest.raises(CalibrationError):
        Calibration.load(tmp_path / "c.json")
