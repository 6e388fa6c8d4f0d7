"""The map of a finding as the store keeps it: cells of the network, and their place on the film.

A web page draws its overlay from it in any size, as `cxr_model.predict.heatmap` draws the DICOM
heatmap. The cells are shares of the map's scale in float16, whose rounding moves the edge of a
region by less than a pixel.
"""

import math
import struct
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from cxr_model.errors import ImageError
from cxr_model.predict.heatmap import transparent_overlay
from cxr_model.predict.prediction import Prediction
from cxr_model.predict.transform import Geometry, Margins, reduced_shape
from daemon.analyse.reader.messages import LARGEST_SIDE
from daemon.errors import HeatError
from dicom_io.read.orientation import LARGEST_ASPECT, Pose
from dicom_io.read.values.layout import MAX_SAMPLES

VERSION = 1

# Name, version, rows and columns of cells; then the film, the box and the pose; margins, aspect of
# a pixel, scale.
_HEAD = struct.Struct("<4sBHH")
_PLACE = struct.Struct("<2I5H3?6d")
_NAME = b"heat"
_CELL = np.dtype("<f2")
_MOST_CELLS = 1 << 16
_LARGEST_INPUT = 4096
_FLOAT16 = float(np.finfo(np.float16).max)
_LARGEST_SCALE = 1e12


@dataclass(frozen=True, slots=True, eq=False)
class Heat:
    """A map on the stored grid of its film: float32 `cells` (h, w) in logit contributions.

    `geometry` places the cells on the stored grid and `pose` makes that upright. `scale` is the
    contribution of the hottest colour.
    """

    cells: NDArray[np.float32]
    geometry: Geometry
    pose: Pose
    scale: float

    @classmethod
    def of(cls, prediction: Prediction, label: str, pose: Pose, scale: float) -> "Heat":
        """Return the map of a finding of a prediction that lies on the stored grid."""
        return cls(prediction.cells(label), prediction.geometry, pose, scale)

    def encode(self) -> bytes:
        """Return the map as bytes, some hundred for a network of 224 pixels."""
        place = self.geometry
        shares = np.clip(self.cells / self.scale, -_FLOAT16, _FLOAT16).astype(_CELL)
        return b"".join(
            (
                _HEAD.pack(_NAME, VERSION, *self.cells.shape),
                _PLACE.pack(
                    place.rows,
                    place.cols,
                    place.size,
                    place.top,
                    place.left,
                    place.height,
                    place.width,
                    self.pose.transposed,
                    self.pose.columns_reversed,
                    self.pose.rows_reversed,
                    *place.margins,
                    self.pose.aspect,
                    self.scale,
                ),
                shares.tobytes(),
            )
        )

    @classmethod
    def decode(cls, data: bytes) -> "Heat":
        """Return the map that `encode` wrote. Raises HeatError for any other bytes."""
        if data[:4] != _NAME or len(data) < _HEAD.size:
            raise HeatError("the kept map of this finding is damaged: analyse the film again")
        _, version, rows, columns = _HEAD.unpack_from(data)
        if version != VERSION:
            raise HeatError(
                f"the kept map of this finding is of version {version}, and this software reads "
                f"version {VERSION}: update this software, or analyse the film again"
            )
        if rows * columns > _MOST_CELLS or not rows * columns:
            raise HeatError("the kept map of this finding is damaged: analyse the film again")
        try:
            heat = _decoded(data, rows, columns)
        except (ValueError, struct.error) as error:
            raise HeatError(
                "the kept map of this finding is damaged: analyse the film again"
            ) from error
        return heat

    def overlay(self, side: int | None, *, contour: bool = True) -> NDArray[np.uint8]:
        """Draw the map upright and transparent, uint8 RGBA (rows, cols, 4).

        It fits the film whose stored grid was reduced to `side` and then made upright. Raises
        HeatError for a map that cannot be drawn.
        """
        rows, columns = reduced_shape(self.geometry.rows, self.geometry.cols, side)
        contribution = self.geometry.of_shape(rows, columns).to_original(self.cells)
        try:
            drawn = transparent_overlay(contribution, self.scale, contour=contour)
        except ImageError as error:
            raise HeatError(f"the kept map of this finding cannot be drawn: {error}") from error
        return self.pose.planes_to_display(drawn)


def _decoded(data: bytes, rows: int, columns: int) -> Heat:
    """Raise ValueError or struct.error unless the place is one that a film can have."""
    (
        film_rows,
        film_columns,
        size,
        top,
        left,
        height,
        width,
        transposed,
        columns_reversed,
        rows_reversed,
        *margins,
        aspect,
        scale,
    ) = _PLACE.unpack_from(data, _HEAD.size)
    cells = np.frombuffer(data, _CELL, -1, _HEAD.size + _PLACE.size)
    is_sound = (
        0 < film_rows <= LARGEST_SIDE
        and 0 < film_columns <= LARGEST_SIDE
        and film_rows * film_columns <= MAX_SAMPLES
        and size <= _LARGEST_INPUT
        and 0 < height <= size - top
        and 0 < width <= size - left
        and all(0 <= share <= 1 for share in margins)
        and 1 / LARGEST_ASPECT <= aspect <= LARGEST_ASPECT
        and math.isfinite(scale)
        and 0 < scale <= _LARGEST_SCALE
        and cells.size == rows * columns
        and np.isfinite(cells).all()
    )
    if not is_sound:
        raise ValueError("no place of a map on a film")
    return Heat(
        cells.astype(np.float32).reshape(rows, columns) * np.float32(scale),
        Geometry(film_rows, film_columns, size, top, left, height, width, Margins(*margins)),
        Pose(transposed, columns_reversed, rows_reversed, aspect),
        scale,
    )
