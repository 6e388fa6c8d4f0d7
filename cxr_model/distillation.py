"""Teachers: bundles whose opinion of the very pictures a student sees is learnt along."""

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn import functional

from cxr_model.bundle import Bundle
from cxr_model.transform import InputSpec


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
