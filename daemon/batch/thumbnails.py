"""Thumbnails of the dashboard: one file per film, the film and its heatmaps side by side.

The tiles are squares, so that a page can show each of them from the one file.
"""

import hashlib
from collections.abc import Sequence

import cv2
import numpy as np
from numpy.typing import NDArray

from daemon.batch.csv_report import THUMBNAIL_FOLDER, cell

TILE = 128
"""Pixels of the side of a tile."""

_QUALITY = 80
_NAME_DIGITS = 20

_Rgb = NDArray[np.uint8]


def thumbnail_name(image_id: str) -> str:
    """Return the path of an image's thumbnail below the output folder.

    It is the same for the name in a row of the report.
    """
    digest = hashlib.sha256(cell(image_id).encode()).hexdigest()
    return f"{THUMBNAIL_FOLDER}/{digest[:2]}/{digest[2:_NAME_DIGITS]}.jpg"


def film_tile(picture: NDArray[np.uint8]) -> _Rgb:
    """Return a film, uint8 (rows, cols), as a tile, uint8 (`TILE`, `TILE`, 3)."""
    return np.repeat(_square(picture)[:, :, np.newaxis], 3, axis=2)


def heatmap_tile(rgb: _Rgb, film_rows: int) -> _Rgb:
    """Return the part of a heatmap above its legend as a tile."""
    return _square(rgb[:film_rows])


def strip(tiles: Sequence[_Rgb]) -> bytes:
    """Return the tiles from left to right as a JPEG file."""
    rgb = np.concatenate(tiles, axis=1)
    _, data = cv2.imencode(
        ".jpg", cv2.cvtColor(rgb, cv2.COLOR_RGB2BGR), [cv2.IMWRITE_JPEG_QUALITY, _QUALITY]
    )
    return data.tobytes()


def _square(picture: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Return the picture within a black square, its proportions kept."""
    longer = max(picture.shape[:2])
    # Fewer pixels first: the average over all of a large picture takes many times as long.
    step = max(1, longer // (3 * TILE))
    fewer = np.ascontiguousarray(picture[::step, ::step])
    scale = TILE / max(fewer.shape[:2])
    rows, columns = (max(1, round(side * scale)) for side in fewer.shape[:2])
    small = cv2.resize(fewer, (columns, rows), interpolation=cv2.INTER_AREA)
    square = np.zeros((TILE, TILE, *picture.shape[2:]), dtype=np.uint8)
    top, left = (TILE - rows) // 2, (TILE - columns) // 2
    square[top : top + rows, left : left + columns] = small
    return square
