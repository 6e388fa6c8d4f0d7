"""Outcomes of films from a table of labels, without the films themselves."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pandas as pd

from cxr_model.data.chestxray14 import find_table, parse_findings
from cxr_model.errors import DataError
from cxr_model.files.strict_json import shown
from cxr_model.files.table_file import read_table
from cxr_model.findings import LABELS

# Columns of the image, of its findings as text, and of the patient: NIH's, then those of a simple
# table.
_IMAGES = ("Image Index", "image", "file")
_FINDINGS = ("Finding Labels", "labels")
_PATIENTS = ("Patient ID", "patient_id")


@dataclass(frozen=True, slots=True, eq=False)
class Outcomes:
    """Outcomes of n images: float64 (n, 14) in the order of `LABELS`, NaN where not known.

    `images` and `patients` are (n,); a patient is empty where the table does not name one.
    """

    images: tuple[str, ...]
    patients: tuple[str, ...]
    values: npt.NDArray[np.float64]


def read_outcomes(path: Path) -> Outcomes:
    """Read a table of labels, or the folder of NIH's.

    Its columns are ``image`` and ``y_<label>…`` (0, 1 or empty), or ``image`` or ``file`` and
    ``labels`` (NIH names joined by ``|``), or those of NIH's ``Data_Entry_2017*.csv``; the patient
    is optional. Raises DataError if the table is missing, has another layout, lists an image twice,
    or has a cell that is no outcome.
    """
    path = find_table(path)
    table = read_table(path, DataError, columns=_is_used, dtype=str, keep_default_na=False)
    image = next((name for name in _IMAGES if name in table), None)
    named = sorted(name for name in table.columns if name.startswith("y_"))
    findings = next((name for name in _FINDINGS if name in table), None)
    if image is None or not (named or findings):
        raise DataError(
            f"{path} is not a table of labels: it has the columns image and y_<label>, or image "
            f"and labels, or NIH's {_IMAGES[0]} and {_FINDINGS[0]}"
        )
    if table.empty:
        raise DataError(f"{path} has no rows")
    twice = table.loc[table[image].duplicated(), image]
    if not twice.empty:
        raise DataError(f"{path} lists the image {shown(twice.iloc[0])} twice")
    if named:
        values = _by_columns(table, named, path)
    else:
        values = np.asarray([parse_findings(text) for text in table[findings]], dtype=np.float64)
    patient = next((name for name in _PATIENTS if name in table), None)
    patients = [""] * len(table) if patient is None else table[patient].str.strip().tolist()
    return Outcomes(tuple(table[image].str.strip()), tuple(patients), values)


def _by_columns(table: pd.DataFrame, named: list[str], path: Path) -> npt.NDArray[np.float64]:
    unknown = [name for name in named if name.removeprefix("y_") not in LABELS]
    if unknown:
        raise DataError(f"{path}: {shown(unknown[0])} is none of the 14 labels")
    values = np.full((len(table), len(LABELS)), np.nan)
    for name in named:
        values[:, LABELS.index(name.removeprefix("y_"))] = list(_outcomes(table[name], name, path))
    return values


def _outcomes(cells: pd.Series, name: str, path: Path) -> Iterator[float]:
    for row, cell in enumerate(cells, start=1):
        match cell.strip():
            case "":
                yield np.nan
            case "0" | "0.0":
                yield 0.0
            case "1" | "1.0":
                yield 1.0
            case other:
                raise DataError(f"{path}, row {row}: {name} is {shown(other)}, not 0 or 1 or empty")


def _is_used(column: str) -> bool:
    return column in (*_IMAGES, *_FINDINGS, *_PATIENTS) or column.startswith("y_")
