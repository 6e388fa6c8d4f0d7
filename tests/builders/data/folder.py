"""A folder of made data, laid out like the folder of real data that may lie beside the checkout."""

from pathlib import Path

from tests.builders.data.dicom_kinds import write_dicom_kinds
from tests.builders.data.malformed_files import write_malformed_files
from tests.builders.data.nih_tables import (
    write_boxes,
    write_headers,
    write_pictures,
    write_predictions,
)


def write_data(folder: Path) -> Path:
    """Write all kinds of data and return the folder."""
    write_dicom_kinds(folder / "dicom" / "real")
    write_malformed_files(folder / "dicom" / "malformed")
    write_headers(folder / "dicom")
    write_pictures(folder / "nih" / "full")
    write_boxes(folder / "nih" / "boxes.csv")
    write_predictions(folder / "nih" / "published_predictions.csv.gz")
    return folder
