"""Radiologists' boxes around findings, as NIH publishes them."""

import csv
import io
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

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


class Frame(NamedTuple):
    """A box in shares of the film's width and height."""

    left: float
    top: float
    right: float
    bottom: float

    @property
    def area(self) -> float:
        """Share of the film that the box covers."""
        return (self.right - self.left) * (self.bottom - self.top)

    def contains(self, x: float, y: float) -> bool:
        """Return True if the point lies in the box."""
        return self.left <= x <= self.right and self.top <= y <= self.bottom

    def overlaps(self, other: "Frame") -> tuple[float, float]:
        """Return the intersection over the union, and over the area of this box."""
        across = min(self.right, other.right) - max(self.left, other.left)
        down = min(self.bottom, other.bottom) - max(self.top, other.top)
        shared = max(across, 0.0) * max(down, 0.0)
        return shared / (self.area + other.area - shared), shared / self.area


@dataclass(frozen=True, slots=True)
class Box:
    """A radiologist's box, in pixels of the original film; (x, y) is the top left corner."""

    image: str
    label: str
    x: float
    y: float
    width: float
    height: float

    @property
    def frame(self) -> Frame:
        """The box in shares of the film."""
        left, top = self.x / BOX_GRID, self.y / BOX_GRID
        return Frame(left, top, left + self.width / BOX_GRID, top + self.height / BOX_GRID)

    def mask(self, rows: int, cols: int, *, grid: int = BOX_GRID) -> npt.NDArray[np.bool_]:
        """Return the box as a mask (rows, cols) of an image of the film of `grid` by `grid`."""
        inside = np.zeros((rows, cols), dtype=np.bool_)
        top, bottom = (round(v * rows / grid) for v in (self.y, self.y + self.height))
        left, right = (round(v * cols / grid) for v in (self.x, self.x + self.width))
        inside[max(top, 0) : max(bottom, top + 1), max(left, 0) : max(right, left + 1)] = True
        return inside


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
