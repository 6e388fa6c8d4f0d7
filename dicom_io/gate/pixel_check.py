"""Does a rendered image look like a film? Yes, or a named reason why not."""

import numpy as np
from numpy.typing import NDArray

from dicom_io.gate.reasons import MIN_SIDE, Reason, Verdict
from dicom_io.read.pixels import DisplayImage, Grey

LONGEST_ASPECT = 3.0

# Grey levels between the 1st and the 99th percentile that an image has at least.
_LEAST_CONTRAST = 8.0

# A coloured mark or logo on a film is less than this share of it.
_MOST_COLOUR = 0.05


def assess_image(image: DisplayImage) -> Verdict:
    """Judge an image as it stands upright, by those of its pixels that are meant to be seen."""
    if image.coloured > _MOST_COLOUR:
        return Verdict(Reason.COLOUR_IMAGE, f"{image.coloured:.0%} of the pixels are coloured")
    seen = image.array if image.seen is None else image.array[image.seen]
    return _assess(image.pose.to_display(image.array), seen)


def assess_pixels(array: Grey) -> Verdict:
    """Judge an upright grey image, uint8 (rows, columns)."""
    return _assess(array, array)


def _assess(upright: Grey, seen: Grey) -> Verdict:
    rows, columns = upright.shape
    if min(rows, columns) < MIN_SIDE:
        return Verdict(Reason.TOO_SMALL, f"{rows} x {columns} pixels")
    if max(rows, columns) > LONGEST_ASPECT * min(rows, columns):
        return Verdict(Reason.IMPLAUSIBLE_SHAPE, f"{rows} x {columns} pixels")
    dark, bright = np.percentile(seen, [1, 99])
    if bright - dark < _LEAST_CONTRAST:
        return Verdict(Reason.BLANK_IMAGE, f"{bright - dark:.0f} grey levels of contrast")
    if looks_inverted(upright):
        return Verdict(None, notes=("the image looks inverted; is its polarity right?",))
    return Verdict(None)


def looks_inverted(array: NDArray[np.uint8]) -> bool:
    """Whether lungs are clearly brighter than both mediastinum and abdomen.

    Measured on the 2,471 images of ChestX-ray14 at hand: true for 2 of them as they are, one of
    which is indeed a negative, and for 94.6 % when inverted; on 732 films of children for none
    and for 99.6 %.
    """
    rows, columns = array.shape
    scaled = array.astype(np.float32) / 255.0

    def mean(top: float, bottom: float, left: float, right: float) -> float:
        part = scaled[
            int(top * rows) : int(bottom * rows), int(left * columns) : int(right * columns)
        ]
        return float(part.mean())

    lungs = (mean(0.25, 0.69, 0.19, 0.375) + mean(0.25, 0.69, 0.625, 0.81)) / 2
    mediastinum = mean(0.25, 0.75, 0.44, 0.56)
    abdomen = mean(0.81, 1.0, 0.31, 0.69)
    return max(mediastinum, abdomen) < lungs - 0.05
