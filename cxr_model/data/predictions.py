"""Tables of predictions with outcomes: ``image, patient_id, prob_<label>…, y_<label>…``."""

import re
from collections.abc import Callable, Collection, Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Self

import numpy as np
import numpy.typing as npt
import pandas as pd

from cxr_model.data.chestxray14 import Record
from cxr_model.errors import DataError
from cxr_model.files.strict_json import shown
from cxr_model.files.table_file import read_table
from cxr_model.findings import LABELS

#: Optional columns of a table, for results by group of images.
GROUP_COLUMNS = ("view", "sex", "age", "source")

#: Optional column: 1 if the probabilities are calibrated, 0 if they are the network's own.
CALIBRATED_COLUMN = "calibrated"


# A quote before a formula, by which a table is made safe for spreadsheets. With it a patient would
# not be known as one of a training.
_QUOTE = re.compile(r"(?:(?<=^)|(?<=[;\s\"]))'(?=\s*[=+\-@＝＋－＠])")


@dataclass(frozen=True, slots=True, eq=False)
class Predictions:
    """Probabilities and outcomes of n images for some of the labels, in NIH order.

    `probabilities` and `targets` are float64 (n, labels); a target is NaN where the outcome is
    unknown, which no table can say. `patients` and `images` are str (n,);
    `groups` holds the table's columns of `GROUP_COLUMNS`. `calibrated` is None in a table that does
    not say it.
    """

    labels: tuple[str, ...]
    images: npt.NDArray[np.object_]
    patients: npt.NDArray[np.object_]
    probabilities: npt.NDArray[np.float64]
    targets: npt.NDArray[np.float64]
    groups: pd.DataFrame
    calibrated: bool | None = None

    def __len__(self) -> int:
        return len(self.images)

    @property
    def sources(self) -> npt.NDArray[np.object_] | None:
        """Source of each image, str (n,), ``""`` where it is not given; None without the column."""
        if "source" not in self.groups:
            return None
        cells = self.groups["source"].fillna("").astype(str).str.strip()
        return cells.to_numpy(dtype=object)

    def where(self, rows: npt.NDArray[np.bool_]) -> "Predictions":
        """Return the rows where `rows` (n,) is True."""
        return Predictions(
            self.labels,
            self.images[rows],
            self.patients[rows],
            self.probabilities[rows],
            self.targets[rows],
            self.groups.loc[rows].reset_index(drop=True),
            self.calibrated,
        )

    def without_sources(self, names: Collection[str]) -> "Predictions":
        """Return the rows whose source is not one of `names`."""
        if not names or self.sources is None:
            return self
        return self.where(~np.isin(self.sources.astype(str), list(names)))

    def with_probabilities(
        self, probabilities: npt.NDArray[np.float64], *, calibrated: bool | None = None
    ) -> "Predictions":
        """Return the same images with other probabilities (n, labels)."""
        return replace(self, probabilities=probabilities, calibrated=calibrated)

    def need_network_probabilities(self) -> None:
        """Raise DataError if the table says that its probabilities are calibrated."""
        if self.calibrated:
            raise DataError(
                "these probabilities are calibrated already: give those of the network itself, "
                "OUT_uncalibrated.csv of `cxrd model evaluate`"
            )

    @classmethod
    def of(
        cls,
        records: Sequence[Record],
        probabilities: npt.NDArray[np.float64],
        *,
        calibrated: bool | None = None,
    ) -> Self:
        """Join labelled films and their probabilities (n, 14)."""
        return cls(
            LABELS,
            np.asarray([record.image for record in records], dtype=object),
            np.asarray([record.patient_id for record in records], dtype=object),
            probabilities,
            np.asarray([record.labels for record in records], dtype=np.float64),
            _groups_of(records),
            calibrated,
        )

    def to_csv(self, path: Path, text: Callable[[str], str] = str) -> None:
        """Write the table for `from_csv`; `text` converts names, e.g. for spreadsheet safety."""
        table = pd.DataFrame({"image": self.images, "patient_id": self.patients}).map(text)
        for prefix, values in (("prob", self.probabilities), ("y", self.targets)):
            names = [f"{prefix}_{label}" for label in self.labels]
            kind = np.int64 if prefix == "y" else np.float64
            table[names] = values.astype(kind)
        groups = self.groups.map(lambda cell: text(cell) if isinstance(cell, str) else cell)
        table = table.join(groups)
        if self.calibrated is not None:
            table[CALIBRATED_COLUMN] = int(self.calibrated)
        path.parent.mkdir(parents=True, exist_ok=True)
        table.to_csv(path, index=False)

    @classmethod
    def from_csv(cls, path: Path) -> Self:
        """Read a table, compressed or not.

        Raises DataError if the table cannot be read as `read_table` says or has no rows, a column
        is missing, a label is unknown, a probability is outside [0, 1], an outcome is neither 0
        nor 1, or an image is listed twice.
        """
        names = {"image": str, "patient_id": str, "source": str}
        table = read_table(path, DataError, columns=_is_used, dtype=names)
        for name in {"image", "patient_id"} & set(table.columns):
            table[name] = table[name].str.replace(_QUOTE, "", regex=True).str.strip()
        try:
            return cls.from_table(table)
        except DataError as error:
            raise DataError(f"{path}: {error}") from error

    @classmethod
    def from_table(cls, table: pd.DataFrame) -> Self:
        """Check and convert a table. Raises DataError as `from_csv` does."""
        labels = _labels(table.columns)
        missing = [name for name in ("image", "patient_id") if name not in table.columns]
        if missing:
            raise DataError(f"no column {missing[0]!r}; columns are image, patient_id, prob_…, y_…")
        if table.empty:
            raise DataError("the table has no rows")
        for name in ("image", "patient_id"):
            if table[name].isna().any():
                raise DataError(f"column {name!r} has empty cells")
        if table["image"].duplicated().any():
            twice = table.loc[table["image"].duplicated(), "image"].iloc[0]
            raise DataError(f"image {shown(twice)} is listed twice")
        groups = [name for name in GROUP_COLUMNS if name in table.columns]
        return cls(
            labels,
            table["image"].to_numpy(dtype=object),
            table["patient_id"].to_numpy(dtype=object),
            _numbers(table, [f"prob_{label}" for label in labels], whole=False),
            _numbers(table, [f"y_{label}" for label in labels], whole=True),
            table[groups].reset_index(drop=True),
            _calibrated(table),
        )


def _groups_of(records: Sequence[Record]) -> pd.DataFrame:
    groups = pd.DataFrame([{"view": r.view, "sex": r.sex, "age": r.age} for r in records])
    if any(record.source for record in records):
        groups["source"] = [record.source for record in records]
    return groups


def split_patients(
    patients: npt.NDArray[np.object_], parts: int, seed: int
) -> npt.NDArray[np.int64]:
    """Assign whole patients to `parts` at random and return the part (n,) of each image.

    The result does not depend on the order of the rows. Raises DataError if there are fewer
    patients than parts.
    """
    names, inverse = np.unique(patients.astype(str), return_inverse=True)
    if len(names) < parts:
        raise DataError(f"{len(names)} patients cannot be dealt into {parts} parts")
    dealt = np.random.default_rng(seed).permutation(len(names)) % parts
    return np.asarray(dealt[inverse], dtype=np.int64)


def _is_used(column: str) -> bool:
    named = ("image", "patient_id", CALIBRATED_COLUMN, *GROUP_COLUMNS)
    return column in named or column.startswith(("prob_", "y_"))


def _labels(columns: Iterable[str]) -> tuple[str, ...]:
    names = list(columns)
    predicted = {name.removeprefix("prob_") for name in names if name.startswith("prob_")}
    known = {name.removeprefix("y_") for name in names if name.startswith("y_")}
    unknown = sorted((predicted | known) - set(LABELS))
    if unknown:
        raise DataError(f"unknown label {shown(unknown[0])}; labels are {', '.join(LABELS)}")
    if predicted != known:
        label = sorted(predicted ^ known)[0]
        raise DataError(f"label {shown(label)} needs both a prob_ and a y_ column")
    if not predicted:
        raise DataError("no column prob_<label>")
    return tuple(label for label in LABELS if label in predicted)


def _calibrated(table: pd.DataFrame) -> bool | None:
    if CALIBRATED_COLUMN not in table.columns:
        return None
    cells = {str(cell).strip() for cell in table[CALIBRATED_COLUMN].unique()}
    if cells not in ({"0"}, {"1"}):
        raise DataError(f"column {CALIBRATED_COLUMN!r} is not 0 in every row, or 1 in every row")
    return cells == {"1"}


def _numbers(table: pd.DataFrame, columns: list[str], *, whole: bool) -> npt.NDArray[np.float64]:
    try:
        values = table[columns].to_numpy(dtype=np.float64)
    except (ValueError, TypeError, OverflowError) as error:
        raise DataError(f"a cell in {columns[0].split('_')[0]}_… is not a number") from error
    good = np.isin(values, (0.0, 1.0)) if whole else (values >= 0.0) & (values <= 1.0)
    if not good.all():
        row, column = (int(index) for index in np.argwhere(~good)[0])
        expected = "0 or 1" if whole else "between 0 and 1"
        found = values[row, column]
        raise DataError(f"row {row + 1}: {columns[column]} is {found}, not {expected}")
    return values
