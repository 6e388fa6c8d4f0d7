"""The model, the reports and the store write the numbers of a finding alike."""

import numpy as np
import pytest

import dicom_io.finding_text
import storage.finding_text
from cxr_model import finding_text
from cxr_model.predict.prediction import Finding, Prediction, clinical_summary
from cxr_model.predict.transform import Geometry
from storage.records import FindingRecord


@pytest.mark.parametrize("threshold", [0.0, 0.008, 0.17, 0.5, 0.999, 1.0])
@pytest.mark.parametrize("probability", [0.0, 0.012, 0.0995, 0.5, 0.62, 0.9985, 1.0])
def test_the_numbers_are_written_alike(probability: float, threshold: float) -> None:
    texts = {
        (
            room.odds_over_threshold(probability, threshold),
            room.odds_text(probability, threshold),
            room.probability_text(probability),
        )
        for room in (finding_text, dicom_io.finding_text, storage.finding_text)
    }
    assert len(texts) == 1


def test_the_audit_csv_ranks_findings_as_the_report_of_a_folder_does() -> None:
    numbers = {"Atelectasis": (0.62, 0.31), "Mass": (0.998, 0.9), "Hernia": (0.012, 0.008)}
    records = [
        FindingRecord(label, 0.0, probability, threshold, present=True)
        for label, (probability, threshold) in numbers.items()
    ]
    findings = tuple(Finding(label, 0.0, *pair) for label, pair in numbers.items())
    grid = np.zeros((14, 2, 2), np.float32)
    prediction = Prediction(findings, grid, Geometry.fit(64, 64, 64))
    assert storage.finding_text.summary(records) == clinical_summary(prediction)
    assert storage.finding_text.summary([]) == ""
