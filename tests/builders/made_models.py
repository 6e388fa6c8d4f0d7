"""Random networks and bundles."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from cxr_model.files.weights import Blocks
from cxr_model.findings import LABELS
from cxr_model.predict.bundle import Bundle
from cxr_model.predict.card import Card
from cxr_model.predict.network import DenseNet121
from cxr_model.predict.transform import InputSpec, network_input, normalise
from cxr_model.reference_film import reference_film

SLOPE, INTERCEPT = 0.5, -1.0
PLATT = {"method": "platt", "slope": SLOPE, "intercept": INTERCEPT}

#: A network with a layer per block is fast; all else in it is as in DenseNet-121.
NARROW: Blocks = (1, 1, 1, 1)


def made_card(**changes: Any) -> Card:
    """Return a card without calibration and with thresholds of one half, but for `changes`."""
    card = Card(
        name="random",
        version="1",
        created="2026-01-01T00:00:00+00:00",
        intended_use="For tests only.",
        input=InputSpec(64),
        thresholds=dict.fromkeys(LABELS, 0.5),
        operating_point={"description": "one half"},
        calibrators={label: {"method": "identity"} for label in LABELS},
        map_scales=dict.fromkeys(LABELS, 1.0),
        provenance={},
        metrics={},
    )
    return replace(card, **changes)


def random_network(channels: int = 3, seed: int = 0, blocks: Blocks = NARROW) -> DenseNet121:
    """Return a network in eval mode whose logits differ visibly between images."""
    torch.manual_seed(seed)
    network = DenseNet121(channels, blocks=blocks)
    torch.nn.init.normal_(network.classifier.weight, std=0.5)
    torch.nn.init.normal_(network.classifier.bias)
    return network.eval()


def as_tensor(image: npt.NDArray[np.uint8], spec: InputSpec) -> torch.Tensor:
    """Return the input of a torch network for an image, float32 (channels, size, size)."""
    return as_channels(network_input(image, spec).square, spec)


def as_channels(square: npt.NDArray[np.uint8], spec: InputSpec) -> torch.Tensor:
    """Return the input of a torch network for a grey square, float32 (channels, size, size)."""
    return torch.from_numpy(normalise(square, spec))


def random_bundle(*, calibrator: dict[str, Any] | None = None, seed: int = 0) -> Bundle:
    """Return a bundle of `random_network`, all labels calibrated alike, thresholds at 0.3."""
    card = made_card(
        thresholds=dict.fromkeys(LABELS, 0.3),
        calibrators=dict.fromkeys(LABELS, calibrator or PLATT),
        map_scales=dict.fromkeys(LABELS, 2.0),
    )
    return Bundle.build(random_network(seed=seed), card)


def build_bundle(folder: Path, version: str = "1") -> None:
    """Write a bundle of a DenseNet-121 that finds about half of the labels in any image."""
    torch.manual_seed(7)
    Bundle.build(DenseNet121(), made_card(version=version)).save(folder)


def build_failing_bundle(folder: Path, pixels: npt.NDArray[np.uint8]) -> None:
    """Write a bundle that gives no result for the upright film `pixels`, uint8 (rows, cols).

    A feature that the film has and the reference film lacks has a weight of 1e20.
    """
    torch.manual_seed(7)
    network, card = DenseNet121().eval(), made_card()
    with torch.inference_mode():
        lacking, having = (
            network(as_tensor(image, card.input)[None]).features[0].mean(dim=(1, 2))
            for image in (reference_film(), pixels)
        )
        feature = int(torch.where(lacking == 0, having, -1.0).argmax())
        network.classifier.weight[4, feature] = 1e20
    Bundle.build(network, card, dtype="float32").save(folder)
