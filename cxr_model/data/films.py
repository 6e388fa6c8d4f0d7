"""Datasets of films for training and scoring: decoded, augmented, batched, in a fixed order."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset, Sampler

from cxr_model.data.augmentation import augment
from cxr_model.data.augmentation_settings import Augmentation
from cxr_model.data.chestxray14 import Record
from cxr_model.data.image_file import read_image
from cxr_model.errors import DataError
from cxr_model.findings import LABELS
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
    `classes` (N,): the pre-training class or NO_CLASS.
    """

    images: Tensor
    targets: Tensor
    known: Tensor
    classes: Tensor


@dataclass(frozen=True, slots=True)
class Film:
    """A file with its findings, or with the class of its pre-training folder."""

    path: Path
    targets: tuple[float, ...] | None
    category: int = NO_CLASS


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
        films.append(Film(record.path, tuple(float(value) for value in targets)))
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
        image = read_image(film.path)
        square = Geometry.fit(image.shape[0], image.shape[1], self._spec.size).to_input(image)
        if self._augmentation is not None and draw.seed >= 0:
            square = augment(square, np.random.default_rng(draw.seed), self._augmentation)
        targets = film.targets if film.targets is not None else (0.0,) * len(LABELS)
        return Batch(
            normalise(square, self._spec),
            torch.tensor(targets, dtype=torch.float32),
            torch.tensor(film.targets is not None),
            torch.tensor(film.category),
        )


@dataclass(frozen=True, slots=True)
class EpochDraws:
    """Films of an epoch: the first `labelled` of `total`, and a number of unlabelled films."""

    total: int
    labelled: int
    others: int

    @classmethod
    def of(cls, films: Sequence[Film], share: float) -> "EpochDraws":
        """Return draws of at most `share` films without labels; those are last in `films`."""
        labelled = sum(film.targets is not None for film in films)
        others = min(len(films) - labelled, round(labelled * share / (1 - share)))
        return cls(len(films), labelled, others)

    @property
    def count(self) -> int:
        """Number of films in an epoch."""
        return self.labelled + self.others


class EpochSampler(Sampler[list[Draw]]):
    """The batches of one epoch, from batch `start` on.

    An epoch has each labelled film once and, mixed in, a random choice of the other films, drawn
    anew each epoch. The order depends on seed and epoch alone, so a resumed training continues
    with the batch at which it was killed.
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
        others = rng.permutation(self._draws.total - self._draws.labelled)[: self._draws.others]
        order = np.concatenate([np.arange(self._draws.labelled), self._draws.labelled + others])
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
