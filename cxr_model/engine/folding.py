"""Folds the steps around the convolutions of a DenseNet into their weights, in NumPy.

In evaluation, batch norm is an affine map of each feature (Ioffe and Szegedy, 2015, algorithm 2).
After a convolution it is a part of the convolution's weights. The normalisation of the input and
its repetition over the channels are linear, too, and are folded into the first convolution.
"""

from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from cxr_model.files.weights import Tensors
from cxr_model.predict.transform import InputSpec

#: Epsilon of torchvision's batch norm.
_EPSILON = 1e-5
_GREYS = 255.0

Array = npt.NDArray[np.float32]
_Array = npt.NDArray[np.float64]


class Affine(NamedTuple):
    """Batch norm as `scale` times the feature plus `shift`, both (features,)."""

    scale: Array
    shift: Array


class FirstLayer(NamedTuple):
    """The first convolution and its batch norm, for one channel of grey values from 0 to 255.

    `kernel` (64, 1, 7, 7), and `shift` (64, rows, cols), which is added to the result. The shift
    is smaller at the border: the padding there is the mean grey of each channel, not black.
    """

    kernel: Array
    shift: Array


def affine(tensors: Tensors, name: str) -> Affine:
    """Return the batch norm `name`."""
    scale, shift = _affine(tensors, name)
    return Affine(_single(scale), _single(shift))


def convolution(tensors: Tensors, name: str, norm: str) -> tuple[Array, Array]:
    """Return kernel (outputs, inputs, h, w) and bias of convolution `name` with `norm` after it."""
    scale, shift = _affine(tensors, norm)
    kernel = tensors[f"{name}.weight"].astype(np.float64)
    return _single(kernel * scale[:, None, None, None]), _single(shift)


def first_layer(tensors: Tensors, spec: InputSpec) -> FirstLayer:
    """Return the first layer for grey squares (1, `spec.size`, `spec.size`) that are not scaled."""
    scale, shift = _affine(tensors, "features.norm0")
    kernel = tensors["features.conv0.weight"].astype(np.float64) * scale[:, None, None, None]
    mean, std = (np.asarray(values, np.float64) for values in (spec.mean, spec.std))
    inside = _inside(spec.size)
    constant = np.einsum("ocij,c->oij", kernel, -mean / std)
    # The constant part counts only for the cells of the kernel that lie on the square.
    border = np.einsum("yi,xj,oij->oyx", inside, inside, constant)
    grey = np.einsum("ocij,c->oij", kernel, 1 / (std * _GREYS))
    return FirstLayer(_single(grey[:, None]), _single(border + shift[:, None, None]))


def _affine(tensors: Tensors, name: str) -> tuple[_Array, _Array]:
    weight, bias, mean, variance = (
        tensors[f"{name}.{part}"].astype(np.float64)
        for part in ("weight", "bias", "running_mean", "running_var")
    )
    scale = weight / np.sqrt(variance + _EPSILON)
    return scale, bias - mean * scale


def _inside(size: int) -> _Array:
    """Return 1 where cell j of the kernel at output i lies on the square: (outputs, 7)."""
    starts = np.arange(-3, size - 3, 2)[:, None] + np.arange(7)[None]
    return ((starts >= 0) & (starts < size)).astype(np.float64)


def _single(values: _Array) -> Array:
    return np.ascontiguousarray(values, dtype=np.float32)
