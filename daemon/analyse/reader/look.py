"""Reads a file to be looked at: without gate, picture check and network.

A person may look at a film that was refused, and at the pictures made here. Runs in a reader
process.
"""

from dataclasses import dataclass, replace
from enum import StrEnum

import cv2
import numpy as np
from numpy.typing import NDArray

from cxr_model.predict.transform import reduced, reduced_shape
from daemon.analyse.reader.film import Refusal
from dicom_io.errors import NotDicomError, UndecodablePixelsError
from dicom_io.gate.reasons import Reason
from dicom_io.read.bounded_parser import refuse_oversized_sequences
from dicom_io.read.image_header import read_image
from dicom_io.read.orientation import AS_STORED, Pose
from dicom_io.read.viewing.colour import shown_image
from dicom_io.read.viewing.stored import StoredImage, stored_image
from dicom_io.read.warnings_off import suppressed_warnings


class LookKind(StrEnum):
    """The forms in which a file is looked at."""

    PICTURE = "picture"  # upright, in 8 bits
    AS_STORED = "as stored"  # in 8 bits, as it lies in the file
    PIXELS = "pixels"  # the stored values


@dataclass(frozen=True, slots=True)
class Look:
    """A wish to look at a file.

    The longer side of a picture has at most `side` pixels; None asks for the full size. `turned`
    are the degrees by which the picture was found turned clockwise, and `inverted` says that it was
    found inverted: both are undone.
    """

    kind: LookKind
    side: int | None = None
    turned: int = 0
    inverted: bool = False


@dataclass(frozen=True, slots=True, eq=False)
class Picture:
    """A rendered image: uint8 grey (rows, columns) or RGB (rows, columns, 3).

    The stored grid has `stored_rows` x `stored_columns` pixels; `pose` makes that upright.
    """

    pixels: NDArray[np.uint8]
    stored_rows: int
    stored_columns: int
    pose: Pose
    notes: tuple[str, ...]


@suppressed_warnings()
def look_at(data: bytes, look: Look) -> Picture | StoredImage | Refusal:
    """Read one DICOM object as wanted. A refusal names the reason that it cannot be shown."""
    try:
        header = read_image(data)
        refuse_oversized_sequences(header.dataset)
    except NotDicomError as error:
        return Refusal(Reason.UNREADABLE_OBJECT, str(error))
    try:
        if look.kind is LookKind.PIXELS:
            image = stored_image(header, inverted=look.inverted)
            pose = image.facts.pose.turned_back(look.turned)
            return replace(image, facts=replace(image.facts, pose=pose))
        shown = shown_image(header, inverted=look.inverted)
    except UndecodablePixelsError as error:
        return Refusal(Reason.UNDECODABLE_PIXELS, str(error), header.damage)
    pose = AS_STORED if look.kind is LookKind.AS_STORED else shown.pose.turned_back(look.turned)
    rows, columns = shown.pixels.shape[:2]
    if shown.pixels.ndim == 2:
        # In this order the pixels are those of a heatmap made upright.
        pixels = pose.to_display(reduced(shown.pixels, look.side))
    else:
        shape = reduced_shape(rows, columns, look.side)
        colour = cv2.resize(shown.pixels, shape[::-1], interpolation=cv2.INTER_AREA)
        pixels = pose.planes_to_display(np.asarray(colour, dtype=np.uint8))
    return Picture(pixels, rows, columns, pose, shown.notes)
