"""Random changes a film may undergo while training: exposure, position, sharpness.

Never a mirror image: the heart lies on the left, and a flipped film shows another disease.
"""

from dataclasses import dataclass

import cv2
import numpy as np
import numpy.typing as npt


@dataclass(frozen=True, slots=True)
class Augmentation:
    """How far each change may go; all zero leaves the film as it is."""

    rotation: float = 10.0
    scale: float = 0.12
    shift: float = 0.06
    gamma: float = 0.3
    contrast: float = 0.2
    brightness: float = 0.1
    blur: float = 0.2
    noise: float = 0.02
    erase: float = 0.2


def augment(
    square: npt.NDArray[np.uint8], rng: np.random.Generator, how: Augmentation
) -> npt.NDArray[np.uint8]:
    """Change a grey square (size, size) at random; the result depends on `rng` alone."""
    film = _move(square, rng, how).astype(np.float32) / np.float32(255)
    if rng.random() < how.blur:
        width = rng.uniform(0.3, 1.0) * len(square) / 100
        film = np.asarray(cv2.GaussianBlur(film, (0, 0), width), dtype=np.float32)
    film = _expose(film, rng, how)
    if rng.random() < how.erase:
        _erase(film, rng)
    return np.round(np.clip(film, 0, 1) * 255).astype(np.uint8)


def _move(
    square: npt.NDArray[np.uint8], rng: np.random.Generator, how: Augmentation
) -> npt.NDArray[np.uint8]:
    size = len(square)
    centre = (size - 1) / 2
    angle = rng.uniform(-how.rotation, how.rotation)
    zoom = 1 + rng.uniform(-how.scale, how.scale)
    matrix = np.asarray(cv2.getRotationMatrix2D((centre, centre), angle, zoom), dtype=np.float64)
    matrix[:, 2] += rng.uniform(-how.shift, how.shift, 2) * size
    # A slight change of aspect stands for the distance and inspiration of the patient.
    matrix[0] *= 1 + rng.uniform(-how.scale, how.scale) / 2
    return np.asarray(cv2.warpAffine(square, matrix, (size, size)), dtype=np.uint8)


def _expose(
    film: npt.NDArray[np.float32], rng: np.random.Generator, how: Augmentation
) -> npt.NDArray[np.float32]:
    gamma = np.exp(rng.uniform(-how.gamma, how.gamma))
    gain = 1 + rng.uniform(-how.contrast, how.contrast)
    offset = rng.uniform(-how.brightness, how.brightness)
    middle = film.mean()
    exposed = (film**gamma - middle) * gain + middle + offset
    noise = rng.normal(0, rng.uniform(0, how.noise), film.shape) if how.noise else 0
    return np.asarray(exposed + noise, dtype=np.float32)


def _erase(film: npt.NDArray[np.float32], rng: np.random.Generator) -> None:
    size = len(film)
    rows, cols = rng.integers(size // 10, size // 4, 2)
    top, left = rng.integers(0, size - rows), rng.integers(0, size - cols)
    film[top : top + rows, left : left + cols] = film.mean()
