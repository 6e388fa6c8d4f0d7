"""Fits the network that tells an upright frontal film from its mirror image."""

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from cxr_model.check.description import SIDE
from cxr_model.check.head import Floats
from cxr_model.check.mirror_network import GRID, LAYERS, MirrorNetwork


@dataclass(frozen=True, slots=True)
class MirrorSettings:
    """Channels of the layers, passes over the films, rate, decay and share dropped of a fit."""

    channels: tuple[int, ...] = (16, 32, 32, 64, 64, 96, 96)
    reduced: int = 16
    passes: int = 20
    batch: int = 64
    rate: float = 3e-3
    decay: float = 0.05
    dropped: float = 0.4


class _Network(nn.Module):
    """The layers of `MirrorNetwork` with batch normalisation; its output is one score a film."""

    def __init__(self, settings: MirrorSettings) -> None:
        super().__init__()
        sizes = (1, *settings.channels)
        self.convolutions = nn.ModuleList(
            nn.Conv2d(inputs, outputs, 3, layer.stride, 1, bias=False)
            for layer, inputs, outputs in zip(LAYERS, sizes[:-1], sizes[1:], strict=True)
        )
        self.normals = nn.ModuleList(nn.BatchNorm2d(outputs) for outputs in sizes[1:])
        self.last = nn.Conv2d(sizes[-1], settings.reduced, 1)
        self.dropout = nn.Dropout(settings.dropped)
        self.final = nn.Linear(settings.reduced * GRID * GRID, 1, bias=False)

    def forward(self, films: Tensor) -> Tensor:
        values = films
        for layer, convolution, normal in zip(LAYERS, self.convolutions, self.normals, strict=True):
            result = functional.relu(normal(convolution(values)))
            values = values + result if layer.is_residual else result
        flat = functional.relu(self.last(values)).permute(0, 2, 3, 1).flatten(1)
        return torch.as_tensor(self.final(self.dropout(flat))[:, 0])


def fit_mirror(
    films: Floats,
    weights: Floats,
    seed: int,
    settings: MirrorSettings | None = None,
) -> MirrorNetwork:
    """Return a network whose score is lower for an upright frontal film than for its mirror image.

    `films` are standard pictures in several variations, shape (films, variations, SIDE, SIDE);
    `weights` (films,) are those of the films.
    """
    chosen = settings or MirrorSettings()
    torch.manual_seed(seed)
    rng = np.random.default_rng(seed)
    network = _Network(chosen).to(memory_format=torch.channels_last)
    pictures, shares = torch.from_numpy(films), torch.from_numpy(weights)
    optimiser = torch.optim.AdamW(network.parameters(), lr=chosen.rate, weight_decay=chosen.decay)
    batches = max(1, len(films) // chosen.batch)
    schedule = torch.optim.lr_scheduler.OneCycleLR(
        optimiser, chosen.rate, total_steps=chosen.passes * batches, pct_start=0.15
    )
    network.train()
    for _ in range(chosen.passes):
        for members in np.array_split(rng.permutation(len(films)), batches):
            variation = rng.integers(films.shape[1], size=len(members))
            shown = _moved(pictures[members, variation])
            loss = (_losses(network, shown) * shares[members]).mean()
            optimiser.zero_grad()
            torch.autograd.backward(loss)
            optimiser.step()
            schedule.step()
    return _folded(network.eval())


def _losses(network: nn.Module, films: Tensor) -> Tensor:
    """Return the losses of films (n, 1, SIDE, SIDE), each against its mirror image."""
    both = torch.cat([films, films.flip(3)]).contiguous(memory_format=torch.channels_last)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        scores = network(both)
    mirrored, upright = scores.float()[len(films) :], scores.float()[: len(films)]
    odds: Tensor = mirrored - upright
    return functional.softplus(-odds).add(odds**2, alpha=0.001)


def _moved(films: Tensor) -> Tensor:
    """Return copies (n, 1, SIDE, SIDE) moved, turned, stretched, of other contrast, with gaps."""
    number = len(films)
    shown = films.unsqueeze(1)
    angle = torch.randn(number) * 0.08
    scale, stretch = torch.exp(torch.randn(2, number) * 0.06)
    place = torch.zeros(number, 2, 3)
    place[:, 0, 0] = angle.cos() * scale * stretch
    place[:, 0, 1] = -angle.sin() * scale
    place[:, 1, 0] = angle.sin() * scale
    place[:, 1, 1] = angle.cos() * scale / stretch
    place[:, :, 2] = torch.randn(number, 2) * 0.06
    shown = functional.grid_sample(
        shown,
        functional.affine_grid(place, list(shown.shape), align_corners=False),
        padding_mode="border" if torch.rand(1) < 0.5 else "zeros",
        align_corners=False,
    )
    one = (number, 1, 1, 1)
    bend, contrast, offset = torch.randn(3, *one) * torch.tensor([0.3, 0.15, 0.1]).view(
        3, 1, 1, 1, 1
    )
    shown = shown * torch.exp(contrast) + offset + bend * (shown**2 - 0.4)
    line = torch.linspace(0.0, 1.0, SIDE)
    for _ in range(2):
        row, column = torch.rand(2, *one)
        size = torch.rand(*one) * 0.16
        inside = ((line.view(-1, 1) - row).abs() < size) & ((line - column).abs() < size)
        shown = shown.masked_fill(inside, 0.0)
    grain = 0.1 if torch.rand(1) < 0.3 else 0.0
    grainy: Tensor = shown + grain * torch.randn_like(shown)
    return grainy


def _folded(network: _Network) -> MirrorNetwork:
    """Return the weights with the batch normalisation taken into kernels and biases."""
    found = network.state_dict()
    kernels, biases = [], []
    for number in range(len(LAYERS)):
        normal = {
            part: found[f"normals.{number}.{part}"]
            for part in ("weight", "bias", "running_mean", "running_var")
        }
        factor = normal["weight"] / torch.sqrt(normal["running_var"] + nn.BatchNorm2d(1).eps)
        weight = found[f"convolutions.{number}.weight"] * factor.view(-1, 1, 1, 1)
        kernels.append(weight.permute(2, 3, 1, 0).flatten(0, 2))
        biases.append(normal["bias"] - normal["running_mean"] * factor)
    kernels.append(found["last.weight"][:, :, 0, 0].T)
    biases.append(found["last.bias"])
    return MirrorNetwork(
        tuple(_array(kernel) for kernel in kernels),
        tuple(_array(bias) for bias in biases),
        _array(found["final.weight"][0]),
    )


def _array(values: Tensor) -> Floats:
    return np.ascontiguousarray(values.detach().numpy(), dtype=np.float32)
