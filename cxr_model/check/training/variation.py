"""Films as they arrive elsewhere: cropped, squeezed, windowed, with rims, shutters and text."""

import cv2
import numpy as np
from numpy.typing import NDArray

Grey = NDArray[np.uint8]

_TEXTS = ("L", "R", "PORTABLE", "AP", "PA", "ERECT", "SUPINE", "12:40", "ID 0042", "X", "LEFT")


def varied(image: Grey, rng: np.random.Generator) -> Grey:
    """Return a copy of a picture (rows, cols) with a random choice of the changes of this file."""
    changed = image
    if rng.random() < 0.8:
        changed = _cropped(changed, rng)
    if rng.random() < 0.5:
        changed = _tilted(changed, rng)
    if rng.random() < 0.3:
        changed = _coarser(changed, rng)
    changed = _windowed(changed, rng)
    if rng.random() < 0.25:
        changed = _shuttered(changed, rng)
    if rng.random() < 0.4:
        changed = _labelled(changed, rng)
    if rng.random() < 0.35:
        changed = _rimmed(changed, rng)
    if rng.random() < 0.2:
        changed = _noisy(changed, rng)
    return changed


def _cropped(image: Grey, rng: np.random.Generator) -> Grey:
    rows, columns = image.shape
    top, bottom = (int(rows * part) for part in rng.uniform(0.0, 0.11, 2))
    left, right = (int(columns * part) for part in rng.uniform(0.0, 0.11, 2))
    return image[top : rows - bottom, left : columns - right]


def _tilted(image: Grey, rng: np.random.Generator) -> Grey:
    rows, columns = image.shape
    matrix = cv2.getRotationMatrix2D((columns / 2, rows / 2), rng.normal(0.0, 4.0), 1.0)
    border = cv2.BORDER_REPLICATE if rng.random() < 0.5 else cv2.BORDER_CONSTANT
    return np.asarray(
        cv2.warpAffine(image, matrix, (columns, rows), borderMode=border), dtype=np.uint8
    )


def _coarser(image: Grey, rng: np.random.Generator) -> Grey:
    rows, columns = image.shape
    factor = rng.uniform(0.25, 0.7)
    size = (max(8, int(columns * factor)), max(8, int(rows * factor)))
    return np.asarray(cv2.resize(image, size, interpolation=cv2.INTER_AREA), dtype=np.uint8)


def _windowed(image: Grey, rng: np.random.Generator) -> Grey:
    low, high = np.percentile(image, [rng.uniform(0, 8), rng.uniform(92, 100)])
    levels = np.clip((np.arange(256) - low) / max(high - low, 1.0), 0.0, 1.0)
    levels = levels ** np.exp(rng.normal(0.0, 0.35))
    contrast = rng.uniform(0.25, 1.0) if rng.random() < 0.3 else 1.0
    offset = rng.uniform(0.0, 1.0 - contrast)
    table = np.round(255 * (offset + contrast * levels)).astype(np.uint8)
    return np.asarray(table[image], dtype=np.uint8)


def _shuttered(image: Grey, rng: np.random.Generator) -> Grey:
    rows, columns = image.shape
    grey = int(rng.choice([0, 0, 0, 255]))
    changed = image.copy()
    if rng.random() < 0.3:
        mask = np.zeros(image.shape, dtype=np.uint8)
        radius = int(rng.uniform(0.52, 0.66) * max(rows, columns))
        cv2.circle(mask, (columns // 2, rows // 2), radius, 1, -1)
        changed[mask == 0] = grey
        return changed
    for corner in range(4):
        if rng.random() < 0.4:
            x = 0 if corner % 2 == 0 else columns - 1
            y = 0 if corner < 2 else rows - 1
            across = int(rng.uniform(0.05, 0.3) * columns) * (1 if x == 0 else -1)
            down = int(rng.uniform(0.05, 0.3) * rows) * (1 if y == 0 else -1)
            triangle = np.array([[x, y], [x + across, y], [x, y + down]], dtype=np.int32)
            cv2.fillPoly(changed, [triangle], grey)
    return changed


def _labelled(image: Grey, rng: np.random.Generator) -> Grey:
    rows, columns = image.shape
    changed = image.copy()
    for _ in range(rng.integers(1, 4)):
        text = str(rng.choice(_TEXTS))
        size = max(0.25, rng.uniform(0.0015, 0.005) * columns)
        place = (int(rng.uniform(0, 0.85) * columns), int(rng.uniform(0.05, 1.0) * rows))
        if 0.3 < place[0] / columns < 0.6 and 0.2 < place[1] / rows < 0.85:
            continue
        grey = int(rng.choice([255, 255, 200, 0]))
        cv2.putText(changed, text, place, cv2.FONT_HERSHEY_SIMPLEX, size, grey, 1 + int(size))
    return changed


def _rimmed(image: Grey, rng: np.random.Generator) -> Grey:
    rows, columns = image.shape
    most = rng.choice([0.06, 0.2])
    top, bottom = (int(rows * part) for part in rng.uniform(0, most, 2))
    left, right = (int(columns * part) for part in rng.uniform(0, most, 2))
    side = rng.integers(3)
    if side == 0:
        top = bottom = 0
    elif side == 1:
        left = right = 0
    grey = int(rng.choice([0, 0, 0, 255, 40]))
    return np.asarray(
        cv2.copyMakeBorder(image, top, bottom, left, right, cv2.BORDER_CONSTANT, value=[grey]),
        dtype=np.uint8,
    )


def _noisy(image: Grey, rng: np.random.Generator) -> Grey:
    noise = rng.normal(0.0, rng.uniform(1.0, 10.0), image.shape)
    return np.asarray(np.clip(image + noise, 0, 255), dtype=np.uint8)
