"""DenseNet-121 with features and logits from one forward pass.

Huang et al., "Densely Connected Convolutional Networks", CVPR 2017. The layers are torchvision's:
the state dict has torchvision's keys and shapes, and ImageNet weights fit unchanged.
"""

from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional
from torchvision.models import DenseNet

from cxr_model.files.weights import DENSENET_121, FIRST_FEATURES, GROWTH_RATE, Blocks
from cxr_model.findings import LABELS


class NetworkOutput(NamedTuple):
    """``logits`` (N, 14) and ``features`` (N, 1024, h, w) after the last ReLU."""

    logits: Tensor
    features: Tensor


class DenseNet121(nn.Module):
    """torchvision's densenet121 with a logit per label and no sigmoid.

    `channels` is 3 for networks that take the grey image three times (as ImageNet weights expect)
    and 1 for networks trained on one channel. `unused` is the number of further outputs that an
    imported classifier keeps after the 14 labels: a matrix product of another width would round
    the logits differently. Fewer layers in `blocks` make a smaller network, for tests.
    """

    def __init__(self, channels: int = 3, unused: int = 0, blocks: Blocks = DENSENET_121) -> None:
        super().__init__()
        self.blocks = blocks
        layers = DenseNet(GROWTH_RATE, blocks, FIRST_FEATURES, num_classes=len(LABELS) + unused)
        self.features: nn.Sequential = layers.features
        self.classifier: nn.Linear = layers.classifier
        if channels != 3:
            self.features[0] = nn.Conv2d(
                channels, FIRST_FEATURES, 7, stride=2, padding=3, bias=False
            )

    @property
    def channels(self) -> int:
        """Input channels of the first convolution."""
        return int(self.features.get_parameter("conv0.weight").shape[1])

    @property
    def label_weight(self) -> Tensor:
        """Classifier weight of the labels, (14, 1024)."""
        return self.classifier.weight[: len(LABELS)]

    @property
    def label_bias(self) -> Tensor:
        """Classifier bias of the labels, (14,)."""
        return self.classifier.bias[: len(LABELS)]

    def forward(self, x: Tensor) -> NetworkOutput:
        """Map images (N, channels, H, W) to features and to logits of their mean."""
        # Maps add up to the logit only if the features are taken after the ReLU.
        features = functional.relu(self.features(x), inplace=True)
        logits = self.classifier(features.mean(dim=(2, 3)))[:, : len(LABELS)]
        return NetworkOutput(logits, features)


def contributions(features: Tensor, weight: Tensor) -> Tensor:
    """Return each cell's part of each logit, (N, labels, h, w), in one matrix product.

    `features` (N, 1024, h, w) are taken after the last ReLU, `weight` is the classifier's
    (labels, 1024). The mean of a map plus the bias is the logit. The positive part of a map is
    Grad-CAM times h * w (Selvaraju et al., "Grad-CAM", ICCV 2017: with a classifier on pooled
    features it equals Zhou's class activation map).
    """
    return torch.einsum("nfhw,cf->nchw", features, weight)
