"""Findings and their summary."""

import subprocess
import sys
from dataclasses import replace

import numpy as np

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


def test_summary_names_positive_findings_most_probable_first() -> None:
    assert clinical_summary(prediction(Mass=0.31, Effusion=0.62)) == "Effusion (0.62); Mass (0.31)"
    assert clinical_summary(prediction()) == "No Abnormalities Detected"


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
