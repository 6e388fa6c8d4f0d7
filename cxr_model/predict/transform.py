"""Transforms an image to the network's input, and a map back to the image's pixels."""

from dataclasses import dataclass, replace
from typing import NamedTuple

import cv2
import numpy as np
import numpy.typing as npt

from cxr_model.errors import ImageError

IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)

# A pixel up to this grey level is black; JPEG leaves some noise in a black margin.
_BLACK = 12

# A line is black if all but this share of its pixels are.
_BRIGHT_SHARE = 0.002

# At least this share of rows and of columns is left; a picture that would lose more is not trimmed.
_LEAST_LEFT = 0.3


@dataclass(frozen=True, slots=True)
class InputSpec:
    """Input of a network: a square of `size` pixels, (grey in [0, 1] - `mean`) / `std`.

    Each channel has a mean and a std; the grey image is repeated over the channels. With `trim`
    black margins are cut off before the image is scaled.
    """

    size: int
    mean: tuple[float, ...] = IMAGENET_MEAN
    std: tuple[float, ...] = IMAGENET_STD
    trim: bool = False

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


class Margins(NamedTuple):
    """Shares of the rows at the top and bottom, and of the columns at the left and right.

    A black margin is a letterbox, a rim, or what lies outside the collimated field.
    """

    top: float = 0.0
    left: float = 0.0
    bottom: float = 0.0
    right: float = 0.0

    def inside(self, rows: int, cols: int) -> tuple[slice, slice]:
        """Return the rows and columns between the margins; at least one of each."""
        return _between(self.top, self.bottom, rows), _between(self.left, self.right, cols)


NO_MARGINS = Margins()


def black_margins(image: npt.NDArray[np.uint8]) -> Margins:
    """Return the black margins of a picture (rows, cols); a black picture has none."""
    if not any(_black(line) for line in (image[0], image[-1], image[:, 0], image[:, -1])):
        return NO_MARGINS
    _, bright = cv2.threshold(image, _BLACK, 1, cv2.THRESH_BINARY)
    spans = []
    for axis, length in ((1, image.shape[1]), (0, image.shape[0])):
        sums = cv2.reduce(bright, axis, cv2.REDUCE_SUM, dtype=cv2.CV_32S).ravel()
        content = np.flatnonzero(sums > _BRIGHT_SHARE * length)
        if content.size == 0:
            return NO_MARGINS
        first, last, lines = int(content[0]), int(content[-1]), sums.size
        if last + 1 - first < _LEAST_LEFT * lines:
            return NO_MARGINS
        spans.append((first / lines, (lines - 1 - last) / lines))
    (top, bottom), (left, right) = spans
    return Margins(top, left, bottom, right)


def _black(line: npt.NDArray[np.uint8]) -> bool:
    return bool(np.count_nonzero(line > _BLACK) <= _BRIGHT_SHARE * line.size)


def _between(before: float, after: float, length: int) -> slice:
    first = min(round(before * length), length - 1)
    return slice(first, max(length - round(after * length), first + 1))


@dataclass(frozen=True, slots=True)
class Geometry:
    """Position of an image of `rows` × `cols` inside the padded square of `size` pixels.

    `margins` are cut off first; `top`, `left`, `height` and `width` are those of the rest.
    """

    rows: int
    cols: int
    size: int
    top: int
    left: int
    height: int
    width: int
    margins: Margins = NO_MARGINS

    @classmethod
    def fit(cls, rows: int, cols: int, size: int, margins: Margins = NO_MARGINS) -> "Geometry":
        """Cut off the margins, scale the longer side to `size`, keep the aspect and centre it."""
        kept_rows, kept_cols = (kept.stop - kept.start for kept in margins.inside(rows, cols))
        scale = size / max(kept_rows, kept_cols)
        height = min(size, max(1, round(kept_rows * scale)))
        width = min(size, max(1, round(kept_cols * scale)))
        top, left = (size - height) // 2, (size - width) // 2
        return cls(rows, cols, size, top, left, height, width, margins)

    @classmethod
    def of(cls, image: npt.NDArray[np.uint8], spec: InputSpec) -> "Geometry":
        """Return the position of an image (rows, cols) in the input of a network."""
        margins = black_margins(image) if spec.trim else NO_MARGINS
        return cls.fit(image.shape[0], image.shape[1], spec.size, margins)

    def of_shape(self, rows: int, cols: int) -> "Geometry":
        """Return the position of the same image reduced to these rows and columns."""
        # Margins are shares of the sides, and the rest are pixels of the network's input.
        return replace(self, rows=rows, cols=cols)

    def to_input(self, image: npt.NDArray[np.uint8]) -> npt.NDArray[np.uint8]:
        """Resize an image of (rows, cols) and pad it with black to (size, size)."""
        kept = image[self.margins.inside(self.rows, self.cols)]
        shrink = self.height < kept.shape[0] or self.width < kept.shape[1]
        interpolation = cv2.INTER_AREA if shrink else cv2.INTER_LINEAR
        resized = cv2.resize(kept, (self.width, self.height), interpolation=interpolation)
        padded = np.zeros((self.size, self.size), dtype=np.uint8)
        padded[self.top : self.top + self.height, self.left : self.left + self.width] = resized
        return padded

    def to_original(self, grid: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
        """Resize a map (h, w) of the square to the original pixels (rows, cols); margins get 0."""
        if grid.ndim != 2:
            raise ImageError(f"a map has two dimensions, not {grid.ndim}")
        plane = np.ascontiguousarray(grid, dtype=np.float32)
        # Linear interpolation of cells of 32 pixels would draw their grid.
        square = cv2.resize(plane, (self.size, self.size), interpolation=cv2.INTER_CUBIC)
        content = square[self.top : self.top + self.height, self.left : self.left + self.width]
        inside = self.margins.inside(self.rows, self.cols)
        if self.margins == NO_MARGINS:
            whole = cv2.resize(content, (self.cols, self.rows), interpolation=cv2.INTER_LINEAR)
            return np.asarray(whole, dtype=np.float32)
        full = np.zeros((self.rows, self.cols), dtype=np.float32)
        rows, cols = full[inside].shape
        full[inside] = cv2.resize(content, (cols, rows), interpolation=cv2.INTER_LINEAR)
        return full


def reduced_shape(rows: int, cols: int, max_side: int | None) -> tuple[int, int]:
    """Return rows and columns with the longer side at most `max_side`; None limits nothing."""
    longer = max(rows, cols)
    if max_side is None or longer <= max_side:
        return rows, cols
    return max(1, round(rows * max_side / longer)), max(1, round(cols * max_side / longer))


def reduced(image: npt.NDArray[np.uint8], max_side: int | None) -> npt.NDArray[np.uint8]:
    """Return an image (rows, cols) with its longer side at most `max_side`, each pixel a mean.

    A smaller image is returned as it is.
    """
    rows, cols = reduced_shape(image.shape[0], image.shape[1], max_side)
    if (rows, cols) == image.shape:
        return image
    return np.asarray(cv2.resize(image, (cols, rows), interpolation=cv2.INTER_AREA), dtype=np.uint8)


def check_image(image: npt.NDArray[np.uint8]) -> None:
    """Raise ImageError unless `image` is uint8 of shape (rows, cols), not empty."""
    if image.dtype != np.uint8 or image.ndim != 2 or image.size == 0:
        raise ImageError(
            f"expected a greyscale uint8 image (rows, cols), got {image.dtype} {image.shape}"
        )


class NetworkInput(NamedTuple):
    """The input of a network: a grey `square`, uint8 (size, size), and its place in the image."""

    square: npt.NDArray[np.uint8]
    geometry: Geometry


def network_input(image: npt.NDArray[np.uint8], spec: InputSpec) -> NetworkInput:
    """Bring an image to the square of a network, padded with black.

    `image` is uint8 (rows, cols), displayed with 0 black and 255 white. Raises ImageError.
    """
    check_image(image)
    geometry = Geometry.of(image, spec)
    return NetworkInput(geometry.to_input(image), geometry)


def normalise(square: npt.NDArray[np.uint8], spec: InputSpec) -> npt.NDArray[np.float32]:
    """Convert a grey square (size, size) to the float32 channels (channels, size, size)."""
    mean = np.asarray(spec.mean, dtype=np.float32)[:, None, None]
    std = np.asarray(spec.std, dtype=np.float32)[:, None, None]
    grey = square.astype(np.float32)[None] / np.float32(255)
    return np.asarray((grey - mean) / std, dtype=np.float32)
