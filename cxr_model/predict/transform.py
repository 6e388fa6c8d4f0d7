"""Transforms an image to the network's input, and a map back to the image's pixels."""

from dataclasses import dataclass

import cv2
import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from cxr_model.errors import ImageError

IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)


@dataclass(frozen=True, slots=True)
class InputSpec:
    """Input of a network: a square of `size` pixels, (grey in [0, 1] - `mean`) / `std`.

    Each channel has a mean and a std; the grey image is repeated over the channels.
    """

    size: int
    mean: tuple[float, ...] = IMAGENET_MEAN
    std: tuple[float, ...] = IMAGENET_STD

    def __post_init__(self) -> None:
        """Raise ValueError for a specification that no network can have."""
        if self.size < 32:
            raise ValueError(f"input size {self.size} is below 32, the stride of the network")
        if len(self.mean) != len(self.std) or len(self.mean) not in (1, 3):
            raise ValueError("mean and std need one value per channel, for 1 or 3 channels")
        if min(self.std) <= 0:
            raise ValueError("std must be positive")

    @property
    def channels(self) -> int:
        """Number of input channels."""
        return len(self.mean)

    @property
    def map_size(self) -> int:
        """Rows and columns of a map of DenseNet-121, which halves its input five times."""
        # The first convolution and the pooling after it pad; the three transitions do not.
        return -(-self.size // 4) // 8


@dataclass(frozen=True, slots=True)
class Geometry:
    """Position of an image of `rows` × `cols` inside the padded square of `size` pixels."""

    rows: int
    cols: int
    size: int
    top: int
    left: int
    height: int
    width: int

    @classmethod
    def fit(cls, rows: int, cols: int, size: int) -> "Geometry":
        """Scale the longer side to `size`, keep the aspect and centre the image."""
        scale = size / max(rows, cols)
        height = min(size, max(1, round(rows * scale)))
        width = min(size, max(1, round(cols * scale)))
        top, left = (size - height) // 2, (size - width) // 2
        return cls(rows, cols, size, top, left, height, width)

    def to_input(self, image: npt.NDArray[np.uint8]) -> npt.NDArray[np.uint8]:
        """Resize an image of (rows, cols) and pad it with black to (size, size)."""
        shrink = self.height < self.rows or self.width < self.cols
        interpolation = cv2.INTER_AREA if shrink else cv2.INTER_LINEAR
        resized = cv2.resize(image, (self.width, self.height), interpolation=interpolation)
        padded = np.zeros((self.size, self.size), dtype=np.uint8)
        padded[self.top : self.top + self.height, self.left : self.left + self.width] = resized
        return padded

    def to_original(self, grid: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
        """Resize a map (h, w) of the square to the original pixels (rows, cols)."""
        if grid.ndim != 2:
            raise ImageError(f"a map has two dimensions, not {grid.ndim}")
        plane = np.ascontiguousarray(grid, dtype=np.float32)
        # Linear interpolation of cells of 32 pixels would draw their grid.
        square = cv2.resize(plane, (self.size, self.size), interpolation=cv2.INTER_CUBIC)
        content = square[self.top : self.top + self.height, self.left : self.left + self.width]
        full = cv2.resize(content, (self.cols, self.rows), interpolation=cv2.INTER_LINEAR)
        return np.asarray(full, dtype=np.float32)


def check_image(image: npt.NDArray[np.uint8]) -> None:
    """Raise ImageError unless `image` is uint8 of shape (rows, cols), not empty."""
    if image.dtype != np.uint8 or image.ndim != 2 or image.size == 0:
        raise ImageError(
            f"expected a greyscale uint8 image (rows, cols), got {image.dtype} {image.shape}"
        )


def normalise(square: npt.NDArray[np.uint8], spec: InputSpec) -> Tensor:
    """Convert a grey square (size, size) to a float32 tensor (channels, size, size)."""
    mean = np.asarray(spec.mean, dtype=np.float32)[:, None, None]
    std = np.asarray(spec.std, dtype=np.float32)[:, None, None]
    grey = square.astype(np.float32)[None] / np.float32(255)
    return torch.from_numpy((grey - mean) / std)


def preprocess(image: npt.NDArray[np.uint8], spec: InputSpec) -> tuple[Tensor, Geometry]:
    """Resize an image to the network's input, padded with black, and normalise it.

    `image` is uint8 (rows, cols), displayed with 0 black and 255 white. Returns a float32 tensor
    (channels, size, size) and the geometry for the way back. Raises ImageError.
    """
    check_image(image)
    geometry = Geometry.fit(image.shape[0], image.shape[1], spec.size)
    return normalise(geometry.to_input(image), spec), geometry
