"""Prevalence: curves of an enriched sample hold for the prevalence of another population."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from cxr_model.calibrate.calibration import Calibration, calibrate
from cxr_model.calibrate.prevalence import (
    NIH_FILMS,
    NIH_POSITIVES,
    before_shift,
    target_prevalence,
)
from cxr_model.data.predictions import Predictions
from cxr_model.errors import CalibrationError
from cxr_model.evaluate.unseen import slope_of
from cxr_model.findings import LABELS
from cxr_model.predict.curves import logit, sigmoid


def population(films: int, *, seed: int, enriched: bool) -> Predictions:
    """Return films of two findings; `enriched` takes ten times as many films with the findings."""
    rng = np.random.default_rng(seed)
    columns: dict[str, object] = {}
    weight = np.ones(films)
    for label, prevalence in (("Effusion", 0.05), ("Mass", 0.03)):
        y = rng.random(films) < prevalence
        # Normal scores with equal spread: the log likelihood ratio is linear in the score.
        score = rng.normal(np.where(y, 1.5, 0.0), 1.0)
        columns |= {f"prob_{label}": sigmoid(2.0 * score - 3.0), f"y_{label}": y.astype(int)}
        weight *= np.where(y, 10.0, 1.0)
    frame = pd.DataFrame({"image": [f"{seed}_{i}.png" for i in range(films)]} | columns)
    frame["patient_id"] = frame["image"]
    if enriched:
        frame = frame[rng.random(films) < weight / 10].reset_index(drop=True)
    return Predictions.from_table(frame)


TARGET = {"Effusion": 0.05, "Mass": 0.03}


@pytest.fixture(scope="module")
def sample() -> Predictions:
    return population(12_000, seed=1, enriched=True)


@pytest.fixture(scope="module")
def unseen() -> Predictions:
    return population(40_000, seed=2, enriched=False)


@pytest.fixture(scope="module")
def shifted(sample: Predictions) -> Calibration:
    return calibrate(sample, prevalence=TARGET)


def test_probabilities_hold_for_the_target_and_not_for_the_sample(
    sample: Predictions, unseen: Predictions, shifted: Calibration
) -> None:
    found = shifted.apply(unseen)
    own = calibrate(sample).apply(unseen)
    for i, label in enumerate(found.labels):
        p, y = found.probabilities[:, i], found.targets[:, i]
        assert sample.targets[:, i].mean() > 3 * TARGET[label]
        assert p.mean() == pytest.approx(y.mean(), rel=0.1)
        high = p > np.quantile(p, 0.95)
        assert p[high].mean() == pytest.approx(y[high].mean(), rel=0.15)
        assert own.probabilities[:, i].mean() > 3 * y.mean()


def test_the_shift_is_the_difference_of_the_logits_of_the_prevalences(
    sample: Predictions, shifted: Calibration
) -> None:
    own = calibrate(sample)
    x = np.linspace(-5, 5, 11)
    for i, label in enumerate(sample.labels):
        expected = logit(TARGET[label]) - logit(sample.targets[:, i].mean())
        moved = shifted.calibrators[label].apply(x) - own.calibrators[label].apply(x)
        np.testing.assert_allclose(moved, expected, atol=0.02)
        np.testing.assert_allclose(moved, shifted.shifts[label], atol=1e-9)


def test_a_shift_can_be_taken_back_and_changes_no_slope(
    sample: Predictions, unseen: Predictions, shifted: Calibration
) -> None:
    moved, own = shifted.apply(unseen), calibrate(sample).apply(unseen)
    back, thresholds = before_shift(moved, {"Mass": 0.2}, shifted.shifts)
    np.testing.assert_allclose(back.probabilities, own.probabilities, atol=1e-9)
    assert (back.probabilities[:, 1] >= thresholds["Mass"]).tolist() == (
        moved.probabilities[:, 1] >= 0.2
    ).tolist()
    assert slope_of(moved, resamples=20).value == pytest.approx(
        slope_of(own, resamples=20).value, abs=1e-6
    )


def test_a_label_without_positives_gets_the_prevalence_of_the_target() -> None:
    sample = population(3000, seed=3, enriched=True)
    none = sample.where(sample.targets[:, 1] == 0)
    fitted = calibrate(none, prevalence=TARGET)
    mean = fitted.apply_to_fitted(none).probabilities.mean(axis=0)
    assert 0.01 < mean[1] < 0.035
    assert fitted.prevalence == TARGET


def test_a_shifted_calibration_survives_its_file(tmp_path: Path, shifted: Calibration) -> None:
    shifted.save(tmp_path / "c.json")
    assert Calibration.load(tmp_path / "c.json") == shifted


def test_the_named_targets() -> None:
    nih = target_prevalence("nih")
    assert nih is not None
    assert tuple(nih) == LABELS
    assert nih["Hernia"] == 227 / 112_120
    assert sum(NIH_POSITIVES.values()) == 81_176
    assert NIH_FILMS == 112_120
    assert target_prevalence("sample") is None


def test_a_table_of_prevalences_is_read(tmp_path: Path) -> None:
    path = tmp_path / "site.csv"
    rows = "".join(f"{label},0.0{i + 1:02}\n" for i, label in enumerate(LABELS))
    path.write_text(f"label,prevalence\n{rows}", encoding="utf-8")
    read = target_prevalence(str(path))
    assert read is not None
    assert read["Cardiomegaly"] == 0.002


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("label,prevalence\nMass,0.1\n", "no prevalence of Atelectasis"),
        ("label,prevalence\nCough,0.1\n", "Cough.* is not one of the 14 labels"),
        ("label,prevalence\nMass,1.5\n", "1.5.*, not between 0 and 1"),
        ("label,prevalence\nMass,nan\n", "not between"),
        ("label,prevalence\nMass,0.1\nMass,0.2\n", "prevalence of 'Mass' twice"),
        ("label,prevalence\nMass,\n", "not between"),
        ("finding,share\nMass,0.1\n", "it has label, prevalence"),
        ("\x00", "is no table"),
        ("", "is no table"),
    ],
)
def test_an_unusable_table_of_prevalences_is_refused(
    tmp_path: Path, text: str, message: str
) -> None:
    path = tmp_path / "site.csv"
    path.write_text(text, encoding="utf-8")
    with pytest.raises(CalibrationError, match=message):
        target_prevalence(str(path))
    with pytest.raises(CalibrationError, match=r"missing\.csv"):
        target_prevalence(str(tmp_path / "missing.csv"))
