"""Optimiser, learning-rate schedule, weight average and loss of the training loop."""

import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from cxr_model.data.films import NO_CLASS, Batch, Film
from cxr_model.findings import LABELS
from cxr_model.predict.bundle import Bundle
from cxr_model.predict.network import FEATURES, DenseNet121
from cxr_model.predict.transform import InputSpec

_CLASSIFIER_STD = 0.01


class Student(nn.Module):
    """The network with, while it pre-trains, a second head for the classes of other films."""

    def __init__(self, network: DenseNet121, classes: int) -> None:
        super().__init__()
        self.network = network
        self.classes = nn.Linear(FEATURES, classes) if classes else None

    def forward(self, images: Tensor) -> tuple[Tensor, Tensor | None]:
        """Logits (N, 14), and logits (N, classes) where there is a second head."""
        output = self.network(images)
        if self.classes is None:
            return output.logits, None
        return output.logits, self.classes(output.features.mean(dim=(2, 3)))


class Average:
    """Exponential moving average of a network's weights and buffers, warmed up over the steps."""

    def __init__(self, network: nn.Module, decay: float) -> None:
        self._decay = decay
        self.state = {key: value.detach().clone() for key, value in network.state_dict().items()}

    @torch.no_grad()
    def update(self, network: nn.Module, step: int) -> None:
        """Move the average towards the network after step number `step` (from 1)."""
        decay = min(self._decay, (1 + step) / (10 + step))
        for key, value in network.state_dict().items():
            if value.dtype.is_floating_point:
                self.state[key].lerp_(value, 1 - decay)
            else:
                self.state[key].copy_(value)


def make_optimiser(
    student: nn.Module, learning_rate: float, weight_decay: float
) -> torch.optim.AdamW:
    """AdamW that decays kernels only: neither biases nor batch norm (Loshchilov & Hutter, 2019)."""
    kernels = [parameter for parameter in student.parameters() if parameter.ndim > 1]
    vectors = [parameter for parameter in student.parameters() if parameter.ndim <= 1]
    groups = [
        {"params": kernels, "weight_decay": weight_decay},
        {"params": vectors, "weight_decay": 0.0},
    ]
    return torch.optim.AdamW(groups, lr=learning_rate)


def learning_rate_at(step: int, steps: int, peak: float, warmup: float) -> float:
    """Linear warm-up over the share `warmup` of the steps, then a cosine to zero."""
    rising = max(1, round(warmup * steps))
    if step < rising:
        return peak * (step + 1) / rising
    return peak * 0.5 * (1 + math.cos(math.pi * (step - rising) / max(1, steps - rising)))


def positive_weights(films: Sequence[Film], balance: float) -> Tensor:
    """(14,) weights (negatives / positives) ** balance of the positive terms of the loss."""
    prevalence = _prevalence(films)
    return ((1 - prevalence) / prevalence) ** balance


def start_at_prevalence(network: DenseNet121, films: Sequence[Film], balance: float) -> None:
    """Set the classifier's biases so that an untrained network predicts each label's frequency."""
    odds = _prevalence(films) / (1 - _prevalence(films)) * positive_weights(films, balance)
    with torch.no_grad():
        nn.init.normal_(network.classifier.weight, std=_CLASSIFIER_STD)
        network.classifier.bias.copy_(odds.log())


class Mix(NamedTuple):
    """A share of each film and, for the rest, another film of the batch."""

    share: float
    partners: Tensor

    def images(self, images: Tensor) -> Tensor:
        """The blended pictures, of the shape given."""
        return images.lerp(images[self.partners], 1 - self.share)

    def partner_batch(self, batch: Batch) -> Batch:
        """The same pictures with what is known of the other film of each pair."""
        p = self.partners
        return Batch(batch.images, batch.targets[p], batch.known[p], batch.classes[p])


def draw_mix(films: int, alpha: float, seed: tuple[int, ...]) -> Mix:
    """Pairs and share of one batch: a function of the seed alone."""
    rng = np.random.default_rng(seed)
    return Mix(float(rng.beta(alpha, alpha)), torch.from_numpy(rng.permutation(films)))


def mixed_loss(
    outputs: tuple[Tensor, Tensor | None],
    batch: Batch,
    mix: Mix | None,
    weights: Tensor,
    class_weight: float,
) -> Tensor:
    """`batch_loss` towards both films of each pair, by their share of the picture."""
    loss = batch_loss(outputs, batch, weights, class_weight)
    if mix is None:
        return loss
    other = batch_loss(outputs, mix.partner_batch(batch), weights, class_weight)
    return mix.share * loss + (1 - mix.share) * other


def batch_loss(
    outputs: tuple[Tensor, Tensor | None], batch: Batch, weights: Tensor, class_weight: float
) -> Tensor:
    """Mean binary cross-entropy over the labelled films, plus that of the second head's classes."""
    logits, class_logits = outputs
    terms = functional.binary_cross_entropy_with_logits(
        logits, batch.targets, pos_weight=weights, reduction="none"
    )
    known = batch.known.to(terms.dtype)[:, None]
    loss = (terms * known).sum() / (known.sum().clamp(min=1) * len(LABELS))
    if class_logits is None:
        return loss
    count = (batch.classes != NO_CLASS).sum().clamp(min=1)
    other = functional.cross_entropy(
        class_logits, batch.classes, ignore_index=NO_CLASS, reduction="sum"
    )
    return loss + class_weight * other / count


def _prevalence(films: Sequence[Film]) -> Tensor:
    targets = torch.tensor([film.targets for film in films if film.targets is not None])
    # One imagined positive and negative film keep a label without any finite.
    return (targets.sum(dim=0) + 1) / (len(targets) + 2)


class Teachers:
    """The mean of several networks, each given the picture in the size and scale it knows."""

    def __init__(self, bundles: Sequence[Bundle], student: InputSpec, device: torch.device) -> None:
        self._student = student
        self._teachers = []
        for bundle in bundles:
            network = bundle.network.to(device).to(memory_format=torch.channels_last).eval()
            self._teachers.append((network, bundle.card.input))

    @torch.no_grad()
    def probabilities(self, images: Tensor) -> Tensor:
        """Mean uncalibrated probabilities (N, 14) for the student's own input (N, C, S, S)."""
        grey = images[:, :1] * self._student.std[0] + self._student.mean[0]
        opinions = []
        for network, spec in self._teachers:
            output = network(_as_input(grey, spec))
            opinions.append(torch.sigmoid(output.logits.float()))
        return torch.stack(opinions).mean(dim=0)


def _as_input(grey: Tensor, spec: InputSpec) -> Tensor:
    if grey.shape[-1] != spec.size:
        size = (spec.size, spec.size)
        grey = functional.interpolate(grey, size, mode="bilinear", antialias=True)
    mean, std = (grey.new_tensor(values).view(1, -1, 1, 1) for values in (spec.mean, spec.std))
    return ((grey - mean) / std).contiguous(memory_format=torch.channels_last)
