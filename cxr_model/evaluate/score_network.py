"""Runs a network over many films and returns logits, labels and maps."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from torch.nn import functional

from cxr_model.data.chestxray14 import Record
from cxr_model.data.films import labelled_films, scoring_batches
from cxr_model.evaluate.metrics import auc
from cxr_model.predict.network import DenseNet121, contributions
from cxr_model.predict.transform import InputSpec


@dataclass(frozen=True, slots=True, eq=False)
class Scored:
    """Outputs of a network for N films, with their labels.

    `logits` (N, 14) float64, `targets` (N, 14) float64, `maps` (N, 14, h, w) float32 of
    contributions per cell.
    """

    logits: npt.NDArray[np.float64]
    targets: npt.NDArray[np.float64]
    maps: npt.NDArray[np.float32]

    @property
    def loss(self) -> float:
        """Mean binary cross-entropy of the uncalibrated logits."""
        logits, targets = torch.from_numpy(self.logits), torch.from_numpy(self.targets)
        return float(functional.binary_cross_entropy_with_logits(logits, targets))

    @property
    def mean_auc(self) -> float:
        """Mean AUC over the labels with positives and negatives; 0.5 if there is no such label."""
        aucs = [auc(x, y) for x, y in zip(self.logits.T, self.targets.T, strict=True)]
        defined = [value for value in aucs if np.isfinite(value)]
        return float(np.mean(defined)) if defined else 0.5


@torch.inference_mode()
def score(
    network: DenseNet121,
    records: Sequence[Record],
    spec: InputSpec,
    *,
    batch_size: int = 32,
    workers: int = 0,
) -> Scored:
    """Run the network in eval mode, on its device, over `records` without augmentation."""
    network.eval()
    device = network.classifier.weight.device
    logits, maps = [], []
    for batch in scoring_batches(labelled_films(records), spec, batch_size, workers):
        images = batch.images.to(device).contiguous(memory_format=torch.channels_last)
        output = network(images)
        logits.append(output.logits.double().cpu())
        maps.append(contributions(output.features, network.label_weight).float().cpu())
    return Scored(
        logits=torch.cat(logits).numpy(),
        targets=np.asarray([record.labels for record in records], dtype=np.float64),
        maps=torch.cat(maps).numpy(),
    )
