"""DenseNet-121 that gives features and logits in one forward pass.

Huang et al., "Densely Connected Convolutional Networks", CVPR 2017. The layers are torchvision's,
so the state dict has torchvision's keys and shapes and ImageNet weights fit as they are.
"""

from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional
from torchvision.models import densenet121

from cxr_model.findings import LABELS

FEATURES = 1024

STRIDE = 32


class NetworkOutput(NamedTuple):
    """``logits`` (N, labels) and ``features`` (N, 1024, h, w), taken after the last ReLU."""

    logits: Tensor
    features: Tensor


class DenseNet121(nn.Module):
    """torchvision's densenet121 with `labels` logits and no sigmoid.

    `channels` is 3 for networks that take the grey image three times (as ImageNet weights expect)
    and 1 for networks trained on one channel. `unused` is how many outputs after the labels' the
    classifier has kept from where it was trained: a matrix product of another width would round
    the labels' logits otherwise.
    """

    def __init__(self, labels: int = len(LABELS), channels: int = 3, unused: int = 0) -> None:
        super().__init__()
        self.labels = labels
        layers = densenet121(weights=None, num_classes=labels + unused)
        self.features: nn.Sequential = layers.features
        self.classifier: nn.Linear = layers.classifier
        if channels != 3:
            self.features[0] = nn.Conv2d(channels, 64, 7, stride=2, padding=3, bias=False)

    @property
    def channels(self) -> int:
        """How many input channels the first convolution takes."""
        return int(self.features.get_parameter("conv0.weight").shape[1])

    @property
    def label_weight(self) -> Tensor:
        """The classifier's weight of the labels, (labels, 1024)."""
        return self.classifier.weight[: self.labels]

    @property
    def label_bias(self) -> Tensor:
        """The classifier's bias of the labels, (labels,)."""
        return self.classifier.bias[: self.labels]

    def forward(self, x: Tensor) -> NetworkOutput:
        """Map images (N, channels, H, W) to logits and the features they are the mean of."""
        # The ReLU belongs to the features: maps taken before it do not add up to the logit.
        features = functional.relu(self.features(x), inplace=True)
        logits = self.classifier(features.mean(dim=(2, 3)))[:, : self.labels]
        return NetworkOutput(logits, features)


def contributions(features: Tensor, weight: Tensor) -> Tensor:
    """Each cell's part of each logit: (N, labels, h, w) from (N, 1024, h, w) and W (labels, 1024).

    The mean over the cells plus the classifier's bias is the logit; the ReLU of it is Grad-CAM
    up to a constant (Selvaraju et al., 2017, appendix A: CAM is a special case).
    """
    return torch.einsum("nfhw,cf->nchw", features, weight)
