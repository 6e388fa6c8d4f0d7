"""Do the maps point where radiologists drew boxes? Pointing game and overlap per label."""

import csv
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from cxr_model.errors import DataError
from cxr_model.findings import LABELS

#: Rows and columns of the films the boxes of NIH ChestX-ray14 were drawn on.
BOX_GRID = 1024

# The published table calls this finding by a shorter name.
_OTHER_NAMES = {"Infiltrate": "Infiltration"}

Map = npt.NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class Box:
    """A radiologist's box, in pixels of the original film from its top left corner."""

    image: str
    label: str
    x: float
    y: float
    width: float
    height: float

    def mask(self, rows: int, cols: int, *, grid: int = BOX_GRID) -> npt.NDArray[np.bool_]:
        """The box on an image of (rows, cols) that shows a film of `grid` by `grid` pixels."""
        inside = np.zeros((rows, cols), dtype=np.bool_)
        top, bottom = (round(v * rows / grid) for v in (self.y, self.y + self.height))
        left, right = (round(v * cols / grid) for v in (self.x, self.x + self.width))
        inside[max(top, 0) : max(bottom, top + 1), max(left, 0) : max(right, left + 1)] = True
        return inside


@dataclass(frozen=True, slots=True)
class Localisation:
    """How maps of one label met `boxes` boxes.

    `pointing` is the share whose hottest pixel lies in the box; `chance` is the share of the film
    the boxes cover, which a random point would score; `iou` is the mean overlap of the box with
    the pixels hotter than half of the map's own maximum.
    """

    boxes: int
    pointing: float
    chance: float
    iou: float


def read_boxes(path: Path) -> tuple[Box, ...]:
    """Read a table in the layout of NIH's ``BBox_List_2017.csv``.

    Its columns are taken by place: image, finding, x, y, width, height, and anything after.
    Raises DataError for a file that cannot be read and for a row that is not such a box.
    """
    try:
        with path.open(newline="", encoding="utf-8") as file:
            rows = list(csv.reader(file))[1:]
    except (OSError, ValueError, csv.Error) as error:
        raise DataError(f"{path} cannot be read as a table of boxes: {error}") from error
    return tuple(_box(path, line, row) for line, row in enumerate(rows, start=2) if row)


def localise(
    boxes: Iterable[Box], contribution: Callable[[str, str], Map | None]
) -> dict[str, Localisation]:
    """Compare boxes with maps, per label in NIH order and for ``all``.

    `contribution` gives the map of (image, label) on the image's pixels, (rows, cols), or None
    where the image is not at hand. Boxes of one finding on one image count together, so that a
    map is right when it points into any of them.
    """
    hits: dict[str, list[tuple[bool, float, float]]] = {}
    for (image, label), group in _grouped(boxes).items():
        heat = contribution(image, label)
        if heat is not None:
            masks = [box.mask(heat.shape[0], heat.shape[1]) for box in group]
            hits.setdefault(label, []).append(_compare(heat, np.logical_or.reduce(masks)))
    found = {label: _summary(hits[label]) for label in LABELS if label in hits}
    together = [one for values in hits.values() for one in values]
    return found | ({"all": _summary(together)} if together else {})


def write_localisation(found: Mapping[str, Localisation], path: Path) -> None:
    """Write a row per label: ``label, boxes, pointing, chance, iou``."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(["label", "boxes", "pointing", "chance", "iou"])
        for label, one in found.items():
            shares = (f"{share:.6f}" for share in (one.pointing, one.chance, one.iou))
            writer.writerow([label, one.boxes, *shares])


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
        raise DataError(f"{path}, line {line}: no finding {name!r}, or an empty box")
    return Box(image, label, x, y, width, height)
