"""A small convolutional network that tells an upright film from its mirror image, in NumPy."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Self

import numpy as np
from numpy.typing import NDArray

from cxr_model.check.description import SIDE, Floats
from cxr_model.errors import BundleError


@dataclass(frozen=True, slots=True)
class Layer:
    """A convolution of 3 x 3 pixels: its stride, and True if its input is added to its output."""

    name: str
    stride: int
    is_residual: bool


#: The convolutions in their order. A further one of 1 x 1 pixel, `last`, follows them.
LAYERS = (
    Layer("first", 2, False),
    Layer("second", 2, False),
    Layer("second_more", 1, True),
    Layer("third", 2, False),
    Layer("third_more", 1, True),
    Layer("fourth", 2, False),
    Layer("fourth_more", 1, True),
)

#: Rows and columns that the last convolution sees.
GRID = SIDE // 16
_NAME = "mirror"
_MOST_CHANNELS = 256


@dataclass(frozen=True, slots=True, eq=False)
class MirrorNetwork:
    """Weights: kernels (9 * inputs, outputs) with biases, and the kernel of the final sum.

    `kernels` and `biases` have an entry per layer of `LAYERS`, then that of `last`; `final` is of
    shape (GRID * GRID * channels,).
    """

    kernels: tuple[Floats, ...]
    biases: tuple[Floats, ...]
    final: Floats

    def score(self, grey: Floats) -> float:
        """Return the log odds that a picture (SIDE, SIDE) of an upright film is mirrored.

        The score of the mirror image is the exact negative.
        """
        values = np.stack([grey, grey[:, ::-1]])[..., None]
        for layer, kernel, bias in zip(LAYERS, self.kernels, self.biases, strict=False):
            result = np.maximum(_patches(values, layer.stride) @ kernel + bias, 0.0)
            values = values + result if layer.is_residual else result
        reduced = np.maximum(values @ self.kernels[-1] + self.biases[-1], 0.0)
        sums = reduced.reshape(2, -1) @ self.final
        return float(sums[0] - sums[1])

    def to_tensors(self) -> dict[str, NDArray[np.generic]]:
        """Return the tensors to store: kernels as float16, biases as float32."""
        tensors: dict[str, NDArray[np.generic]] = {f"{_NAME}.final": self.final.astype(np.float16)}
        for name, kernel, bias in zip(_names(), self.kernels, self.biases, strict=True):
            tensors[f"{_NAME}.{name}.kernel"] = kernel.astype(np.float16)
            tensors[f"{_NAME}.{name}.bias"] = bias.astype(np.float32)
        return tensors

    @classmethod
    def from_tensors(cls, tensors: Mapping[str, NDArray[np.generic]]) -> Self:
        """Read the network. Raises BundleError if a tensor is missing, odd or not finite."""
        kernels, biases, channels = [], [], 1
        for name in _names():
            taps = 1 if name == "last" else 9
            sizes = tensors.get(f"{_NAME}.{name}.bias", np.zeros(0)).shape
            if len(sizes) != 1 or not 1 <= sizes[0] <= _MOST_CHANNELS:
                raise BundleError(f"the weights have no {_NAME}.{name}.bias of a convolution")
            kernels.append(_read(tensors, f"{name}.kernel", (taps * channels, sizes[0])))
            biases.append(_read(tensors, f"{name}.bias", sizes))
            if name.endswith("_more") and sizes[0] != channels:
                raise BundleError(f"{_NAME}.{name} has {sizes[0]} channels instead of {channels}")
            channels = sizes[0]
        final = _read(tensors, "final", (GRID * GRID * channels,))
        return cls(tuple(kernels), tuple(biases), final)


def _names() -> tuple[str, ...]:
    return (*(layer.name for layer in LAYERS), "last")


def _read(tensors: Mapping[str, NDArray[np.generic]], name: str, shape: tuple[int, ...]) -> Floats:
    tensor = tensors.get(f"{_NAME}.{name}")
    if tensor is None or tensor.shape != shape or tensor.dtype.kind != "f":
        raise BundleError(f"the weights have no {_NAME}.{name} of shape {shape}")
    values = tensor.astype(np.float32)
    if not np.isfinite(values).all():
        raise BundleError(f"the weights of {_NAME}.{name} are not all finite numbers")
    return values


def _patches(values: Floats, stride: int) -> Floats:
    """Return the 3 x 3 neighbours of every `stride`th pixel, zero beyond the edges.

    `values` (pictures, rows, cols, channels) give (pictures, rows, cols, 9 * channels).
    """
    rows, columns = values.shape[1:3]
    padded = np.pad(values, ((0, 0), (1, 1), (1, 1), (0, 0)))
    shifted = [
        padded[:, row : row + rows : stride, column : column + columns : stride]
        for row in range(3)
        for column in range(3)
    ]
    return np.concatenate(shifted, axis=3)
