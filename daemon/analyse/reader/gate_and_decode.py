"""The gate and the decoder in one call: from the bytes of an object to its pixels or a refusal.

Runs in a reader process, so it loads neither the network nor the object builders.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from daemon.analyse.reader.film import GreyImage, Refusal
from dicom_io.errors import NotDicomError, UndecodablePixelsError
from dicom_io.gate.header_check import assess
from dicom_io.gate.pixel_check import assess_image
from dicom_io.gate.reasons import Reason
from dicom_io.gate.rejection_note import read_rejection
from dicom_io.gate.rules import Rules
from dicom_io.read.bounded_parser import refuse_oversized_sequences
from dicom_io.read.image_header import read_image
from dicom_io.read.orientation import Pose
from dicom_io.read.pixels import HiddenPixels, display_pixels, no_pixels
from dicom_io.read.tone import DECLARED, Tone
from dicom_io.read.warnings_off import suppressed_warnings


@dataclass(frozen=True, slots=True)
class DecodedFilm:
    """An image that passed the gate: its display-true pixels and the notes of gate and decoder.

    `pixels` (rows, columns) lie as they are stored; `pose` makes them upright. `shown` are the
    stored values that determine the contrast, None for colour and for a range of more than 2^20
    values. `tone` is the departure from the grey scale of the header. `hidden`
    marks pixels that stay black in any tone.
    """

    pixels: GreyImage
    notes: tuple[str, ...]
    pose: Pose
    shown: NDArray[np.int64] | None = None
    tone: Tone = DECLARED
    hidden: HiddenPixels = no_pixels


@suppressed_warnings()
def gate_and_decode(data: bytes, rules: Rules) -> DecodedFilm | Refusal:
    """Gate and decode one DICOM object."""
    try:
        header = read_image(data)
        rejection = read_rejection(header.dataset)
        if rejection is not None:
            return Refusal(Reason.REJECTION_NOTE, rejection.detail, rejection=rejection)
        verdict = assess(header, rules)
        if verdict.reason is not None:
            return Refusal(verdict.reason, verdict.detail, verdict.notes)
        refuse_oversized_sequences(header.dataset)
    except NotDicomError as error:
        return Refusal(Reason.UNREADABLE_OBJECT, str(error))
    try:
        image = display_pixels(header)
    except UndecodablePixelsError as error:
        return Refusal(Reason.UNDECODABLE_PIXELS, str(error), verdict.notes + header.damage)
    notes = verdict.notes + image.notes
    content = assess_image(image)
    if content.reason is not None:
        return Refusal(content.reason, content.detail, notes + content.notes)
    return DecodedFilm(
        image.array, notes + content.notes, image.pose, image.shown, image.tone, image.hidden
    )
