"""Counts stored values and looks them up in tables, in the type that the pixels have.

A table has an entry per value. Pixels of 8 and 16 bits are their own index into a table of 2^8 or
2^16 entries, a negative value by its two's complement, so that no copy in a wider type is needed.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

Mask = NDArray[np.bool_]
Counts = NDArray[np.int64]

LEVELS = 256
"""Grey levels of a rendered image."""

# OpenCV counts in float32, which is exact up to this number.
_MOST_COUNTED = 1 << 24
_UNSIGNED: dict[int, np.dtype[Any]] = {1: np.dtype(np.uint8), 2: np.dtype(np.uint16)}
_WIDEST = 1 << 16


@dataclass(frozen=True, slots=True)
class PixelIndex:
    """The pixels as places in a table of `size` entries; `place_of` gives the place of a value."""

    pixels: NDArray[np.integer]
    size: int
    place_of: Callable[[NDArray[np.int64]], NDArray[np.int64]]

    def count(self, values: NDArray[np.int64], seen: Mask | None) -> Counts:
        """Return the pixels of each value, of those that `seen` marks."""
        counts = _counted(self.pixels, self.size, seen)
        return np.asarray(counts[self.place_of(values)], dtype=np.int64)

    def look_up(self, values: NDArray[np.int64], entries: NDArray[Any]) -> NDArray[np.uint8]:
        """Return the entry of every pixel's value, as uint8."""
        table = np.zeros(self.size, dtype=np.uint8)
        table[self.place_of(values)] = entries
        return _looked_up(self.pixels, table)


def index_of(stored: NDArray[np.integer], low: int, high: int) -> PixelIndex:
    """Return the index of pixels (rows, columns) with values from `low` to `high`."""
    pixels = np.ascontiguousarray(stored, dtype=stored.dtype.newbyteorder("="))
    if high - low < _WIDEST and pixels.dtype.itemsize > 2:
        # The cut to 16 bits keeps the values apart.
        pixels = pixels.astype(np.uint16)
    kind = _UNSIGNED.get(pixels.dtype.itemsize)
    if kind is None:
        size = high - low + 1
        return PixelIndex(pixels.astype(np.int64) - low, size, lambda values: values - low)
    size = 1 << 8 * kind.itemsize
    return PixelIndex(pixels.view(kind), size, lambda values: values & (size - 1))


def level_counts(grey: NDArray[np.uint8], seen: Mask | None) -> Counts:
    """Return the pixels of each grey level, shape (LEVELS,), of those that `seen` marks."""
    return _counted(grey, LEVELS, seen)


def _counted(pixels: NDArray[np.integer], size: int, seen: Mask | None) -> Counts:
    if pixels.dtype.itemsize > 2:
        return np.bincount(pixels.ravel() if seen is None else pixels[seen], minlength=size)
    marked = None if seen is None else seen.view(np.uint8)
    counts = np.zeros(size, dtype=np.int64)
    rows = max(1, _MOST_COUNTED // max(1, pixels.shape[1]))
    for first in range(0, pixels.shape[0], rows):
        block = slice(first, first + rows)
        mask = None if marked is None else marked[block]
        found = cv2.calcHist([pixels[block]], [0], mask, [size], [0, size])
        counts += np.rint(found).astype(np.int64).ravel()
    return counts


def _looked_up(pixels: NDArray[np.integer], table: NDArray[np.uint8]) -> NDArray[np.uint8]:
    if pixels.dtype == np.uint8 or (pixels.dtype == np.uint16 and _has_wide_tables()):
        return np.asarray(cv2.LUT(pixels, table), dtype=np.uint8)
    return np.asarray(table[pixels], dtype=np.uint8)


def _has_wide_tables() -> bool:
    """Return True if this OpenCV looks up 16-bit pixels, as version 5 does."""
    return int(cv2.__version__.partition(".")[0]) >= 5
