"""Decides by the rendered pixels if an image is a film."""

import numpy as np

from dicom_io.gate.reasons import MIN_SIDE, Reason, Verdict
from dicom_io.read.pixels import DisplayImage, Grey

LONGEST_ASPECT = 3.0

# The least grey levels between the 1st and the 99th percentile.
_LEAST_CONTRAST = 8.0

# The largest share of coloured pixels; a coloured mark or logo is smaller.
_MOST_COLOUR = 0.05


def assess_image(image: DisplayImage) -> Verdict:
    """Judge an image in its upright pose by its visible pixels."""
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
    return Verdict(None)
