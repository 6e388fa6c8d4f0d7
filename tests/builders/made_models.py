"""Random networks and bundles."""

from pathlib import Path
from typing import Any

import torch

from cxr_model.findings import LABELS
from cxr_model.predict.bundle import Bundle
from cxr_model.predict.card import Card
from cxr_model.predict.network import DenseNet121
from cxr_model.predict.transform import InputSpec

SLOPE, INTERCEPT = 0.5, -1.0

PLATT = {"method": "platt", "slope": SLOPE, "intercept": INTERCEPT}


def random_network(channels: int = 3, seed: int = 0) -> DenseNet121:
    """Return a network in eval mode whose logits differ visibly between images."""
    torch.manual_seed(seed)
    network = DenseNet121(channels=channels)
    torch.nn.init.normal_(network.classifier.weight, std=0.5)
    torch.nn.init.normal_(network.classifier.bias)
    return network.eval()


def random_bundle(
    size: int = 64, *, calibrator: dict[str, Any] | None = None, seed: int = 0
) -> Bundle:
    """Return a bundle of `random_network`: labels calibrated alike, thresholds of 0.3."""
    card = Card(
        name="random",
        version="1",
        created="2024-01-01T00:00:00+00:00",
        intended_use="tests",
        input=InputSpec(size),
        thresholds=dict.fromkeys(LABELS, 0.3),
        operating_point={},
        calibrators=dict.fromkeys(LABELS, calibrator or PLATT),
        map_scales=dict.fromkeys(LABELS, 2.0),
        provenance={},
        metrics={},
    )
    return Bundle.build(random_network(seed=seed), card)


def build_bundle(folder: Path, version: str = "1") -> None:
    torch.manual_seed(7)
    network = DenseNet121()
    card = Card(
        name="random",
        version=version,
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
    Bundle.build(network, card).save(folder)
