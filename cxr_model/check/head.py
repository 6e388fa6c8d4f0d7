"""A network of one hidden layer over descriptions, in NumPy."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Self

import numpy as np
from numpy.typing import NDArray

from cxr_model.check.description import LENGTH
from cxr_model.errors import BundleError

Floats = NDArray[np.float32]


@dataclass(frozen=True, slots=True, eq=False)
class Head:
    """Weights of a network: LENGTH values, a hidden layer of rectified units, `outputs` scores."""

    kernel: Floats
    bias: Floats
    out_kernel: Floats
    out_bias: Floats

    def scores(self, descriptions: Floats) -> Floats:
        """Return the scores of descriptions (n, LENGTH), shape (n, outputs)."""
        hidden = np.maximum(descriptions @ self.kernel + self.bias, 0.0)
        return np.asarray(hidden @ self.out_kernel + self.out_bias, dtype=np.float32)

    def to_tensors(self, name: str) -> dict[str, NDArray[np.generic]]:
        """Return the tensors to store: kernels as float16, vectors as float32."""
        return {
            f"{name}.kernel": self.kernel.astype(np.float16),
            f"{name}.bias": self.bias.astype(np.float32),
            f"{name}.out_kernel": self.out_kernel.astype(np.float16),
            f"{name}.out_bias": self.out_bias.astype(np.float32),
        }

    @classmethod
    def from_tensors(
        cls, tensors: Mapping[str, NDArray[np.generic]], name: str, outputs: int
    ) -> Self:
        """Read the head `name`. Raises BundleError if a tensor is missing, odd or not finite."""
        hidden = tensors.get(f"{name}.bias", np.zeros(0)).shape[:1]
        if len(hidden) != 1 or not 1 <= hidden[0] <= 1024:
            raise BundleError(f"the weights have no hidden layer {name}.bias")
        shapes = {
            "kernel": (LENGTH, hidden[0]),
            "bias": (hidden[0],),
            "out_kernel": (hidden[0], outputs),
            "out_bias": (outputs,),
        }
        found = {}
        for part, shape in shapes.items():
            tensor = tensors.get(f"{name}.{part}")
            if tensor is None or tensor.shape != shape or tensor.dtype.kind != "f":
                raise BundleError(f"the weights have no {name}.{part} of shape {shape}")
            found[part] = tensor.astype(np.float32)
            if not np.isfinite(found[part]).all():
                raise BundleError(f"the weights of {name}.{part} are not all finite numbers")
        return cls(**found)


def softmax(scores: NDArray[np.floating]) -> NDArray[np.float64]:
    """Return probabilities over the last axis."""
    exact = np.asarray(scores, dtype=np.float64)
    powers = np.exp(exact - exact.max(axis=-1, keepdims=True))
    return np.asarray(powers / powers.sum(axis=-1, keepdims=True), dtype=np.float64)
