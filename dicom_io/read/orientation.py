"""The pose of an image: the way from its stored pixels to the upright picture and back.

PatientOrientation (PS3.3 C.7.6.1.1.1) describes the stored pixels. FieldOfViewRotation and
FieldOfViewHorizontalFlip (C.8.11.4) describe steps that the X-ray unit has already applied to them,
so they are ignored.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

SPACINGS = ("PixelSpacing", "ImagerPixelSpacing", "NominalScannedPixelSpacing", "PixelAspectRatio")
"""Attributes that give the size of a pixel or its aspect ratio, in the order of preference."""
_ORIENTATION = re.compile(r"([APLRHF]{1,3})\\([APLRHF]{1,3})")
_SQUARE_WITHIN = 0.01
LARGEST_ASPECT = 2.0
"""Height over width, or the reverse, of the longest pixel that is believed."""
_OPPOSITE = {"L": "R", "R": "L", "H": "F", "F": "H"}
_ROW, _COLUMN = "L", "F"


@dataclass(frozen=True, slots=True)
class Pose:
    """The steps from stored pixels to the upright picture: a transposition, then reversals.

    `aspect` is the height of a stored pixel over its width.
    """

    transposed: bool = False
    columns_reversed: bool = False
    rows_reversed: bool = False
    aspect: float = 1.0

    @property
    def is_mirrored(self) -> bool:
        """True if the stored film is a mirror image; rotation does not matter."""
        return self.transposed ^ self.columns_reversed ^ self.rows_reversed

    @property
    def is_turned(self) -> bool:
        """True if the stored film is rotated or mirrored."""
        return self.transposed or self.columns_reversed or self.rows_reversed

    def to_display(self, stored: NDArray[np.uint8]) -> NDArray[np.uint8]:
        """Return the film (rows, columns) upright: head up, the patient's left at the right.

        Pixels that are not square are made square by shrinking the finer direction.
        """
        rows, columns = self._square_shape(*stored.shape)
        if (rows, columns) != stored.shape:
            shrunk = cv2.resize(stored, (columns, rows), interpolation=cv2.INTER_AREA)
            stored = np.asarray(shrunk, dtype=np.uint8)
        turned = stored
        if self.transposed:
            # Several times as fast as a transposed copy by NumPy.
            turned = np.asarray(cv2.transpose(np.ascontiguousarray(stored)), dtype=np.uint8)
        return np.ascontiguousarray(self._reversed(turned))

    def planes_to_display(self, stored: NDArray[np.uint8]) -> NDArray[np.uint8]:
        """Return a film in colour (rows, columns, planes) upright, as `to_display` does."""
        planes = [self.to_display(stored[..., plane]) for plane in range(stored.shape[2])]
        return np.stack(planes, axis=-1)

    def display_shape(self, rows: int, columns: int) -> tuple[int, int]:
        """Return the shape of the upright film whose stored grid has these rows and columns."""
        shape = self._square_shape(rows, columns)
        return shape[::-1] if self.transposed else shape

    def turned_back(self, degrees: int) -> "Pose":
        """Return the pose of a film whose picture in this pose is turned clockwise by `degrees`.

        `degrees` is 0, 90, 180 or 270.
        """
        transposed, columns, rows = self.transposed, self.columns_reversed, self.rows_reversed
        for _ in range(degrees // 90 % 4):
            # A quarter turn back is a transposition, then a reversal of the rows.
            transposed, columns, rows = not transposed, rows, not columns
        return Pose(transposed, columns, rows, self.aspect)

    def to_stored(self, upright: NDArray[Any]) -> NDArray[Any]:
        """Map an array over the upright film (…, rows, columns) to the stored film."""
        turned = self._reversed(upright)
        return np.ascontiguousarray(np.swapaxes(turned, -1, -2) if self.transposed else turned)

    def _square_shape(self, rows: int, columns: int) -> tuple[int, int]:
        if self.aspect > 1:
            return rows, max(1, round(columns / self.aspect))
        return max(1, round(rows * self.aspect)), columns

    def _reversed(self, array: NDArray[Any]) -> NDArray[Any]:
        rows = slice(None, None, -1 if self.rows_reversed else 1)
        columns = slice(None, None, -1 if self.columns_reversed else 1)
        return array[..., rows, columns]


AS_STORED = Pose()


def directions_of(orientation: str) -> tuple[str, str] | None:
    """Return the directions of rows and columns in a value of PatientOrientation.

    Returns None unless both directions are legal (PS3.3 C.7.6.1.1.1).
    """
    match = _ORIENTATION.fullmatch(orientation)
    return (match[1], match[2]) if match is not None else None


def usable_pair(values: tuple[float, ...]) -> tuple[float, float] | None:
    """Return the vertical and horizontal value of a spacing if both are finite and positive."""
    usable = len(values) == 2 and bool(np.isfinite(values).all()) and min(values) > 0
    return (values[0], values[1]) if usable else None


def is_believed(pair: tuple[float, float]) -> bool:
    """Return True if a pixel of this height and width may be that of a film."""
    return 1 / LARGEST_ASPECT <= pair[0] / pair[1] <= LARGEST_ASPECT


def pose_of(
    orientation: str, spacings: Mapping[str, tuple[float, ...]]
) -> tuple[Pose, tuple[str, ...]]:
    """Return the pose of an image with these values of PatientOrientation and `SPACINGS`.

    The second value holds notes. An image without a usable orientation counts as upright.
    """
    aspect, notes = _aspect(spacings)
    directions = directions_of(orientation)
    if directions is None:
        missing = "is not usable" if orientation else "is absent"
        return Pose(aspect=aspect), (
            *notes,
            f"PatientOrientation {missing}: taken as upright and not mirrored",
        )
    row, column = directions[0][0], directions[1][0]
    if row not in _OPPOSITE or column not in {*_OPPOSITE} - {row, _OPPOSITE[row]}:
        return Pose(aspect=aspect), notes
    transposed = row not in {_ROW, _OPPOSITE[_ROW]}
    if transposed:
        row, column = column, row
    pose = Pose(transposed, row != _ROW, column != _COLUMN, aspect)
    if pose.is_turned:
        how = "mirrored" if pose.is_mirrored else "rotated"
        notes = (*notes, f"stored {how} by PatientOrientation {orientation}: read upright")
    return pose, notes


def _aspect(spacings: Mapping[str, tuple[float, ...]]) -> tuple[float, tuple[str, ...]]:
    """Return the height of a pixel over its width by the first usable spacing, and notes.

    Each attribute gives the vertical value first.
    """
    for keyword, values in spacings.items():
        pair = usable_pair(values)
        if pair is None:
            continue
        aspect = pair[0] / pair[1]
        if abs(aspect - 1.0) <= _SQUARE_WITHIN:
            return 1.0, ()
        if not is_believed(pair):
            return 1.0, (f"{keyword}: pixels of {aspect:.3g} to 1 are not believed",)
        return aspect, (f"{keyword}: pixels are not square; they are made so for the model",)
    return 1.0, ()
