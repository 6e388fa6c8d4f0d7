"""Random changes to a film during training: exposure, position, margins, sharpness.

A film is never mirrored: the heart lies on the left, and a flipped film shows another disease.
"""

import cv2
import numpy as np
import numpy.typing as npt

from cxr_model.data.augmentation_settings import Augmentation

# Shares of the side, and of the grey values.
_WIDEST_MARGINS = 0.3
_WIDEST_RIM = 0.08
_NARROWEST_WINDOW = 0.2


def augment(
    square: npt.NDArray[np.uint8], rng: np.random.Generator, ranges: Augmentation
) -> npt.NDArray[np.uint8]:
    """Change a grey square (size, size) at random; the result depends on `rng` alone."""
    film = _move(square, rng, ranges).astype(np.float32) / np.float32(255)
    if rng.random() < ranges.blur:
        width = rng.uniform(0.3, 1.0) * len(square) / 100
        film = np.asarray(cv2.GaussianBlur(film, (0, 0), width), dtype=np.float32)
    if rng.random() < ranges.window:
        film = _narrow_window(film, rng)
    film = _expose(film, rng, ranges)
    if rng.random() < ranges.erase:
        _erase(film, rng)
    if rng.random() < ranges.rim:
        _blacken_rim(film, rng)
    return np.round(np.clip(film, 0, 1) * 255).astype(np.uint8)


def _move(
    square: npt.NDArray[np.uint8], rng: np.random.Generator, ranges: Augmentation
) -> npt.NDArray[np.uint8]:
    size = len(square)
    centre = (size - 1) / 2
    angle = rng.uniform(-ranges.rotation, ranges.rotation)
    zoom = 1 + rng.uniform(-ranges.scale, ranges.scale)
    matrix = np.asarray(cv2.getRotationMatrix2D((centre, centre), angle, zoom), dtype=np.float64)
    matrix[:, 2] += rng.uniform(-ranges.shift, ranges.shift, 2) * size
    # A slight change of aspect stands for the distance and inspiration of the patient.
    matrix[0] *= 1 + rng.uniform(-ranges.scale, ranges.scale) / 2
    if rng.random() < ranges.letterbox:
        axis, share = int(rng.integers(2)), rng.uniform(1 - _WIDEST_MARGINS, 1)
        matrix[axis] *= share
        matrix[axis, 2] += centre * (1 - share)
    return np.asarray(cv2.warpAffine(square, matrix, (size, size)), dtype=np.uint8)


def _expose(
    film: npt.NDArray[np.float32], rng: np.random.Generator, ranges: Augmentation
) -> npt.NDArray[np.float32]:
    gamma = np.exp(rng.uniform(-ranges.gamma, ranges.gamma))
    gain = 1 + rng.uniform(-ranges.contrast, ranges.contrast)
    offset = rng.uniform(-ranges.brightness, ranges.brightness)
    middle = film.mean()
    exposed = (film**gamma - middle) * gain + middle + offset
    noise = rng.normal(0, rng.uniform(0, ranges.noise), film.shape) if ranges.noise else 0
    return np.asarray(exposed + noise, dtype=np.float32)


def _narrow_window(
    film: npt.NDArray[np.float32], rng: np.random.Generator
) -> npt.NDArray[np.float32]:
    low, high = np.quantile(film, (rng.uniform(0, 0.03), rng.uniform(0.97, 1)))
    if high - low < _NARROWEST_WINDOW:
        return film
    return np.asarray(np.clip((film - low) / (high - low), 0, 1), dtype=np.float32)


def _blacken_rim(film: npt.NDArray[np.float32], rng: np.random.Generator) -> None:
    for view in (film, film[::-1], film.T, film.T[::-1]):
        view[: round(rng.uniform(0, _WIDEST_RIM) * len(film))] = 0


def _erase(film: npt.NDArray[np.float32], rng: np.random.Generator) -> None:
    size = len(film)
    rows, cols = rng.integers(size // 10, size // 4, 2)
    top, left = rng.integers(0, size - rows), rng.integers(0, size - cols)
    film[top : top + rows, left : left + cols] = film.mean()
