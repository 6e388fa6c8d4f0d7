"""A picture of any size as one vector, from which turned and inverted copies are permutations.

The vector holds a histogram of oriented gradients (Dalal and Triggs, CVPR 2005) with signed
directions and a small picture of grey levels. Turning the picture by 90 degrees, mirroring and
inverting it only reorder the vector, or change signs, so one description serves all 16 copies.
"""

from functools import cache

import cv2
import numpy as np
from numpy.typing import NDArray

from cxr_model.errors import ImageError

Floats = NDArray[np.float32]

SIDE = 96
CELL = 8
CELLS = SIDE // CELL
DIRECTIONS = 16
THUMBNAIL = 24

GRADIENTS = CELLS * CELLS * DIRECTIONS
LENGTH = GRADIENTS + THUMBNAIL * THUMBNAIL

TURNS = (0, 90, 180, 270)

# A row or column is a rim if its grey levels spread less than this part of the picture's.
_RIM_SPREAD = 0.06
_MOST_RIM = 0.35
_COARSE = 256
_CLIP = 0.25


def standard(image: NDArray[np.uint8]) -> Floats:
    """Return a grey picture (rows, cols) without its rim, shape (SIDE, SIDE).

    Grey levels are ranks, from -1 to 1, so that a window changes little.
    Raises ImageError if the array has other dimensions or no pixels.
    """
    if image.ndim != 2 or min(image.shape) < 1:
        raise ImageError(f"the picture check reads (rows, cols), not an array of {image.shape}")
    small = _without_rim(_shrink(image))
    square = cv2.resize(small, (SIDE, SIDE), interpolation=_interpolation(small, SIDE))
    return _ranked(np.asarray(square, dtype=np.float32))


def describe(grey: Floats) -> Floats:
    """Return the description of a standard picture (SIDE, SIDE) as a vector of `LENGTH`."""
    return np.concatenate([_gradients(grey).ravel(), _thumbnail(grey).ravel()])


def put_right(grey: Floats, quarters: int, inverted: bool) -> Floats:
    """Return a standard picture, turned clockwise by `quarters` and maybe inverted, upright."""
    return np.rot90(-grey if inverted else grey, quarters)


def copies(description: Floats) -> Floats:
    """Return the 16 descriptions that give back an upright picture, shape (16, LENGTH).

    Copy `turned + 4 * mirrored + 8 * inverted` (turned counted in quarters) is the description of
    the picture after undoing that change: inverted first, then turned, then mirrored.
    """
    return description[..., _orders()] * _signs()


def _shrink(image: NDArray[np.uint8]) -> Floats:
    rows, columns = image.shape
    factor = max(rows, columns) / _COARSE
    if factor > 2:
        # Area averaging reads every pixel; a first step by striding keeps large films cheap.
        stride = int(factor // 2)
        image = image[::stride, ::stride] if stride > 1 else image
    size = (max(1, round(columns / max(1.0, factor))), max(1, round(rows / max(1.0, factor))))
    shrunk = cv2.resize(np.ascontiguousarray(image), size, interpolation=cv2.INTER_AREA)
    return np.asarray(shrunk, dtype=np.float32)


def _interpolation(image: Floats, side: int) -> int:
    return int(cv2.INTER_AREA if min(image.shape) >= side else cv2.INTER_LINEAR)


def _without_rim(image: Floats) -> Floats:
    """Cut uniform rows and columns at the edges, at most `_MOST_RIM` of a side each."""
    spread = float(image.std())
    if spread < 1e-3:
        return image
    rows = _inside(image.std(axis=1), spread)
    image = image[rows]
    return image[:, _inside(image.std(axis=0), spread)]


def _inside(spreads: Floats, spread: float) -> slice:
    most = int(len(spreads) * _MOST_RIM)
    busy = spreads > _RIM_SPREAD * spread
    first = int(np.argmax(busy[: most + 1])) if busy[: most + 1].any() else most
    tail = busy[::-1][: most + 1]
    last = int(np.argmax(tail)) if tail.any() else most
    return slice(first, len(spreads) - last)


def _ranked(image: Floats) -> Floats:
    """Return grey levels by rank, from -1 to 1: the same for any window."""
    order = np.sort(image, axis=None)
    below = np.searchsorted(order, image.ravel(), side="left")
    upto = np.searchsorted(order, image.ravel(), side="right")
    ranks = ((below + upto) / image.size - 1.0).reshape(image.shape)
    return np.asarray(ranks, dtype=np.float32)


def _gradients(grey: Floats) -> Floats:
    """Return histograms of signed gradient directions, shape (CELLS, CELLS, DIRECTIONS)."""
    padded = np.pad(grey, 1, mode="edge")
    across = padded[1:-1, 2:] - padded[1:-1, :-2]
    down = padded[2:, 1:-1] - padded[:-2, 1:-1]
    strength = np.hypot(across, down)
    direction = np.arctan2(down, across) * (DIRECTIONS / (2 * np.pi))
    lower = np.floor(direction)
    part = direction - lower
    first = lower.astype(np.int64) % DIRECTIONS
    second = (first + 1) % DIRECTIONS
    cells = _cell_numbers()
    length = CELLS * CELLS * DIRECTIONS
    histogram = np.bincount(
        (cells + first).ravel(), (strength * (1 - part)).ravel(), minlength=length
    ) + np.bincount((cells + second).ravel(), (strength * part).ravel(), minlength=length)
    grid = histogram.reshape(CELLS, CELLS, DIRECTIONS).astype(np.float32)
    return _normalised(grid)


def _normalised(grid: Floats) -> Floats:
    """Divide each cell by the strength of its 3 x 3 neighbours, clip, and take the root."""
    energy = np.sqrt((grid**2).sum(axis=2))
    around = cv2.blur(energy, (3, 3), borderType=cv2.BORDER_REFLECT)
    level = around + 0.02 * float(energy.mean()) + 0.3
    return np.asarray(np.sqrt(np.minimum(grid / level[..., None], _CLIP * 4) / 4), dtype=np.float32)


def _thumbnail(grey: Floats) -> Floats:
    small = cv2.resize(grey, (THUMBNAIL, THUMBNAIL), interpolation=cv2.INTER_AREA)
    return np.asarray(small * 0.5, dtype=np.float32)


@cache
def _cell_numbers() -> NDArray[np.int64]:
    """Return the first bin of each pixel's cell, shape (SIDE, SIDE)."""
    rows, columns = np.divmod(np.arange(SIDE * SIDE), SIDE)
    cells = (rows // CELL) * CELLS + columns // CELL
    return np.asarray((cells * DIRECTIONS).reshape(SIDE, SIDE), dtype=np.int64)


@cache
def _orders() -> NDArray[np.int64]:
    """Return for each of the 16 copies the source of every element, shape (16, LENGTH)."""
    bins = np.arange(GRADIENTS).reshape(CELLS, CELLS, DIRECTIONS)
    pixels = GRADIENTS + np.arange(THUMBNAIL**2).reshape(THUMBNAIL, THUMBNAIL)
    rows = []
    for inverted in (False, True):
        for exchanged in (False, True):
            for quarters in range(4):
                grid, grey = bins, pixels
                if inverted:
                    grid = np.roll(grid, DIRECTIONS // 2, axis=2)
                # Back by quarters anticlockwise; the picture's y axis points down, so that
                # directions fall by a quarter.
                grid = np.roll(np.rot90(grid, quarters), -quarters * DIRECTIONS // 4, axis=2)
                grey = np.rot90(grey, quarters)
                if exchanged:
                    grid = np.flip(grid, axis=1)[..., _mirrored_directions()]
                    grey = np.flip(grey, axis=1)
                rows.append(np.concatenate([grid.ravel(), grey.ravel()]))
    return np.stack(rows)


def _mirrored_directions() -> NDArray[np.int64]:
    return (DIRECTIONS // 2 - np.arange(DIRECTIONS)) % DIRECTIONS


@cache
def _signs() -> Floats:
    signs = np.ones((16, LENGTH), dtype=np.float32)
    signs[8:, GRADIENTS:] = -1.0
    return signs
