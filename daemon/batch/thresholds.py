"""The thresholds beside the report: the probability at which each finding counts as present."""

from pathlib import Path

from cxr_model.findings import LABELS
from cxr_model.predict.card import Card
from dicom_io.objects.algorithm import Algorithm
from storage.files.csv_file import write_csv

COLUMNS = (
    "Label",
    "Threshold",
    "Operating_Point",
    "Model",
    "Model_SHA256",
    "Intended_Use",
    "Calibration",
)


def write_thresholds(path: Path, card: Card, algorithm: Algorithm) -> None:
    """Write a row per label, whole or not at all. Raises StorageError."""
    of_all = (
        algorithm.operating_point,
        f"{algorithm.name} {algorithm.version}",
        algorithm.sha256,
        algorithm.intended_use,
        algorithm.calibration_text(),
    )
    rows = ([label, repr(card.thresholds[label]), *of_all] for label in LABELS)
    write_csv(path, COLUMNS, rows)
