"""Descriptions of pictures for training: films as they are and varied, drawings, projections."""

from collections.abc import Callable, Iterable, Sequence

import cv2
import numpy as np
from numpy.typing import NDArray

from cxr_model.check.description import SIDE, Floats, describe, standard
from cxr_model.check.training.drawings import broken, drawn
from cxr_model.check.training.examples import Example
from cxr_model.check.training.projection import cut, project
from cxr_model.check.training.variation import varied
from cxr_model.data.image_file import read_image

Grey = NDArray[np.uint8]

# Side of a stored film: enough for the description after cropping and turning.
_STORED = 2 * SIDE + 32


def read_small(examples: Iterable[Example]) -> list[Grey]:
    """Return the pictures, shrunk to at most 224 pixels a side. Raises ImageError."""
    return [_small(read_image(example.path)) for example in examples]


def _small(image: Grey) -> Grey:
    factor = _STORED / max(image.shape)
    if factor >= 1:
        return image
    rows, columns = (max(1, round(n * factor)) for n in image.shape)
    return np.asarray(
        cv2.resize(image, (columns, rows), interpolation=cv2.INTER_AREA), dtype=np.uint8
    )


def standards(pictures: Sequence[Grey], varied_copies: int, rng: np.random.Generator) -> Floats:
    """Return standard pictures, shape (n, 1 + varied_copies, SIDE, SIDE).

    The first of each row is the picture as it is, the others are variations of it.
    """
    shown = np.zeros((len(pictures), 1 + varied_copies, SIDE, SIDE), dtype=np.float32)
    for row, picture in zip(shown, pictures, strict=True):
        row[0] = standard(picture)
        for copy in range(1, 1 + varied_copies):
            row[copy] = standard(varied(picture, rng))
    return shown


def described(shown: Floats) -> Floats:
    """Return descriptions of standard pictures (…, SIDE, SIDE), shape (n, LENGTH)."""
    return np.stack([describe(grey) for grey in shown.reshape(-1, SIDE, SIDE)])


def drawings(number: int, rng: np.random.Generator) -> Floats:
    """Return descriptions of drawn pictures that are no films."""
    return np.stack([describe(standard(drawn(rng))) for _ in range(number)])


def broken_films(films: Sequence[Grey], number: int, rng: np.random.Generator) -> Floats:
    """Return descriptions of shuffled, doubled and cut films."""
    chosen = rng.integers(len(films), size=number).tolist()
    return np.stack([describe(standard(varied(broken(films[i], rng), rng))) for i in chosen])


def _projected(
    volumes: Sequence[Floats],
    number: int,
    rng: np.random.Generator,
    film: Callable[[Floats, np.random.Generator], Grey],
) -> Floats:
    chosen = rng.integers(len(volumes), size=number).tolist()
    films = (varied(film(volumes[v], rng), rng) for v in chosen)
    return np.stack([describe(standard(picture)) for picture in films])


def projected_laterals(volumes: Sequence[Floats], number: int, rng: np.random.Generator) -> Floats:
    """Return descriptions of films seen from either side, turned by about 8 degrees."""

    def film(volume: Floats, rng: np.random.Generator) -> Grey:
        return project(volume, float(rng.choice([-90.0, 90.0]) + rng.normal(0.0, 8.0)), rng)

    return _projected(volumes, number, rng, film)


def projected_frontals(volumes: Sequence[Floats], number: int, rng: np.random.Generator) -> Floats:
    """Return descriptions of films seen from the front, turned by about 6 degrees."""

    def film(volume: Floats, rng: np.random.Generator) -> Grey:
        return project(volume, float(rng.normal(0.0, 6.0)), rng)

    return _projected(volumes, number, rng, film)


def volume_cuts(volumes: Sequence[Floats], number: int, rng: np.random.Generator) -> Floats:
    """Return descriptions of axial, coronal and sagittal slices in several windows."""
    return _projected(volumes, number, rng, cut)
