"""Evaluation: from a table of predictions to metrics.csv and diagrams."""

from pathlib import Path

import cv2
import numpy as np
import pandas as pd
import pytest
from sklearn.metrics import roc_auc_score

from cxr_model.calibrate.calibration import calibrate
from cxr_model.data.predictions import Predictions, split_patients
from cxr_model.errors import PatientOverlapError
from cxr_model.evaluate.evaluation import COLUMNS, evaluate, groups, write
from cxr_model.evaluate.metrics import ece_mass


def table(n: int = 900, *, seed: int = 0) -> pd.DataFrame:
    """Return three labels: a good one, a constant one, and one without positives."""
    rng = np.random.default_rng(seed)
    good = rng.beta(0.8, 4.0, n)
    return pd.DataFrame(
        {
            "image": [f"{i}.png" for i in range(n)],
            "patient_id": [str(i // 3) for i in range(n)],
            "prob_Effusion": good,
            "prob_Mass": np.full(n, 0.1),
            "prob_Hernia": rng.random(n) * 0.01,
            "y_Effusion": (rng.random(n) < good).astype(int),
            "y_Mass": (rng.random(n) < 0.1).astype(int),
            "y_Hernia": 0,
            "view": np.where(np.arange(n) % 4 == 0, "AP", "PA"),
            "sex": np.where(np.arange(n) % 2 == 0, "F", "=cmd()"),
            "age": np.where(np.arange(n) % 100 == 0, 412, np.arange(n) % 90),
        }
    )


def read(frame: pd.DataFrame, folder: Path) -> Predictions:
    frame.to_csv(folder / "predictions.csv", index=False)
    return Predictions.from_csv(folder / "predictions.csv")


def test_the_table_has_a_row_per_label_and_a_mean(tmp_path: Path) -> None:
    frame = table()
    result = evaluate(read(frame, tmp_path), resamples=100)
    written = write(result, tmp_path / "out" / "metrics.csv")
    rows = pd.read_csv(written.metrics).set_index("label")
    assert tuple(pd.read_csv(written.metrics).columns[:8]) == COLUMNS
    assert list(rows.index) == ["Effusion", "Mass", "Hernia", "mean"]
    effusion = rows.loc["Effusion"]
    assert effusion["n"] == 900
    assert effusion["positives"] == frame["y_Effusion"].sum()
    expected = roc_auc_score(frame["y_Effusion"], frame["prob_Effusion"])
    assert effusion["auc"] == pytest.approx(expected, abs=1e-6)
    assert effusion["auc_low"] < effusion["auc"] < effusion["auc_high"]
    assert list(rows["skill"]) == ["skill", "no skill", "no skill", "skill"]
    assert rows["auc"].isna().tolist() == [False, False, True, False]
    assert rows.loc["mean", "auc"] == pytest.approx((expected + 0.5) / 2, abs=1e-5)
    assert rows.loc["mean", "brier"] == pytest.approx(rows["brier"].iloc[:3].mean(), abs=1e-5)


def test_diagrams_and_groups_are_written_beside_the_table(tmp_path: Path) -> None:
    written = write(evaluate(read(table(), tmp_path), resamples=20), tmp_path / "m.csv")
    for path in (written.reliability, written.roc):
        picture = cv2.imread(str(path))
        assert picture is not None
        assert picture.shape[1] > 400
        assert picture.std() > 5
    assert written.by_group is not None
    by_group = pd.read_csv(written.by_group)
    assert set(by_group["group"]) == {"view", "sex", "age"}
    for _, part in by_group[by_group["label"] == "mean"].groupby("group"):
        assert part["n"].sum() == 900
    assert not by_group["value"].str.startswith("=").any()


def test_a_table_without_groups_has_no_results_by_group(tmp_path: Path) -> None:
    frame = table().drop(columns=["view", "sex", "age"])
    written = write(evaluate(read(frame, tmp_path), resamples=20), tmp_path / "m.csv")
    assert written.by_group is None


def test_groups_cover_every_row_once() -> None:
    ages = pd.DataFrame({"age": [3, 17, 18, 60, 79, 119, 120, 412, "x", None]})
    found = {value: int(rows.sum()) for _, value, rows in groups(ages)}
    assert found == {"0 to 17": 2, "18 to 39": 1, "60 to 79": 2, "80 to 119": 1, "unknown": 4}
    views = pd.DataFrame({"view": ["PA", " pa", "AP", "LL", None]})
    assert {value: int(rows.sum()) for _, value, rows in groups(views)} == {
        "AP": 1,
        "PA": 2,
        "unknown": 2,
    }


def test_thresholds_add_sensitivity_and_specificity(tmp_path: Path) -> None:
    result = evaluate(read(table(), tmp_path), thresholds={"Effusion": 0.2}, resamples=50)
    row = result.table.set_index("label").loc["Effusion"]
    assert row["sensitivity_low"] <= row["sensitivity"] <= row["sensitivity_high"]
    assert 0.5 < row["specificity"] < 1


def test_calibration_is_scored_on_other_patients_only(tmp_path: Path) -> None:
    predictions = read(table(), tmp_path)
    halves = split_patients(predictions.patients, 2, seed=0)
    calibration = calibrate(predictions.where(halves == 0))
    result = evaluate(predictions.where(halves == 1), calibration=calibration, resamples=20)
    raw = evaluate(predictions.where(halves == 1), resamples=20).table.set_index("label")
    scored = result.table.set_index("label")
    np.testing.assert_allclose(scored["brier_uncalibrated"], raw["brier"], rtol=1e-12)
    np.testing.assert_allclose(scored["auc"], raw["auc"], atol=1e-9)
    with pytest.raises(PatientOverlapError):
        evaluate(predictions, calibration=calibration, resamples=20)


@pytest.mark.parametrize("seed", [0, 5])
def test_published_predictions_are_calibrated_on_unseen_patients(
    data_folder: Path, seed: int
) -> None:
    predictions = Predictions.from_csv(data_folder / "nih" / "published_predictions.csv.gz")
    halves = split_patients(predictions.patients, 2, seed=seed)
    fitted, unseen = predictions.where(halves == 0), predictions.where(halves == 1)
    result = evaluate(unseen, calibration=calibrate(fitted), resamples=10)
    scored = result.table.set_index("label")
    raw = evaluate(unseen, resamples=10).table.set_index("label")
    np.testing.assert_allclose(scored["auc"], raw["auc"], rtol=0, atol=1e-6)
    assert (scored["brier"] <= 1.01 * raw["brier"]).all()
    mean = scored.loc["mean"]
    assert mean["brier"] <= 0.0421
    assert mean["nll"] <= 0.1520
    assert mean["ece_mass"] < mean["ece_mass_uncalibrated"]


@pytest.mark.slow
def test_published_predictions_keep_a_small_error_over_many_splits(data_folder: Path) -> None:
    """Average over splits, because the error varies by 0.0006 between them."""
    predictions = Predictions.from_csv(data_folder / "nih" / "published_predictions.csv.gz")
    errors, before = [], []
    for seed in range(10):
        halves = split_patients(predictions.patients, 2, seed=seed)
        for half in (0, 1):
            unseen = predictions.where(halves != half)
            calibrated = calibrate(predictions.where(halves == half)).apply(unseen)
            errors.append(mean_error(calibrated))
            before.append(mean_error(unseen))
    assert np.mean(errors) <= 0.0070
    assert np.mean(errors) < 0.75 * np.mean(before)


def mean_error(predictions: Predictions) -> float:
    columns = zip(predictions.probabilities.T, predictions.targets.T, strict=True)
    return float(np.mean([ece_mass(p, y) for p, y in columns]))
