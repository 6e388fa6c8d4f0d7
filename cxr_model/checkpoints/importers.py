"""Imports published DenseNet-121 checkpoints as bundles; every key must fit.

Known layouts: torchxrayvision's networks of 18 outputs on one channel; the CheXNet
reproductions of arnoweng and zoogzog (``*.pth.tar``) and of jrzech (a pickled module); plain
torchvision state dicts of 14 outputs, assumed to be in the order of `LABELS`.
"""

import hashlib
import math
import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import datetime
from enum import StrEnum
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from cxr_model.checkpoints.unpickling import LARGEST_CHECKPOINT, ModuleShell, parse_checkpoint
from cxr_model.errors import BundleError, CheckpointError
from cxr_model.files.regular_file import read_regular
from cxr_model.files.strict_json import shown, shown_name
from cxr_model.findings import LABELS
from cxr_model.predict.bundle import Bundle
from cxr_model.predict.card import Card, timestamp
from cxr_model.predict.network import DenseNet121
from cxr_model.predict.transform import InputSpec

#: The outputs of torchxrayvision's networks (Cohen et al., "TorchXRayVision", MIDL 2022).
TORCHXRAYVISION_LABELS = (
    "Atelectasis",
    "Consolidation",
    "Infiltration",
    "Pneumothorax",
    "Edema",
    "Emphysema",
    "Fibrosis",
    "Effusion",
    "Pneumonia",
    "Pleural_Thickening",
    "Cardiomegaly",
    "Nodule",
    "Mass",
    "Hernia",
    "Lung Lesion",
    "Fracture",
    "Lung Opacity",
    "Enlarged Cardiomediastinum",
)

INTENDED_USE = "Research use only; not a medical device. Imported and not evaluated here."

_OLD_LAYER = re.compile(r"(denselayer\d+)\.(norm|conv)\.([12])\.")
_COUNTER = "num_batches_tracked"
_REAL = frozenset({torch.float16, torch.bfloat16, torch.float32, torch.float64})
_MOST_NESTED = 4
_DEFAULT_THRESHOLD = 0.5


class Layout(StrEnum):
    """Layout of a checkpoint's input and outputs, from the shapes of first and last layer."""

    TORCHXRAYVISION = "torchxrayvision"
    NIH14 = "nih14"


# (grey in [0, 1] - 1/2) / (1/2048) is torchxrayvision's range of -1024 to 1024.
_INPUTS = {
    Layout.TORCHXRAYVISION: InputSpec(224, mean=(0.5,), std=(1 / 2048,)),
    Layout.NIH14: InputSpec(224),
}


@dataclass(frozen=True, slots=True, eq=False)
class Imported:
    """A checkpoint's network; its first 14 outputs are in NIH order."""

    network: DenseNet121
    layout: Layout
    sha256: str
    thresholds: Mapping[str, float]


def import_bundle(
    path: Path,
    *,
    name: str,
    version: str,
    now: datetime,
    allow_modules: bool = False,
    sha256: str | None = None,
    thresholds: Mapping[str, float] | None = None,
) -> Bundle:
    """Make a bundle of the checkpoint at `path`; its logits are those of the original network.

    `allow_modules` admits pickled modules; their code is not run. `sha256`, if given, must be that
    of the file. `thresholds`, per label, are published ones for a checkpoint without thresholds.
    The bundle is not calibrated. Raises CheckpointError if the file has another sha256, cannot be
    read without running code, or has a missing, unexpected or misshapen key.
    """
    imported = import_network(path, allow_modules=allow_modules, sha256=sha256)
    if thresholds is not None:
        imported = replace(imported, thresholds=dict(thresholds))
    card = Card(
        name=name,
        version=version,
        created=timestamp(now),
        intended_use=INTENDED_USE,
        input=_INPUTS[imported.layout],
        thresholds=imported.thresholds,
        operating_point={
            "rule": "those published with the checkpoint where there are any, else 0.5",
            "description": "not chosen on data; calibrate the bundle and choose thresholds",
        },
        calibrators={label: {"method": "identity"} for label in LABELS},
        map_scales=_map_scales(imported),
        provenance={
            "imported_from": path.name,
            "layout": imported.layout.value,
            "sha256": imported.sha256,
        },
        metrics={},
    )
    try:
        return Bundle.build(imported.network, card, dtype="float32")
    except BundleError as error:
        raise CheckpointError(f"{path} gives no bundle: {error}") from error


def import_network(
    path: Path, *, allow_modules: bool = False, sha256: str | None = None
) -> Imported:
    """Read the checkpoint at `path` into a network. Arguments and errors as `import_bundle`."""
    data = read_regular(path, LARGEST_CHECKPOINT, CheckpointError)
    digest = hashlib.sha256(data).hexdigest()
    if sha256 is not None and digest != sha256.lower():
        raise CheckpointError(f"{path} has sha256 {digest}, not {sha256}")
    content = parse_checkpoint(path, data, allow_modules=allow_modules)
    try:
        state, op_thresholds = _state(content)
        return _fill(torchvision_keys(state), op_thresholds, digest)
    except CheckpointError as error:
        raise CheckpointError(f"{path}: {error}") from error


def torchvision_keys(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Rename the keys of the known layouts to torchvision's present ones.

    Removes ``module.`` and ``densenet121.``, renames ``norm.1`` to ``norm1`` and ``classifier.0``
    to ``classifier``, and adds the counters that torch before 0.4.1 did not have. Raises
    CheckpointError if two keys become one.
    """
    renamed: dict[str, Tensor] = {}
    for key, value in _without_prefixes(state).items():
        new = _OLD_LAYER.sub(r"\1.\2\3.", key)
        new = re.sub(r"^classifier\.0\.", "classifier.", new)
        if new in renamed:
            raise CheckpointError(f"two keys become {new}")
        renamed[new] = value
    if not any(key.endswith(_COUNTER) for key in renamed):
        means = [key for key in renamed if key.endswith("running_mean")]
        for key in means:
            renamed[key.replace("running_mean", _COUNTER)] = torch.zeros((), dtype=torch.int64)
    return renamed


def _without_prefixes(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    stripped = dict(state)
    for prefix in ("module.", "densenet121.", "module."):
        if stripped and all(key.startswith(prefix) for key in stripped):
            stripped = {key.removeprefix(prefix): value for key, value in stripped.items()}
    return stripped


def _state(content: Any) -> tuple[dict[str, Tensor], Any]:
    """Return the tensors by name, and torchxrayvision's operating thresholds or None."""
    for _ in range(_MOST_NESTED):
        if not isinstance(content, Mapping):
            break
        nested = [content.get(key) for key in ("state_dict", "model")]
        inner = [value for value in nested if isinstance(value, Mapping | ModuleShell)]
        if not inner:
            break
        content = inner[0]
    if isinstance(content, ModuleShell):
        state = dict(content.tensors())
        op_thresholds = state.pop("op_threshs", content.attribute("op_threshs"))
        return _real(state), op_thresholds
    if not isinstance(content, Mapping) or not content:
        raise CheckpointError(f"a state dict was expected, found {type(content).__name__}")
    for key, value in content.items():
        if not isinstance(key, str) or not isinstance(value, Tensor):
            raise CheckpointError(f"{shown(key)} holds {type(value).__name__}, not a tensor")
    state = dict(content)
    op_thresholds = state.pop("op_threshs", None)
    return _real(state), op_thresholds


def _real(state: dict[str, Tensor]) -> dict[str, Tensor]:
    """Return the tensors. Raises CheckpointError for one that is not of real numbers."""
    for key, value in state.items():
        if value.dtype not in _REAL and not key.endswith(_COUNTER):
            raise CheckpointError(f"{shown_name(key)} is {value.dtype}, not of real numbers")
    return state


def _fill(state: dict[str, Tensor], op_thresholds: Any, digest: str) -> Imported:
    layout = _layout(state)
    thresholds = dict.fromkeys(LABELS, _DEFAULT_THRESHOLD)
    outputs = state["classifier.weight"].shape[0]
    network = DenseNet121(_INPUTS[layout].channels, unused=outputs - len(LABELS))
    # Before any number is copied: a small file may claim a shape of any size.
    _check_keys(network.state_dict(), state)
    if layout is Layout.TORCHXRAYVISION:
        thresholds |= _operating_thresholds(op_thresholds)
        # The labels first, in NIH order, then the unused outputs.
        others = [name for name in TORCHXRAYVISION_LABELS if name not in LABELS]
        rows = [TORCHXRAYVISION_LABELS.index(name) for name in (*LABELS, *others)]
        for key in ("classifier.weight", "classifier.bias"):
            state[key] = state[key][rows]
    network.load_state_dict(state, strict=True)
    return Imported(network.eval(), layout, digest, thresholds)


def _layout(state: Mapping[str, Tensor]) -> Layout:
    first, last = state.get("features.conv0.weight"), state.get("classifier.weight")
    if first is None or last is None:
        missing = "features.conv0.weight" if first is None else "classifier.weight"
        found = next(iter(state), "no key at all")
        raise CheckpointError(f"missing key {missing}; the first key here is {shown_name(found)}")
    channels = first.shape[1] if first.ndim == 4 else 0
    outputs = last.shape[0] if last.ndim == 2 else 0
    if (channels, outputs) == (1, len(TORCHXRAYVISION_LABELS)):
        return Layout.TORCHXRAYVISION
    if (channels, outputs) == (3, len(LABELS)):
        return Layout.NIH14
    raise CheckpointError(
        f"no known layout has {channels} input channels and {outputs} outputs: "
        "known are 1 and 18 (torchxrayvision), 3 and 14 (NIH ChestX-ray14)"
    )


def _check_keys(expected: Mapping[str, Tensor], found: Mapping[str, Tensor]) -> None:
    missing, extra = sorted(set(expected) - set(found)), sorted(set(found) - set(expected))
    if missing:
        raise CheckpointError(f"missing key {missing[0]} ({len(missing)} in all)")
    if extra:
        raise CheckpointError(f"unexpected key {shown_name(extra[0])} ({len(extra)} in all)")
    for key, tensor in expected.items():
        if found[key].shape != tensor.shape:
            raise CheckpointError(
                f"{key} has shape {tuple(found[key].shape)}, not {tuple(tensor.shape)}"
            )


def _operating_thresholds(values: Any) -> dict[str, float]:
    """Return torchxrayvision's own thresholds per label; NaN marks an untrained output."""
    if values is None:
        return {}
    outputs = len(TORCHXRAYVISION_LABELS)
    if not isinstance(values, Tensor) or values.numel() != outputs:
        raise CheckpointError(f"op_threshs has another number of values than {outputs} outputs")
    numbers = values.double().flatten().tolist()
    named = dict(zip(TORCHXRAYVISION_LABELS, numbers, strict=True))
    untrained = [label for label in LABELS if math.isnan(named[label])]
    if untrained:
        raise CheckpointError(f"the network was not trained for {', '.join(untrained)}")
    return {label: named[label] for label in LABELS}


def _map_scales(imported: Imported) -> dict[str, float]:
    """Return twice the logit per cell that brings a film to its threshold, and at least 2.

    Without films, the weights give no better scale.
    """
    bias = imported.network.label_bias.detach().double().tolist()
    scales = {}
    for label, offset in zip(LABELS, bias, strict=True):
        threshold = min(max(imported.thresholds[label], 1e-6), 1 - 1e-6)
        needed = math.log(threshold / (1 - threshold)) - offset
        scales[label] = 2.0 * max(1.0, needed)
    return scales
