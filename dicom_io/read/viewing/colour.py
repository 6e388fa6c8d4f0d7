"""Renders an image as a person looks at it: a film in grey, any other picture in colour."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from dicom_io.read.decode import stored_values
from dicom_io.read.image_header import ImageHeader
from dicom_io.read.orientation import Pose
from dicom_io.read.pixels import rendered, rgb_values
from dicom_io.read.shutter import visible_pixels


@dataclass(frozen=True, slots=True, eq=False)
class ShownImage:
    """A rendered image on its stored grid: uint8 grey (rows, columns) or RGB (rows, columns, 3).

    `pose` makes it upright. `notes` name what is missing or contradictory.
    """

    pixels: NDArray[np.uint8]
    pose: Pose
    notes: tuple[str, ...]


def shown_image(header: ImageHeader, *, inverted: bool = False) -> ShownImage:
    """Decode and render the single frame of an image.

    A grey image is rendered as for the network; `inverted` reverses its polarity. Raises
    UndecodablePixelsError as `display_pixels` does.
    """
    stored, actual, notes = stored_values(header.dataset, header.layout)
    if not actual.is_grey:
        seen, more = visible_pixels(header.dataset, actual.rows, actual.columns)
        colour, top = rgb_values(stored, header.dataset, actual)
        pixels = as_bytes(colour, top)
        if seen is not None:
            pixels *= seen[..., None]
        pose, pose_notes = header.pose
        return ShownImage(pixels, pose, (*header.damage, *notes, *more, *pose_notes))
    image = rendered(header, stored, actual, notes)
    grey = image.array
    if inverted:
        grey = 255 - grey
        hidden = image.hidden()
        if hidden is not None:
            grey[hidden] = 0
    return ShownImage(grey, image.pose, image.notes)


def as_bytes(colour: NDArray[np.integer], top: float) -> NDArray[np.uint8]:
    """Return samples from 0 to `top` in 8 bits."""
    if colour.dtype == np.uint8 and top == 255.0:
        return np.array(colour)
    scaled = np.clip(colour.astype(np.float32) * np.float32(255.0 / top), 0.0, 255.0)
    return np.asarray(np.rint(scaled), dtype=np.uint8)
