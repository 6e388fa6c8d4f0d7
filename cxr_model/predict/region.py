"""Outlines the hottest region of a map on the film, for reports and viewers."""

from dataclasses import dataclass

import cv2
import numpy as np
import numpy.typing as npt

#: Share of a map's maximum that a pixel of its region reaches.
HOT_SHARE = 0.5

# Largest distance of the outline from the region's edge, as a share of the film's longer side.
_TOLERANCE = 0.004


@dataclass(frozen=True, slots=True)
class Region:
    """A closed outline around the hottest point of a map.

    `points` are (column, row) in pixels of the film, at least three, all different. The centre of
    the top left pixel is (0.5, 0.5) (PS3.3 C.18.6.1.2). `area` is in pixels.
    """

    points: tuple[tuple[float, float], ...]
    area: float


@dataclass(frozen=True, slots=True)
class _Part:
    """The region of a map inside its bounding box: uint8 (rows, cols), 1 inside.

    `top` and `left` place the box in the map of `shape`.
    """

    mask: npt.NDArray[np.uint8]
    top: int
    left: int
    shape: tuple[int, int]


def hot_region(contribution: npt.NDArray[np.float32], *, share: float = HOT_SHARE) -> Region | None:
    """Outline the region of `hot_mask`; return None if the map is nowhere positive.

    `contribution` is float32 (rows, cols), a map of logit contributions on the film's pixels.
    """
    part = _hot_part(contribution, share)
    if part is None:
        return None
    outline = _outline(part)
    return Region(tuple((float(x), float(y)) for x, y in outline), float(part.mask.sum()))


def hot_mask(
    contribution: npt.NDArray[np.float32], *, share: float = HOT_SHARE
) -> npt.NDArray[np.uint8] | None:
    """Return the region around the maximum that reaches `share` of it: uint8, 1 inside.

    Regions of that height which are not connected to the maximum are left out, so that a finding
    has one region. Returns None if the map is nowhere positive.
    """
    part = _hot_part(contribution, share)
    if part is None:
        return None
    mask = np.zeros(part.shape, dtype=np.uint8)
    height, width = part.mask.shape
    mask[part.top : part.top + height, part.left : part.left + width] = part.mask
    return mask


def _hot_part(contribution: npt.NDArray[np.float32], share: float) -> _Part | None:
    """Return the region of `hot_mask` in the bounding box of all regions of that height."""
    rows, cols = contribution.shape
    peak = float(contribution.max())
    if not peak > 0:
        return None
    hot = (contribution >= share * peak).view(np.uint8)
    left, top, width, height = cv2.boundingRect(hot)
    # Most of a film is colder. The part outside the box has no region, so that nothing changes.
    boxed = np.ascontiguousarray(hot[top : top + height, left : left + width])
    _, parts = cv2.connectedComponents(boxed, connectivity=4)
    row, col = np.unravel_index(int(contribution.argmax()), (rows, cols))
    mask = np.asarray(parts == parts[row - top, col - left], dtype=np.uint8)
    return _Part(mask, top, left, (rows, cols))


def _outline(part: _Part) -> npt.NDArray[np.float64]:
    """Return the corners (n, 2) as (x, y) of the outline, through the centres of edge pixels."""
    contours, _ = cv2.findContours(
        part.mask, cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_NONE, offset=(part.left, part.top)
    )
    (edge,) = contours
    simple = cv2.approxPolyDP(edge, _TOLERANCE * max(part.shape), closed=True)
    if len(simple) >= 3:
        return np.asarray(simple[:, 0] + 0.5, dtype=np.float64)
    # A region one pixel wide has no area between pixel centres: use the borders of its pixels.
    x, y, width, height = cv2.boundingRect(edge)
    corners = [(x, y), (x + width, y), (x + width, y + height), (x, y + height)]
    return np.asarray(corners, dtype=np.float64)
