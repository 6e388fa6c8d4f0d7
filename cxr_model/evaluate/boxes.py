"""Compares maps with radiologists' boxes: pointing game and overlap per label."""

import csv
import io
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from cxr_model.errors import DataError
from cxr_model.files.strict_json import shown
from cxr_model.files.table_file import read_text
from cxr_model.findings import LABELS

#: Rows and columns of the films the boxes of NIH ChestX-ray14 were drawn on.
BOX_GRID = 1024

_LARGEST_SIDE = 65_535

# Shorter name of a finding in the published table.
_OTHER_NAMES = {"Infiltrate": "Infiltration"}

Map = npt.NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class Box:
    """A radiologist's box, in pixels of the original film; (x, y) is the top left corner."""

    image: str
    label: str
    x: float
    y: float
    width: float
    height: float

    def mask(self, rows: int, cols: int, *, grid: int = BOX_GRID) -> npt.NDArray[np.bool_]:
        """Return the box as a mask (rows, cols) of an image of the film of `grid` by `grid`."""
        inside = np.zeros((rows, cols), dtype=np.bool_)
        top, bottom = (round(v * rows / grid) for v in (self.y, self.y + self.height))
        left, right = (round(v * cols / grid) for v in (self.x, self.x + self.width))
        inside[max(top, 0) : max(bottom, top + 1), max(left, 0) : max(right, left + 1)] = True
        return inside


@dataclass(frozen=True, slots=True)
class Localisation:
    """Agreement of the maps of a label with its boxes.

    `boxes` is the number of films with a box; `pointing` the share of maps whose hottest pixel
    lies in the box; `chance` the share of the film that the boxes cover, the score of a random
    point; `iou` the mean overlap of the box with the pixels above half of the map's maximum.
    """

    boxes: int
    pointing: float
    chance: float
    iou: float


def read_boxes(path: Path) -> tuple[Box, ...]:
    """Read a table in the layout of NIH's ``BBox_List_2017.csv``.

    The first columns are image, finding, x, y, width and height; further ones are ignored.
    Raises DataError for an unreadable file and for a row that is not a box of a known finding.
    """
    text = io.TextIOWrapper(read_text(path, DataError), encoding="utf-8-sig", newline="")
    try:
        rows = list(csv.reader(text))[1:]
    except (ValueError, csv.Error) as error:
        raise DataError(f"{path} cannot be read as a table of boxes: {error}") from error
    return tuple(_box(path, line, row) for line, row in enumerate(rows, start=2) if row)


def localise(
    boxes: Iterable[Box], contribution: Callable[[str, str], Map | None]
) -> dict[str, Localisation]:
    """Compare boxes with maps, per label in NIH order and for ``all``.

    `contribution` returns the map of (image, label) on the image's pixels, (rows, cols), or None
    if there is no map. The boxes of a finding on an image are united: a map is right if it
    points into any of them.
    """
    hits: dict[str, list[tuple[bool, float, float]]] = {}
    for (image, label), group in _grouped(boxes).items():
        heat = contribution(image, label)
        if heat is not None:
            masks = [box.mask(heat.shape[0], heat.shape[1]) for box in group]
            hits.setdefault(label, []).append(_compare(heat, np.logical_or.reduce(masks)))
    found = {label: _summary(hits[label]) for label in LABELS if label in hits}
    together = [hit for values in hits.values() for hit in values]
    return found | ({"all": _summary(together)} if together else {})


def write_localisation(found: Mapping[str, Localisation], path: Path) -> None:
    """Write a row per label: ``label, boxes, pointing, chance, iou``."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(["label", "boxes", "pointing", "chance", "iou"])
        for label, row in found.items():
            shares = (f"{share:.6f}" for share in (row.pointing, row.chance, row.iou))
            writer.writerow([label, row.boxes, *shares])


def _compare(heat: Map, inside: npt.NDArray[np.bool_]) -> tuple[bool, float, float]:
    peak = float(heat.max())
    if peak <= 0:
        return False, float(inside.mean()), 0.0
    hot = heat >= 0.5 * peak
    overlap = float((hot & inside).sum()) / float((hot | inside).sum())
    return bool(inside.flat[int(heat.argmax())]), float(inside.mean()), overlap


def _summary(values: Sequence[tuple[bool, float, float]]) -> Localisation:
    pointing, chance, iou = (float(np.mean(column)) for column in zip(*values, strict=True))
    return Localisation(len(values), pointing, chance, iou)


def _grouped(boxes: Iterable[Box]) -> Mapping[tuple[str, str], list[Box]]:
    groups: dict[tuple[str, str], list[Box]] = {}
    for box in boxes:
        groups.setdefault((box.image, box.label), []).append(box)
    return groups


def _box(path: Path, line: int, row: Sequence[str]) -> Box:
    try:
        image, name, *numbers = row[:6]
        x, y, width, height = (float(number) for number in numbers)
    except ValueError as error:
        raise DataError(f"{path}, line {line}: expected image, finding and four numbers") from error
    label = _OTHER_NAMES.get(name, name)
    if label not in LABELS or min(width, height) <= 0:
        raise DataError(f"{path}, line {line}: no finding {shown(name)}, or an empty box")
    # False for NaN, too.
    if not all(abs(number) <= _LARGEST_SIDE for number in (x, y, width, height)):
        raise DataError(f"{path}, line {line}: a box of more than {_LARGEST_SIDE} pixels")
    return Box(image, label, x, y, width, height)
