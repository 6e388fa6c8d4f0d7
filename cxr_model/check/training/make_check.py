"""Trains a picture check, chooses its thresholds, measures it and writes it."""

import hashlib
import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors.numpy import save as save_tensors

from cxr_model.check.appearance import View
from cxr_model.check.card import CheckCard, Thresholds
from cxr_model.check.description import LENGTH, standard
from cxr_model.check.head import Floats
from cxr_model.check.picture_check import CARD_FILE, WEIGHTS_FILE, PictureCheck
from cxr_model.check.training import features
from cxr_model.check.training.choosing import RULES, choose
from cxr_model.check.training.examples import (
    Division,
    Example,
    Part,
    counts,
    read_examples,
)
from cxr_model.check.training.fitting import fit_orientation, fit_view
from cxr_model.check.training.measurement import INTERVALS, Figure, measure, milliseconds
from cxr_model.check.training.mirror_fitting import fit_mirror
from cxr_model.check.training.projection import read_volume
from cxr_model.check.training.variation import varied
from cxr_model.errors import TrainingError
from cxr_model.predict.bundle import write_atomically
from cxr_model.predict.card import timestamp

logger = logging.getLogger(__name__)

Grey = NDArray[np.uint8]
Tensors = dict[str, NDArray[np.generic]]

_UNUSED = Thresholds(0.5, 0.5, 0.5, 0.5, 0.5)
_FEWEST_FRONTALS = 20


@dataclass(frozen=True, slots=True)
class CheckSettings:
    """Pictures and numbers of a training. `most` bounds the frontal films of a source that train.

    `licences` names the licence of a folder, table or volume by the folder's or file's name.
    """

    out: Path
    frontal: Sequence[Path]
    other: Sequence[Path]
    lateral: Sequence[Path] = ()
    volume: Sequence[Path] = ()
    licences: Mapping[str, str] = field(default_factory=dict)
    training_only: frozenset[str] = frozenset()
    name: str = "picture-check"
    held_out: float = 0.25
    validation: float = 0.15
    most: int = 1500
    copies: int = 2
    drawn: int = 1500
    seed: int = 0


@dataclass(frozen=True, slots=True, eq=False)
class _Pool:
    """Examples of one part with their pictures."""

    examples: list[Example]
    pictures: list[Grey]

    def of(self, view: View) -> list[int]:
        return [i for i, example in enumerate(self.examples) if example.view is view]


def train_check(settings: CheckSettings, now: datetime) -> tuple[PictureCheck, list[Figure]]:
    """Train, measure and write a picture check to `settings.out`.

    The result depends on the pictures and the seed only. Raises DataError for unusable folders,
    tables and volumes, TrainingError if a part lacks frontal films or other pictures.
    """
    torch.set_num_threads(1)
    division = Division(
        settings.held_out, settings.validation, settings.seed, settings.training_only
    )
    examples = [
        example
        for paths, view in (
            (settings.frontal, View.FRONTAL),
            (settings.lateral, View.LATERAL),
            (settings.other, View.OTHER),
        )
        for example in read_examples(paths, view, settings.licences, division)
    ]
    volumes = [read_volume(path) for path in settings.volume]
    used = _thinned(examples, settings.most, settings.seed)
    _require(used, volumes)
    train, validation, held_out = (
        _pool(used, part) for part in (Part.TRAIN, Part.VALIDATION, Part.HELD_OUT)
    )
    data = save_tensors(_fit(train, volumes, settings))
    logger.info("fitted to %d pictures", len(train.examples))
    card = CheckCard(
        settings.name,
        "1",
        timestamp(now),
        hashlib.sha256(data).hexdigest(),
        _UNUSED,
        _provenance(settings, used, volumes),
        {},
    )
    check = PictureCheck.from_tensors(card, data)
    check = replace(check, card=replace(card, thresholds=_thresholds(check, validation, settings)))
    figures = measure(check, held_out.examples, held_out.pictures, settings.seed)
    metrics = {
        "part": Part.HELD_OUT.value,
        "intervals": INTERVALS,
        "milliseconds_of_2500_x_2500_pixels": round(milliseconds(check), 1),
        "figures": [figure.to_json() for figure in figures],
    }
    check = replace(check, card=replace(check.card, metrics=metrics))
    settings.out.mkdir(parents=True, exist_ok=True)
    write_atomically(settings.out / WEIGHTS_FILE, data)
    write_atomically(settings.out / CARD_FILE, check.card.to_bytes())
    return check, figures


def _thinned(examples: Sequence[Example], most: int, seed: int) -> list[Example]:
    """Keep at most `most` training films of a source; the rest is unused."""
    rng = np.random.default_rng(seed)
    by_source: dict[str, list[int]] = {}
    for index, example in enumerate(examples):
        if example.part is Part.TRAIN and example.view is View.FRONTAL:
            by_source.setdefault(example.source, []).append(index)
    dropped: set[int] = set()
    for members in by_source.values():
        dropped.update(rng.permutation(members)[most:].tolist())
    return [
        replace(example, part=Part.UNUSED) if index in dropped else example
        for index, example in enumerate(examples)
    ]


def _require(examples: Sequence[Example], volumes: Sequence[Floats]) -> None:
    for part in (Part.TRAIN, Part.VALIDATION, Part.HELD_OUT):
        views = [example.view for example in examples if example.part is part]
        if views.count(View.FRONTAL) < _FEWEST_FRONTALS:
            raise TrainingError(
                f"the {part.value} part has {views.count(View.FRONTAL)} frontal films; "
                f"at least {_FEWEST_FRONTALS} are needed: give more patients with --frontal"
            )
    trains = [example.view for example in examples if example.part is Part.TRAIN]
    if View.OTHER not in trains:
        raise TrainingError("no picture of something else can train: name some with --other")
    if View.LATERAL not in trains and not volumes:
        raise TrainingError(
            "no lateral film can train: name some with --lateral, or a CT volume to project "
            "with --volume"
        )


def _pool(examples: Sequence[Example], part: Part) -> _Pool:
    chosen = [example for example in examples if example.part is part]
    return _Pool(chosen, features.read_small(chosen))


def _fit(train: _Pool, volumes: Sequence[Floats], settings: CheckSettings) -> Tensors:
    rng = np.random.default_rng(settings.seed)
    number, varied_copies = settings.drawn, settings.copies
    frontal = train.of(View.FRONTAL)
    films = [train.pictures[i] for i in frontal]
    laterals = [train.pictures[i] for i in train.of(View.LATERAL)]
    others = [train.pictures[i] for i in train.of(View.OTHER)]
    right = features.standards(films, varied_copies, rng)
    extra = [np.zeros((0, LENGTH), dtype=np.float32)]
    side = (
        [features.described(features.standards(laterals, 2 * varied_copies, rng))]
        if laterals
        else []
    )
    odd = [
        features.described(features.standards(others, varied_copies, rng)),
        features.drawings(number, rng),
        features.broken_films(films, number, rng),
    ]
    if volumes:
        extra.append(features.projected_frontals(volumes, number // 3, rng))
        side.append(features.projected_laterals(volumes, number, rng))
        odd.append(features.volume_cuts(volumes, number // 3, rng))
    logger.info("described %d frontal films", len(right))
    shown = np.concatenate([features.described(right), *extra])
    weights = _weights([train.examples[i].source for i in frontal])
    descriptions = np.concatenate([shown, *side, *odd])
    sizes = (len(shown), sum(map(len, side)), sum(map(len, odd)))
    views = np.repeat(np.arange(3), sizes)
    of_views = np.ones(len(views), dtype=np.float32)
    of_views[: right.shape[0] * right.shape[1]] = np.repeat(weights, right.shape[1])
    mirror = fit_mirror(right, weights, settings.seed)
    logger.info("fitted the mirror network")
    return {
        **fit_orientation(shown, settings.seed).to_tensors("orientation"),
        **mirror.to_tensors(),
        **fit_view(descriptions, views, of_views, settings.seed).to_tensors("view"),
    }


def _weights(sources: Sequence[str]) -> Floats:
    """Return weights (n,) of mean 1 by which the films of a source count as their root number."""
    _, numbers, sizes = np.unique(list(sources), return_inverse=True, return_counts=True)
    weights = 1.0 / np.sqrt(sizes[numbers])
    return np.asarray(weights / weights.mean(), dtype=np.float32)


def _thresholds(check: PictureCheck, validation: _Pool, settings: CheckSettings) -> Thresholds:
    rng = np.random.default_rng(settings.seed + 1)
    chosen = validation.of(View.FRONTAL)
    films, variations = [], []
    for picture in (validation.pictures[i] for i in chosen):
        films.append(check.probabilities(standard(picture)))
        copies = (standard(varied(picture, rng)) for _ in range(settings.copies))
        variations.append([check.probabilities(copy) for copy in copies])
    others = [
        check.probabilities(standard(picture))
        for picture, example in zip(validation.pictures, validation.examples, strict=True)
        if example.view is not View.FRONTAL
    ]
    return choose(films, [validation.examples[i].source for i in chosen], variations, others)


def _provenance(
    settings: CheckSettings, examples: Sequence[Example], volumes: Sequence[Floats]
) -> dict[str, Any]:
    return {
        "pictures": counts(examples),
        "volumes": [
            {"file": path.name, "licence": settings.licences.get(path.name, "not stated")}
            for path in settings.volume
        ],
        "drawn": {
            "pictures that are no film": settings.drawn,
            "films shuffled, doubled or cut": settings.drawn,
            "lateral projections": settings.drawn if volumes else 0,
            "frontal projections and slices, each": settings.drawn // 3 if volumes else 0,
        },
        "variations_per_picture": settings.copies,
        "division": f"by a hash of patient and seed: {settings.held_out:.0%} held out, "
        f"{settings.validation:.0%} for thresholds; non-commercial pictures are measured only",
        "training_only": sorted(settings.training_only),
        "thresholds": RULES,
        "seed": settings.seed,
    }
