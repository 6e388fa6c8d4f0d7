"""Fits the heads of the picture check to descriptions."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from cxr_model.check.description import LENGTH, copies
from cxr_model.check.head import Floats, Head

VIEWS = 3
_BATCH = 256
_COPIES = 16


@dataclass(frozen=True, slots=True)
class FitSettings:
    """Settings of a fit: hidden units, passes over the films, rate, decay, shares dropped."""

    hidden: int
    passes: int
    rate: float = 2e-3
    decay: float = 0.02
    dropped_inputs: float = 0.1
    dropped_units: float = 0.3


ORIENTATION = FitSettings(hidden=48, passes=4)
VIEW = FitSettings(hidden=48, passes=8)


def fit_orientation(frontals: Floats, seed: int, settings: FitSettings = ORIENTATION) -> Head:
    """Return a head whose one score is highest for the right copy of a frontal film's 16.

    `frontals` are descriptions of upright films, shape (n, LENGTH), right way round.
    """

    def loss(network: nn.Module, batch: NDArray[np.int64], _: np.random.Generator) -> Tensor:
        sixteen = torch.from_numpy(copies(frontals[batch]))
        scores = network(sixteen.reshape(-1, LENGTH)).reshape(-1, _COPIES)
        target = torch.zeros(len(batch), dtype=torch.long)
        return nn.functional.cross_entropy(scores, target, label_smoothing=0.01)

    return _fit(1, len(frontals), loss, settings, seed)


def fit_view(
    descriptions: Floats,
    views: NDArray[np.int64],
    weights: Floats,
    seed: int,
    settings: FitSettings = VIEW,
) -> Head:
    """Return a head of a score per view (frontal 0, lateral 1, other 2).

    Frontal films are shown upright or mirrored, every other picture in any of the 16 ways.
    `weights` (n,) are those of the pictures.
    """

    def loss(network: nn.Module, batch: NDArray[np.int64], rng: np.random.Generator) -> Tensor:
        way = rng.integers(0, _COPIES, len(batch))
        frontal = views[batch] == 0
        way[frontal] = 4 * (rng.random(int(frontal.sum())) < 0.3)
        shown = copies(descriptions[batch])[np.arange(len(batch)), way]
        losses = nn.functional.cross_entropy(
            network(torch.from_numpy(shown)),
            torch.from_numpy(views[batch]),
            label_smoothing=0.01,
            reduction="none",
        )
        return (losses * torch.from_numpy(weights[batch])).mean()

    return _fit(VIEWS, len(descriptions), loss, settings, seed)


def _fit(
    outputs: int,
    films: int,
    loss: Callable[[nn.Module, NDArray[np.int64], np.random.Generator], Tensor],
    settings: FitSettings,
    seed: int,
) -> Head:
    torch.manual_seed(seed)
    rng = np.random.default_rng(seed)
    hidden = nn.Linear(LENGTH, settings.hidden)
    last = nn.Linear(settings.hidden, outputs)
    network = nn.Sequential(
        nn.Dropout(settings.dropped_inputs),
        hidden,
        nn.ReLU(),
        nn.Dropout(settings.dropped_units),
        last,
    )
    optimiser = torch.optim.AdamW(
        network.parameters(), lr=settings.rate, weight_decay=settings.decay
    )
    steps = settings.passes * -(-films // _BATCH)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, settings.rate, total_steps=steps)
    network.train()
    for _ in range(settings.passes):
        order = rng.permutation(films)
        for start in range(0, films, _BATCH):
            optimiser.zero_grad()
            batch = order[start : start + _BATCH]
            torch.autograd.backward(loss(network, batch, rng))
            optimiser.step()
            schedule.step()
    arrays = [p.detach().numpy() for p in (hidden.weight.T, hidden.bias, last.weight.T, last.bias)]
    return Head(*(np.ascontiguousarray(a, dtype=np.float32) for a in arrays))
