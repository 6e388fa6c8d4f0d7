"""Display shutter (PS3.3 C.7.6.11) and collimator (C.8.7.3): which pixels of an image are visible.

Both name the same shapes in pixels; the upper left pixel is 1\\1. Each of several shapes hides the
pixels outside it. A shape that leaves less than a quarter of the image is an error and is ignored.
"""

from collections.abc import Callable, Iterator

import cv2
import numpy as np
from numpy.typing import NDArray
from pydicom import Dataset

from dicom_io.read.header import numbers, text

Mask = NDArray[np.bool_]
_Shape = Callable[[Dataset, str, int, int], Mask | None]

_LEAST_SEEN = 0.25

# An edge of a rectangle may lie this part of the image's size outside the image. An edge further
# away is not counted in pixels from the upper left corner.
_BEYOND = 0.05
_EDGES = ("LeftVerticalEdge", "RightVerticalEdge", "UpperHorizontalEdge", "LowerHorizontalEdge")

# A coordinate beyond this many times the image's size is invalid.
_FARTHEST = 4


def visible_pixels(ds: Dataset, rows: int, columns: int) -> tuple[Mask | None, tuple[str, ...]]:
    """Return a mask (rows, columns) of the visible pixels, None if all are visible, and notes."""
    seen, followed, notes = _follow(ds, rows, columns)
    if not followed:
        return None, tuple(notes)
    hidden = 1.0 - _share(seen)
    if hidden >= 0.01:
        notes.append(f"shutter or collimator: {hidden:.0%} of the image is left out, shown black")
    return (None if seen.all() else seen), tuple(notes)


def display_shutter(ds: Dataset, rows: int, columns: int) -> tuple[str, ...]:
    """Return the shapes of the display shutter that `visible_pixels` applies, by defined term."""
    _, followed, _ = _follow(ds, rows, columns)
    return tuple(name for kind, name in followed if kind == "Shutter")


def _follow(ds: Dataset, rows: int, columns: int) -> tuple[Mask, list[tuple[str, str]], list[str]]:
    """Return the visible pixels, the applied shapes by kind and name, and notes on ignored ones."""
    seen = np.ones((rows, columns), dtype=bool)
    followed: list[tuple[str, str]] = []
    notes: list[str] = []
    for kind, name in _shapes(ds):
        place = f"{kind}Shape {name[:16]}"
        shape = _SHAPES.get(name)
        mask = shape(ds, kind, rows, columns) if shape is not None else None
        if mask is None:
            notes.append(f"{place} cannot be followed and was ignored")
        elif (share := _share(both := seen & mask)) < _LEAST_SEEN:
            notes.append(f"{place} would leave {share:.0%} of the image and was ignored")
        else:
            seen = both
            followed.append((kind, name))
    return seen, followed, notes


def _share(mask: Mask) -> float:
    return float(np.count_nonzero(mask)) / mask.size


def _shapes(ds: Dataset) -> Iterator[tuple[str, str]]:
    for kind in ("Shutter", "Collimator"):
        for name in text(ds, f"{kind}Shape").upper().split("\\"):
            if name.strip():
                yield kind, name.strip()


def _rectangle(ds: Dataset, kind: str, rows: int, columns: int) -> Mask | None:
    edges = [numbers(ds, f"{kind}{edge}") for edge in _EDGES]
    if not all(edges):
        return None
    left, right, upper, lower = (edge[0] for edge in edges)
    for first, last, size in ((left, right, columns), (upper, lower, rows)):
        if not -_BEYOND * size <= first < last <= (1 + _BEYOND) * size + 1:
            return None
    y, x = np.ogrid[1 : rows + 1, 1 : columns + 1]
    return np.asarray((x >= left) & (x <= right) & (y >= upper) & (y <= lower))


def _circle(ds: Dataset, kind: str, rows: int, columns: int) -> Mask | None:
    centre = numbers(ds, f"CenterOfCircular{kind}")
    radius = numbers(ds, f"RadiusOfCircular{kind}")
    if len(centre) != 2 or not radius:
        return None
    y, x = np.ogrid[1 : rows + 1, 1 : columns + 1]
    return np.asarray(np.hypot(y - centre[0], x - centre[1]) <= radius[0])


def _polygon(ds: Dataset, kind: str, rows: int, columns: int) -> Mask | None:
    values = numbers(ds, f"VerticesOfThePolygonal{kind}")
    if len(values) < 6 or len(values) % 2:
        return None
    # Row\column pairs; OpenCV counts x, y from 0.
    vertices = np.array(values).reshape(-1, 2)[:, ::-1] - 1
    if not (np.abs(vertices) <= _FARTHEST * max(rows, columns)).all():
        return None
    filled = np.zeros((rows, columns), dtype=np.uint8)
    cv2.fillPoly(filled, [np.rint(vertices).astype(np.int32)], 1)
    return filled.astype(bool)


_SHAPES: dict[str, _Shape] = {
    "RECTANGULAR": _rectangle,
    "CIRCULAR": _circle,
    "POLYGONAL": _polygon,
}
