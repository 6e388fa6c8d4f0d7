"""Where a map is hottest, as an outline on the film: reports hold it, viewers draw it."""

from dataclasses import dataclass

import cv2
import numpy as np
import numpy.typing as npt

#: The part of a map's own maximum from which on a pixel belongs to its region.
HOT_SHARE = 0.5

# How far an outline may stray from the region's edge, as a part of the film's longer side.
_TOLERANCE = 0.004


@dataclass(frozen=True, slots=True)
class Region:
    """One closed outline around the hottest point of a map.

    `points` are (column, row) in pixels of the film, at least three, each once. As PS3.3 C.18.6.1.2
    has it, the centre of the top left pixel is (0.5, 0.5); `area` is in pixels.
    """

    points: tuple[tuple[float, float], ...]
    area: float


def hot_region(contribution: npt.NDArray[np.float32], *, share: float = HOT_SHARE) -> Region | None:
    """Outline the part around the maximum that reaches `share` of it; None where no map rises.

    `contribution` is float32 (rows, cols), a map of logit contributions on the film's own pixels.
    Parts as hot that are not joined to the maximum are left out: one finding, one region.
    """
    part = hot_mask(contribution, share=share)
    if part is None:
        return None
    outline = _outline(part)
    return Region(tuple((float(x), float(y)) for x, y in outline), float(part.sum()))


def hot_mask(
    contribution: npt.NDArray[np.float32], *, share: float = HOT_SHARE
) -> npt.NDArray[np.uint8] | None:
    """The same part pixel by pixel: uint8 (rows, cols), 1 inside and 0 outside."""
    peak = float(contribution.max())
    if not peak > 0:
        return None
    hot = (contribution >= share * peak).astype(np.uint8)
    _, parts = cv2.connectedComponents(hot, connectivity=4)
    row, col = np.unravel_index(int(contribution.argmax()), contribution.shape)
    return np.asarray(parts == parts[row, col], dtype=np.uint8)


def _outline(part: npt.NDArray[np.uint8]) -> npt.NDArray[np.float64]:
    """Corners (n, 2), as (x, y), around the only part: through the centres of its edge pixels."""
    contours, _ = cv2.findContours(part, cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_NONE)
    (edge,) = contours
    simple = cv2.approxPolyDP(edge, _TOLERANCE * max(part.shape), closed=True)
    if len(simple) >= 3:
        return np.asarray(simple[:, 0] + 0.5, dtype=np.float64)
    # A region as thin as a line has no area between the centres, but has one between its borders.
    x, y, width, height = cv2.boundingRect(edge)
    corners = [(x, y), (x + width, y), (x + width, y + height), (x, y + height)]
    return np.asarray(corners, dtype=np.float64)
