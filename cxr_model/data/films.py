"""Datasets of films for training and scoring: decoded, augmented, batched, in a fixed order."""

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import NamedTuple, Self

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset, Sampler

from cxr_model.data.augmentation import augment
from cxr_model.data.augmentation_settings import Augmentation
from cxr_model.data.chestxray14 import Record
from cxr_model.data.image_file import read_image
from cxr_model.data.proportions import unsqueezed
from cxr_model.errors import DataError
from cxr_model.findings import LABELS
from cxr_model.predict.curves import logit
from cxr_model.predict.transform import Geometry, InputSpec, normalise

_SUFFIXES = frozenset({".png", ".jpg", ".jpeg"})

#: Class of a film that is not from a pre-training folder.
NO_CLASS = -1


class Draw(NamedTuple):
    """A film to read (its index) and the seed of its changes; a negative seed means unchanged."""

    film: int
    seed: int


class Batch(NamedTuple):
    """A batch of N films.

    `images` (N, C, S, S), `targets` (N, 14), `known` (N,) bool: True if the targets are labels;
    `classes` (N,): the pre-training class or NO_CLASS; `soft` (N, 14): logits of another model,
    NaN for a film without.
    """

    images: Tensor
    targets: Tensor
    known: Tensor
    classes: Tensor
    soft: Tensor


@dataclass(frozen=True, slots=True)
class Film:
    """A file with its findings, or with the class of its pre-training folder.

    `aspect` is that of `Record`; `soft` are the logits of another model.
    """

    path: Path
    targets: tuple[float, ...] | None
    category: int = NO_CLASS
    aspect: float | None = None
    soft: tuple[float, ...] | None = None


def labelled_films(
    records: Sequence[Record],
    soft: Mapping[str, npt.NDArray[np.float32]] | None = None,
    soft_weight: float = 0.0,
) -> list[Film]:
    """Return the films with their labels; mix in the probabilities of `soft`, by image name."""
    films = []
    for record in records:
        targets = np.asarray(record.labels)
        if soft is not None and record.image in soft:
            targets = (1 - soft_weight) * targets + soft_weight * soft[record.image]
        numbers = tuple(float(value) for value in targets)
        films.append(Film(record.path, numbers, aspect=record.aspect))
    return films


def films_with_soft_logits(
    records: Sequence[Record], soft: Mapping[str, npt.NDArray[np.float32]]
) -> list[Film]:
    """Return the films with their labels and, by image name, the logits of `soft` beside them."""
    films = []
    for record in records:
        film = Film(record.path, record.labels, aspect=record.aspect)
        if record.image in soft:
            film = replace(film, soft=tuple(logit(soft[record.image]).tolist()))
        films.append(film)
    return films


def class_films(folder: Path) -> tuple[list[Film], tuple[str, ...]]:
    """Return the films and the class names of a folder with one sub-folder per class.

    Raises DataError unless there are at least two sub-folders and an image.
    """
    if not folder.is_dir():
        raise DataError(f"no folder of pre-training images at {folder}")
    names = sorted(child.name for child in folder.iterdir() if child.is_dir())
    films = [
        Film(path, None, category)
        for category, name in enumerate(names)
        for path in sorted((folder / name).rglob("*"))
        if path.suffix.lower() in _SUFFIXES
    ]
    if len(names) < 2 or not films:
        raise DataError(f"{folder} needs at least two sub-folders of images, one per class")
    return films, tuple(names)


class FilmDataset(Dataset[Batch]):
    """A dataset indexed by draws; an item depends on its draw alone, not on the worker."""

    def __init__(
        self, films: Sequence[Film], spec: InputSpec, augmentation: Augmentation | None = None
    ) -> None:
        self._films = films
        self._spec = spec
        self._augmentation = augmentation

    def __len__(self) -> int:
        return len(self._films)

    def __getitem__(self, draw: Draw) -> Batch:
        film = self._films[draw.film]
        image, aspect = read_image(film.path), film.aspect
        rng = None
        if self._augmentation is not None and draw.seed >= 0:
            rng = np.random.default_rng(draw.seed)
            if rng.random() < self._augmentation.squeeze:
                aspect = None
        image = unsqueezed(image, aspect)
        square = Geometry.of(image, self._spec).to_input(image)
        if self._augmentation is not None and rng is not None:
            square = augment(square, rng, self._augmentation)
        targets = film.targets if film.targets is not None else (0.0,) * len(LABELS)
        soft = film.soft if film.soft is not None else (math.nan,) * len(LABELS)
        return Batch(
            torch.from_numpy(normalise(square, self._spec)),
            torch.tensor(targets, dtype=torch.float32),
            torch.tensor(film.targets is not None),
            torch.tensor(film.category),
            torch.tensor(soft, dtype=torch.float32),
        )


@dataclass(frozen=True, slots=True)
class EpochDraws:
    """Films of an epoch: of each group of consecutive films a number, drawn anew each epoch.

    `groups` are pairs (films in the group, films of it in an epoch).
    """

    groups: tuple[tuple[int, int], ...]

    @classmethod
    def of(cls, films: Sequence[Film], share: float, reduced: int = 0, keep: float = 1.0) -> Self:
        """Return all labelled films, and at most the share `share` of films without labels.

        Films without labels are last in `films`. Of the `reduced` last labelled films, an epoch
        has the share `keep`.
        """
        labelled = sum(film.targets is not None for film in films)
        kept = round(reduced * keep)
        fitted = labelled - reduced + kept
        others = min(len(films) - labelled, round(fitted * share / (1 - share)))
        whole = labelled - reduced
        return cls(((whole, whole), (reduced, kept), (len(films) - labelled, others)))

    @property
    def count(self) -> int:
        """Number of films in an epoch."""
        return sum(drawn for _, drawn in self.groups)


class EpochSampler(Sampler[list[Draw]]):
    """The batches of one epoch, from batch `start` on.

    An epoch has the films of `draws` in random order. The order depends on seed and epoch alone,
    so a resumed training continues with the batch at which it was killed.
    """

    def __init__(
        self, draws: EpochDraws, batch_size: int, seed: int, epoch: int, start: int = 0
    ) -> None:
        self._draws, self._batch_size = draws, batch_size
        self._seed, self._epoch, self._start = seed, epoch, start

    def __len__(self) -> int:
        return max(0, self._draws.count // self._batch_size - self._start)

    def __iter__(self) -> Iterator[list[Draw]]:
        rng = np.random.default_rng((self._seed, self._epoch))
        chosen, first = [], 0
        for films, drawn in self._draws.groups:
            chosen.append(first + rng.permutation(films)[:drawn])
            first += films
        order = np.concatenate(chosen)
        rng.shuffle(order)
        seeds = rng.integers(0, 2**62, len(order))
        draws = [Draw(int(index), int(seed)) for index, seed in zip(order, seeds, strict=True)]
        for batch in range(self._start, len(order) // self._batch_size):
            yield draws[batch * self._batch_size : (batch + 1) * self._batch_size]


def training_batches(
    dataset: FilmDataset, sampler: EpochSampler, workers: int
) -> DataLoader[Batch]:
    """Return the augmented batches of one epoch."""
    return DataLoader(dataset, batch_sampler=sampler, num_workers=workers)


def scoring_batches(
    films: Sequence[Film], spec: InputSpec, batch_size: int, workers: int
) -> DataLoader[Batch]:
    """Return batches of every film once, in order and without augmentation."""
    draws = [Draw(index, -1) for index in range(len(films))]
    batches = [draws[i : i + batch_size] for i in range(0, len(draws), batch_size)]
    return DataLoader(FilmDataset(films, spec), batch_sampler=batches, num_workers=workers)
