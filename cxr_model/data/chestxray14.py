"""Label tables and their films: NIH ChestX-ray14 as downloaded, or any folder with a simple table.

The header of the table tells the two layouts apart:

* official: ``Data_Entry_2017*.csv`` and ``images_*/images/*.png``; ``train_val_list.txt`` and
  ``test_list.txt`` are read if they are beside the table or the images;
* simple: columns ``file`` (relative to the image folder), ``patient_id``, ``labels`` (NIH names
  joined by ``|``) and the optional ``image``, ``view``, ``sex``, ``age``, ``source`` and
  ``split`` (``train``, ``validation`` or ``held-out``).
"""

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from enum import StrEnum
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pandas as pd

from cxr_model.errors import DataError
from cxr_model.files.strict_json import shown
from cxr_model.files.table_file import read_table, read_text
from cxr_model.findings import LABELS

_ABSENT = frozenset({"", "No Finding"})
_OFFICIAL = frozenset({"Image Index", "Finding Labels", "Patient ID"})
_SIMPLE = frozenset({"file", "patient_id", "labels"})

# The two columns of the size in NIH's table; the comma inside the brackets splits the heading.
_WIDTH, _HEIGHT = "OriginalImage[Width", "Height]"

# The columns of a separate table of original sizes.
_SIZES = ("image", "original_width", "original_height")

_OPTIONAL = frozenset(
    {
        *("View Position", "Patient Gender", "Patient Age", _WIDTH, _HEIGHT),
        *("image", "view", "sex", "age", "split", "source", *_SIZES),
    }
)

# Smallest width / height of a film; the largest is its inverse.
_NARROWEST = 0.2


class Part(StrEnum):
    """A part of a split. `POOL` is for training or validation, as NIH's ``train_val`` is."""

    TRAIN = "train"
    VALIDATION = "validation"
    HELD_OUT = "held-out"
    POOL = "pool"


@dataclass(frozen=True, slots=True)
class Record:
    """A labelled film. `labels` holds 1.0 or 0.0 per finding, in the order of `LABELS`.

    `source` names the collection that the film comes from. `aspect` is width / height of the film
    before it was squeezed into a picture of other proportions, None if it was not.
    """

    path: Path
    image: str
    patient_id: str
    labels: tuple[float, ...]
    view: str = ""
    sex: str = ""
    age: float | None = None
    part: Part | None = None
    source: str = ""
    aspect: float | None = None


@dataclass(frozen=True, slots=True)
class LabelTable:
    """The films of a table that are on disk, and the number of rows whose image is `missing`."""

    records: tuple[Record, ...]
    missing: int


def load_labels(images: Path, labels: Path, original_sizes: Path | None = None) -> LabelTable:
    """Read a label table and find its images under `images`.

    `labels` is the table, or a folder with NIH's ``Data_Entry_2017*.csv``. `original_sizes` is a
    CSV of the sizes before NIH squeezed the films to squares: ``image, original_width,
    original_height``; NIH's own table has them itself. Raises DataError if a table is missing, has
    neither layout, names an unknown finding or has no image on disk.
    """
    if not images.is_dir():
        raise DataError(f"no image folder at {images}")
    table_path = find_table(labels)
    table = _read_table(table_path)
    if set(table.columns) >= _OFFICIAL:
        found = list(_official(table, images, table_path))
    elif set(table.columns) >= _SIMPLE:
        found = list(_simple(table, images))
    else:
        raise DataError(
            f"{table_path} is not a label table: it needs the columns {sorted(_SIMPLE)}, "
            f"or NIH's {sorted(_OFFICIAL)}"
        )
    aspects = _original_aspects(original_sizes) if original_sizes is not None else {}
    records = tuple(
        replace(record, aspect=aspects.get(record.image, record.aspect))
        for record in found
        if record is not None
    )
    if not records:
        raise DataError(f"none of the {len(found)} images of {table_path} is under {images}")
    return LabelTable(records, len(found) - len(records))


def load_soft_targets(path: Path) -> dict[str, npt.NDArray[np.float32]]:
    """Read ``image, prob_<label>…`` into a vector (14,) per image name. Raises DataError."""
    table = _read_table(path)
    columns = [f"prob_{label}" for label in LABELS]
    lacking = {"image", *columns} - set(table.columns)
    if lacking:
        raise DataError(f"{path} has no column {sorted(lacking)[0]}")
    try:
        values = table[columns].to_numpy().astype(np.float32)
    except ValueError as error:
        raise DataError(f"{path} holds a probability that is not a number: {error}") from error
    if not ((values >= 0) & (values <= 1)).all():
        raise DataError(f"{path} holds values that are not probabilities")
    _need_unique(path, table["image"])
    return dict(zip(table["image"].tolist(), values, strict=True))


def parse_findings(text: str) -> tuple[float, ...]:
    """Parse ``Effusion|Mass`` to a vector in the order of `LABELS`.

    Raises DataError for a name that is not in `LABELS`.
    """
    names = {name.strip() for name in text.split("|")} - _ABSENT
    unknown = names - set(LABELS)
    if unknown:
        raise DataError(f"unknown finding {shown(sorted(unknown)[0])}; the names are those of NIH")
    return tuple(float(label in names) for label in LABELS)


def find_table(labels: Path) -> Path:
    """Return the path of a label table, or that of NIH's in a folder. Raises DataError."""
    if labels.is_dir():
        tables = sorted(labels.glob("Data_Entry_2017*.csv"))
        if not tables:
            raise DataError(f"no Data_Entry_2017*.csv in {labels}; name the label table itself")
        return tables[-1]
    if not labels.is_file():
        raise DataError(f"no label table at {labels}")
    return labels


def _read_table(path: Path) -> pd.DataFrame:
    return read_table(path, DataError, columns=_is_used, dtype=str, keep_default_na=False)


def _is_used(column: str) -> bool:
    return column in _OFFICIAL | _SIMPLE | _OPTIONAL or column.startswith("prob_")


def _official(table: pd.DataFrame, images: Path, table_path: Path) -> Iterator[Record | None]:
    # One walk of the folders; a glob per image would walk them 112,120 times.
    paths = {path.name: path for path in sorted(images.rglob("*.png"))}
    parts = _official_parts((table_path.parent, images))
    for row in table.to_dict("records"):
        name = str(row["Image Index"])
        path = paths.get(name)
        if path is None:
            yield None
            continue
        yield Record(
            path=path,
            image=name,
            patient_id=str(row["Patient ID"]).strip(),
            labels=parse_findings(str(row["Finding Labels"])),
            view=str(row.get("View Position", "")),
            sex=str(row.get("Patient Gender", "")),
            age=_age(str(row.get("Patient Age", ""))),
            part=parts.get(name) if parts else None,
            source=str(row.get("source", "")).strip(),
            aspect=_aspect(table_path, row.get(_WIDTH, ""), row.get(_HEIGHT, "")),
        )


def _official_parts(folders: tuple[Path, ...]) -> Mapping[str, Part]:
    parts: dict[str, Part] = {}
    for file, part in (("train_val_list.txt", Part.POOL), ("test_list.txt", Part.HELD_OUT)):
        path = next((folder / file for folder in folders if (folder / file).is_file()), None)
        if path is not None:
            names = read_text(path, DataError).read().decode(errors="replace").split()
            parts.update(dict.fromkeys(names, part))
    return parts


def _simple(table: pd.DataFrame, images: Path) -> Iterator[Record | None]:
    for row in table.to_dict("records"):
        path = images / str(row["file"])
        if not path.is_file():
            yield None
            continue
        yield Record(
            path=path,
            image=str(row.get("image") or path.name),
            patient_id=str(row["patient_id"]).strip(),
            labels=parse_findings(str(row["labels"])),
            view=str(row.get("view", "")),
            sex=str(row.get("sex", "")),
            age=_age(str(row.get("age", ""))),
            part=_part(str(row.get("split", ""))),
            source=str(row.get("source", "")).strip(),
        )


def _original_aspects(path: Path) -> dict[str, float]:
    table = _read_table(path)
    lacking = set(_SIZES) - set(table.columns)
    if lacking:
        raise DataError(f"{path} has no column {sorted(lacking)[0]}")
    _need_unique(path, table["image"])
    aspects = {
        str(row["image"]): _aspect(path, row["original_width"], row["original_height"])
        for row in table.to_dict("records")
    }
    return {image: aspect for image, aspect in aspects.items() if aspect is not None}


def _need_unique(path: Path, images: pd.Series) -> None:
    twice = images[images.duplicated()]
    if not twice.empty:
        raise DataError(f"{path} lists the image {shown(twice.iloc[0])} twice")


def _aspect(path: Path, width: str, height: str) -> float | None:
    if not width and not height:
        return None
    try:
        aspect = float(width) / float(height)
    except (ValueError, ZeroDivisionError):
        aspect = math.nan
    if not _NARROWEST <= aspect <= 1 / _NARROWEST:
        raise DataError(f"{path}: {width} x {height} is not the size of a film")
    return aspect


def _part(text: str) -> Part | None:
    if not text:
        return None
    try:
        return Part(text)
    except ValueError:
        raise DataError(f"unknown split {shown(text)}; use {', '.join(Part)}") from None


def _age(text: str) -> float | None:
    # The first release of the table wrote ages as 058Y.
    digits = text.rstrip("YyMmDd").strip()
    return float(digits) if digits.replace(".", "", 1).isdecimal() else None
