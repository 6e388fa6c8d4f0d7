"""Parts of the training loop: optimiser, schedule, weight average, loss, mixup and teachers."""

import math
from collections.abc import Callable, Sequence
from typing import NamedTuple, Self

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from cxr_model.data.films import NO_CLASS, Batch, Film
from cxr_model.errors import TrainingError
from cxr_model.findings import LABELS
from cxr_model.predict.bundle import Bundle
from cxr_model.predict.network import DenseNet121
from cxr_model.predict.transform import InputSpec

_CLASSIFIER_STD = 0.01

# In logits: soft targets of a label that hardly vary are not stretched to noise.
_SMALLEST_SPREAD = 0.1


class Student(nn.Module):
    """The network with an optional second head for the classes of the pre-training films."""

    def __init__(self, network: DenseNet121, classes: int) -> None:
        super().__init__()
        self.network = network
        features = network.classifier.in_features
        self.classes = nn.Linear(features, classes) if classes else None

    def forward(self, images: Tensor) -> tuple[Tensor, Tensor | None]:
        """Return logits (N, 14), and logits (N, classes) or None without a second head."""
        output = self.network(images)
        if self.classes is None:
            return output.logits, None
        return output.logits, self.classes(output.features.mean(dim=(2, 3)))


class Average:
    """Exponential moving average of a network's weights and buffers, with a warm-up."""

    def __init__(self, network: nn.Module, decay: float) -> None:
        self._decay = decay
        self.state = {key: value.detach().clone() for key, value in network.state_dict().items()}

    @torch.no_grad()
    def update(self, network: nn.Module, step: int) -> None:
        """Move the average towards the network after step `step`, counted from 1."""
        decay = min(self._decay, (1 + step) / (10 + step))
        for key, value in network.state_dict().items():
            if value.dtype.is_floating_point:
                self.state[key].lerp_(value, 1 - decay)
            else:
                self.state[key].copy_(value)


def make_optimiser(
    student: nn.Module, learning_rate: float, weight_decay: float
) -> torch.optim.AdamW:
    """Return AdamW with decay of kernels, not of biases and batch norm (Loshchilov & Hutter, 2019).

    The first parameter group has the kernels, the second the vectors.
    """
    kernels = [parameter for parameter in student.parameters() if parameter.ndim > 1]
    vectors = [parameter for parameter in student.parameters() if parameter.ndim <= 1]
    groups = [
        {"params": kernels, "weight_decay": weight_decay},
        {"params": vectors, "weight_decay": 0.0},
    ]
    return torch.optim.AdamW(groups, lr=learning_rate)


def learning_rate_at(step: int, steps: int, peak: float, warmup: float) -> float:
    """Return the rate: linear warm-up over the share `warmup` of the steps, then cosine to 0."""
    rising = max(1, round(warmup * steps))
    if step < rising:
        return peak * (step + 1) / rising
    return peak * 0.5 * (1 + math.cos(math.pi * (step - rising) / max(1, steps - rising)))


def positive_weights(films: Sequence[Film], balance: float) -> Tensor:
    """Return weights (14,) of the positive terms: (negatives / positives) ** balance."""
    prevalence = _prevalence(films)
    return ((1 - prevalence) / prevalence) ** balance


def start_at_prevalence(network: DenseNet121, films: Sequence[Film], balance: float) -> None:
    """Set the classifier's biases so that the untrained network predicts each label's frequency."""
    odds = _prevalence(films) / (1 - _prevalence(films)) * positive_weights(films, balance)
    with torch.no_grad():
        nn.init.normal_(network.classifier.weight, std=_CLASSIFIER_STD)
        network.classifier.bias.copy_(odds.log())


class Mix(NamedTuple):
    """Mixup of a batch: `share` of each film, and for the rest the partner film (N,)."""

    share: float
    partners: Tensor

    def images(self, images: Tensor) -> Tensor:
        """Return the blended pictures, of the same shape."""
        return images.lerp(images[self.partners], 1 - self.share)

    def partner_batch(self, batch: Batch) -> Batch:
        """Return the same pictures with the targets of the partner films."""
        p = self.partners
        return Batch(
            batch.images, batch.targets[p], batch.known[p], batch.classes[p], batch.soft[p]
        )

    def loss(self, loss_of: Callable[[Batch], Tensor], batch: Batch) -> Tensor:
        """Return the loss of both films of each pair, weighted by their share."""
        return self.share * loss_of(batch) + (1 - self.share) * loss_of(self.partner_batch(batch))


def draw_mix(films: int, alpha: float, seed: tuple[int, ...]) -> Mix:
    """Draw the pairs and the share of a batch; the result depends on the seed alone."""
    rng = np.random.default_rng(seed)
    return Mix(float(rng.beta(alpha, alpha)), torch.from_numpy(rng.permutation(films)))


def mixed_loss(
    outputs: tuple[Tensor, Tensor | None],
    batch: Batch,
    mix: Mix | None,
    weights: Tensor,
    class_weight: float,
) -> Tensor:
    """Return `batch_loss`, without a mix or for both films of each pair."""

    def loss_of(one: Batch) -> Tensor:
        return batch_loss(outputs, one, weights, class_weight)

    return loss_of(batch) if mix is None else mix.loss(loss_of, batch)


def batch_loss(
    outputs: tuple[Tensor, Tensor | None], batch: Batch, weights: Tensor, class_weight: float
) -> Tensor:
    """Return the mean binary cross-entropy of labelled films, plus the second head's loss."""
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


class SoftScale(NamedTuple):
    """Mean (14,) and standard deviation (14,) of the soft targets' logits, per label."""

    mean: Tensor
    std: Tensor

    @classmethod
    def of(cls, films: Sequence[Film]) -> Self:
        """Measure the scale. Raises TrainingError unless several films have soft targets."""
        soft = torch.tensor([film.soft for film in films if film.soft is not None])
        if len(soft) < 2:
            raise TrainingError("the soft targets name fewer than two of the training films")
        return cls(soft.mean(dim=0), soft.std(dim=0).clamp(min=_SMALLEST_SPREAD))

    def to(self, device: torch.device) -> "SoftScale":
        """Return the scale on another device."""
        return SoftScale(self.mean.to(device), self.std.to(device))


def soft_logit_loss(logits: Tensor, soft: Tensor, scale: SoftScale) -> Tensor:
    """Return the mean smooth L1 distance of logits (N, 14) and soft logits (N, 14), standardised.

    Standardised, a rare finding weighs as much as a frequent one. Films with NaN do not count.
    """
    known = soft.isfinite().all(dim=1)
    if not known.any():
        return (logits * 0).sum()
    ours, theirs = ((x[known] - scale.mean) / scale.std for x in (logits, soft))
    return functional.smooth_l1_loss(ours, theirs)


def _prevalence(films: Sequence[Film]) -> Tensor:
    targets = torch.tensor([film.targets for film in films if film.targets is not None])
    # One additional positive and negative keep the odds finite.
    return (targets.sum(dim=0) + 1) / (len(targets) + 2)


class Teachers:
    """The mean of several networks; each gets the picture in its own size and scale."""

    def __init__(self, bundles: Sequence[Bundle], student: InputSpec, device: torch.device) -> None:
        self._student = student
        self._teachers = []
        for bundle in bundles:
            network = bundle.network().to(device).to(memory_format=torch.channels_last).eval()
            self._teachers.append((network, bundle.card.input))

    @torch.no_grad()
    def probabilities(self, images: Tensor) -> Tensor:
        """Return mean uncalibrated probabilities (N, 14) for the student's input (N, C, S, S)."""
        grey = images[:, :1] * self._student.std[0] + self._student.mean[0]
        probabilities = [
            torch.sigmoid(network(_as_input(grey, spec)).logits.float())
            for network, spec in self._teachers
        ]
        return torch.stack(probabilities).mean(dim=0)


def _as_input(grey: Tensor, spec: InputSpec) -> Tensor:
    if grey.shape[-1] != spec.size:
        size = (spec.size, spec.size)
        grey = functional.interpolate(grey, size, mode="bilinear", antialias=True)
    mean, std = (grey.new_tensor(values).view(1, -1, 1, 1) for values in (spec.mean, spec.std))
    return ((grey - mean) / std).contiguous(memory_format=torch.channels_last)
