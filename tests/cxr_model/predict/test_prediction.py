"""Findings and their summary."""

import subprocess
import sys
from dataclasses import replace

import numpy as np
import pytest

from cxr_model.finding_text import odds_text
from cxr_model.findings import LABELS
from cxr_model.predict.prediction import Finding, Prediction, clinical_summary
from cxr_model.predict.transform import Geometry


def prediction(**probabilities: float) -> Prediction:
    findings = tuple(Finding(name, 0.0, probabilities.get(name, 0.01), 0.3) for name in LABELS)
    return Prediction(findings, np.zeros((14, 2, 2), np.float32), Geometry.fit(64, 64, 64))


def test_fourteen_labels_in_nih_order() -> None:
    assert len(set(LABELS)) == 14
    assert LABELS[0] == "Atelectasis"
    assert LABELS[6:8] == ("Pneumonia", "Pneumothorax")
    assert LABELS[-1] == "Hernia"


def test_a_probability_at_its_threshold_is_present() -> None:
    assert Finding("Mass", 0.0, 0.3, 0.3).present
    assert not Finding("Mass", 0.0, 0.2999, 0.3).present


def test_summary_ranks_positive_findings_by_their_odds_over_the_threshold() -> None:
    findings = (
        Finding("Atelectasis", 0.0, 0.62, 0.31),
        Finding("Effusion", 0.0, 0.02, 0.17),
        Finding("Mass", 0.0, 0.9985, 0.9),
        Finding("Hernia", 0.0, 0.012, 0.008),
    )
    found = replace(prediction(), findings=findings)
    assert clinical_summary(found) == (
        "Mass 0.9985 (74 times the odds of its threshold 0.90); "
        "Atelectasis 0.62 (3.6 times the odds of its threshold 0.31); "
        "Hernia 0.012 (1.5 times the odds of its threshold 0.0080)"
    )
    assert [finding.label for finding in found.present] == ["Mass", "Atelectasis", "Hernia"]
    assert clinical_summary(prediction()) == "No Abnormalities Detected"


@pytest.mark.parametrize(
    ("probability", "threshold", "said"),
    [
        (1.0, 0.5, "over 1000 times the odds of its threshold 0.50"),
        (0.3, 0.3, "1.0 times the odds of its threshold 0.30"),
        (0.002, 0.0004403434, "4.5 times the odds of its threshold 0.00044"),
        (0.5, 0.0, "over 1000 times the odds of its threshold 0.00"),
    ],
)
def test_a_threshold_is_never_rounded_away(probability: float, threshold: float, said: str) -> None:
    assert odds_text(probability, threshold) == said


def test_finding_by_label() -> None:
    assert prediction(Hernia=0.5).finding("Hernia").probability == 0.5


def test_heat_is_the_map_less_that_of_the_mean_film_on_the_films_pixels() -> None:
    maps = np.zeros((14, 2, 2), np.float32)
    maps[4] = [[5, 3], [3, 3]]
    plain = replace(prediction(), maps=maps, geometry=Geometry.fit(64, 32, 64))
    assert plain.heat("Mass").shape == (64, 32)
    assert plain.heat("Mass").max() > 4
    less = replace(plain, baseline=np.where(maps > 0, np.float32(3), np.float32(0)))
    np.testing.assert_allclose(less.heat("Mass"), plain.heat("Mass") - 3, atol=1e-6)
    np.testing.assert_array_equal(less.heat("Nodule"), plain.heat("Nodule"))


def test_the_vocabulary_does_not_load_torch() -> None:
    code = "import sys, cxr_model.findings; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
