"""Decides by the rendered pixels if an image is a film."""

import numpy as np

from dicom_io.gate.reasons import MIN_SIDE, Reason, Verdict
from dicom_io.read.pixels import DisplayImage, Grey
from dicom_io.read.values.pixel_index import Counts, level_counts

LONGEST_ASPECT = 3.0

_PERCENTILES = (1, 99)

# The least grey levels between them.
_LEAST_CONTRAST = 8.0

# The largest share of coloured pixels; a coloured mark or logo is smaller.
_MOST_COLOUR = 0.05


def assess_image(image: DisplayImage) -> Verdict:
    """Judge an image in its upright pose by its visible pixels."""
    if image.coloured > _MOST_COLOUR:
        return Verdict(Reason.COLOUR_IMAGE, f"{image.coloured:.0%} of the pixels are coloured")
    return _assess(image.pose.display_shape(*image.shape), image.levels)


def assess_pixels(array: Grey) -> Verdict:
    """Judge an upright grey image, uint8 (rows, columns)."""
    rows, columns = array.shape
    return _assess((rows, columns), level_counts(array, None))


def _assess(shape: tuple[int, int], levels: Counts) -> Verdict:
    rows, columns = shape
    if min(rows, columns) < MIN_SIDE:
        return Verdict(Reason.TOO_SMALL, f"{rows} x {columns} pixels")
    if max(rows, columns) > LONGEST_ASPECT * min(rows, columns):
        return Verdict(Reason.IMPLAUSIBLE_SHAPE, f"{rows} x {columns} pixels")
    dark, bright = (percentile(levels, share) for share in _PERCENTILES)
    if bright - dark < _LEAST_CONTRAST:
        return Verdict(Reason.BLANK_IMAGE, f"{bright - dark:.0f} grey levels of contrast")
    return Verdict(None)


def percentile(levels: Counts, percent: float) -> float:
    """Return the grey level below which this part of the counted pixels lies.

    It is interpolated between pixels as by `numpy.percentile`.
    """
    upto = np.cumsum(levels)
    place = percent / 100 * (int(upto[-1]) - 1)
    below = int(place)
    low, high = (
        int(np.searchsorted(upto, number, side="right"))
        for number in (below, min(below + 1, int(upto[-1]) - 1))
    )
    part = place - below
    return low + (high - low) * part if part < 0.5 else high - (high - low) * (1 - part)
