"""Reads the weights of a DenseNet from a safetensors file, strictly, as NumPy arrays."""

from collections.abc import Iterator, Mapping
from itertools import chain
from typing import Any

import numpy as np
import numpy.typing as npt
from safetensors import SafetensorError, deserialize

from cxr_model.errors import BundleError
from cxr_model.files.tensor_file import check_header
from cxr_model.findings import LABELS

#: Layers of each of the four dense blocks.
Blocks = tuple[int, int, int, int]
DENSENET_121: Blocks = (6, 12, 24, 16)
GROWTH_RATE, FIRST_FEATURES = 32, 64

#: Weights and statistics by torchvision's names; float32.
Tensors = dict[str, npt.NDArray[np.float32]]

# Features between the two convolutions of a layer, in growth rates (torchvision's `bn_size`).
_BOTTLENECK = 4
# Outputs of a classifier: published ones have 14 or 18, ImageNet's 1,000.
_MOST_OUTPUTS = 1_000
_DTYPES = {"F16": np.float16, "F32": np.float32, "I64": np.int64}


def read_weights(data: bytes, channels: int, blocks: Blocks = DENSENET_121) -> Tensors:
    """Return the tensors of the file `data` in float32, without the counters of batch norm.

    A classifier may keep further outputs after those of the 14 labels. Raises BundleError, in one
    line, unless the file holds exactly the tensors of a DenseNet of `blocks` layers and `channels`
    input channels, all of finite numbers and no variance negative.
    """
    check_header(data)
    try:
        found = {name: _array(entry) for name, entry in deserialize(data)}  # type: ignore[no-untyped-call]
    except (SafetensorError, TypeError, ValueError) as error:
        raise _refusal(str(error)) from error
    outputs = found["classifier.bias"].size if "classifier.bias" in found else len(LABELS)
    if outputs > _MOST_OUTPUTS:
        raise BundleError(f"the weights have {outputs:,} outputs, more than {_MOST_OUTPUTS:,}")
    _check_shapes(dict(tensor_shapes(channels, max(outputs, len(LABELS)), blocks)), found)
    if not all(bool(np.isfinite(array).all()) for array in found.values()):
        raise BundleError("the weights are not all finite numbers")
    for name, array in found.items():
        if name.endswith("running_var") and array.min() < 0:
            raise BundleError(f"the weights have a negative variance in {name}")
    return {name: array for name, array in found.items() if array.ndim}


def tensor_shapes(
    channels: int, outputs: int, blocks: Blocks = DENSENET_121
) -> Iterator[tuple[str, tuple[int, ...]]]:
    """Yield the name and shape of each tensor in torchvision's state dict of a DenseNet."""
    yield "features.conv0.weight", (FIRST_FEATURES, channels, 7, 7)
    yield from _norm("features.norm0", FIRST_FEATURES)
    features, inner = FIRST_FEATURES, _BOTTLENECK * GROWTH_RATE
    for block, layers in enumerate(blocks, 1):
        for layer in range(1, layers + 1):
            name = f"features.denseblock{block}.denselayer{layer}"
            yield from _norm(f"{name}.norm1", features)
            yield f"{name}.conv1.weight", (inner, features, 1, 1)
            yield from _norm(f"{name}.norm2", inner)
            yield f"{name}.conv2.weight", (GROWTH_RATE, inner, 3, 3)
            features += GROWTH_RATE
        if block < len(blocks):
            yield from _norm(f"features.transition{block}.norm", features)
            yield f"features.transition{block}.conv.weight", (features // 2, features, 1, 1)
            features //= 2
    yield from _norm("features.norm5", features)
    yield "classifier.weight", (outputs, features)
    yield "classifier.bias", (outputs,)


def _norm(name: str, features: int) -> Iterator[tuple[str, tuple[int, ...]]]:
    for part in ("weight", "bias", "running_mean", "running_var"):
        yield f"{name}.{part}", (features,)
    yield f"{name}.num_batches_tracked", ()


def _array(entry: Mapping[str, Any]) -> npt.NDArray[np.float32]:
    dtype, shape, data = entry["dtype"], entry["shape"], entry["data"]
    values: npt.NDArray[Any]
    if dtype == "BF16":
        # The upper half of a float32.
        values = (np.frombuffer(data, np.uint16).astype(np.uint32) << 16).view(np.float32)
    else:
        values = np.frombuffer(data, _DTYPES[dtype])
    return np.asarray(values.reshape(shape), dtype=np.float32)


def _check_shapes(
    expected: Mapping[str, tuple[int, ...]], found: Mapping[str, npt.NDArray[np.float32]]
) -> None:
    for name in chain(expected, found):
        if name not in found:
            raise _refusal(f"{name} is missing")
        if name not in expected:
            raise _refusal(f"{name!r} is none of its tensors")
        if found[name].shape != expected[name]:
            raise _refusal(f"{name} has shape {found[name].shape}, not {expected[name]}")


def _refusal(reason: str) -> BundleError:
    return BundleError(f"the weights are not a DenseNet-121 of 14 labels: {reason}")
