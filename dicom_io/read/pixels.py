"""Renders the pixels of an image for display: 0 is black, 255 is white.

The chain is that of PS3.4 N.2: stored values, Modality LUT, VOI LUT or window, polarity. It maps
one stored value to one grey level, so it is computed once for each value that occurs and then
looked up for every pixel. Overlays are not drawn.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial

import numpy as np
from numpy.typing import NDArray
from pydicom import Dataset
from pydicom.pixels.processing import apply_color_lut

from dicom_io.errors import UndecodablePixelsError
from dicom_io.read.decode import stored_values
from dicom_io.read.grey_scale import GreyScale, Values
from dicom_io.read.image_header import ImageHeader
from dicom_io.read.orientation import Pose
from dicom_io.read.shutter import Mask, visible_pixels
from dicom_io.read.tone import DECLARED, Counts, Histogram, Tone, fit
from dicom_io.read.values.layout import Layout
from dicom_io.read.values.pixel_index import LEVELS, index_of, level_counts
from dicom_io.read.warnings_off import suppressed_warnings

Grey = NDArray[np.uint8]
HiddenPixels = Callable[[], Mask | None]
"""Returns the mask of hidden pixels, None for none: few films need it, and it takes time."""

MOST_SHOWN = 1 << 20
"""Range of values above which the chain runs on the pixels themselves."""

# Pixels that are compared with their neighbours.
_COMPARED = 2_000_000

# Luma of ITU-R BT.601, by which YBR_FULL is defined (PS3.3 C.7.6.3.1.2).
_LUMA = np.array([0.299, 0.587, 0.114])

# A pixel whose channels differ by more than this part of the range is coloured. A codec tints grey
# by less.
_COLOUR_DISTANCE = 0.1
_LUT_ERRORS = (AttributeError, LookupError, NotImplementedError, TypeError, ValueError)


@dataclass(frozen=True, slots=True)
class DisplayImage:
    """A rendered image. `array` is uint8 (rows, columns) from 0, black, to 255, white.

    The array lies on the stored grid; `pose` makes it upright. `levels` (256,) are the pixels of
    each grey level, without those that shutter and collimator hide. `shown` are the stored values
    that determine the contrast, ascending; None for colour and for a range of more than 2^20
    values. `tone` is the departure from the grey scale that the header declares. `coloured` is the
    share of pixels that are not grey. `hidden` marks the pixels that are black because a shutter or
    padding hides them. `notes` name missing or contradictory attributes.
    """

    array: Grey
    pose: Pose
    levels: Counts
    shown: NDArray[np.int64] | None
    tone: Tone
    coloured: float
    hidden: HiddenPixels
    notes: tuple[str, ...]

    @property
    def shape(self) -> tuple[int, int]:
        """Rows and columns of the stored grid."""
        rows, columns = self.array.shape
        return rows, columns


def display_pixels(header: ImageHeader) -> DisplayImage:
    """Decode and render the single frame of an image.

    Raises UndecodablePixelsError if the image has no pixels, no decoder reads them, or the header
    declares more than `MAX_SAMPLES` of them.
    """
    return rendered(header, *stored_values(header.dataset, header.layout))


def rendered(
    header: ImageHeader, stored: NDArray[np.integer], actual: Layout, notes: tuple[str, ...]
) -> DisplayImage:
    """Render the pixels of an image that `stored_values` decoded. Raises UndecodablePixelsError."""
    layout = header.layout
    seen, shutter_notes = visible_pixels(header.dataset, layout.rows, layout.columns)
    coloured, shown, tone = 0.0, None, DECLARED
    padding: HiddenPixels = no_pixels
    if layout.is_grey:
        scale = header.grey_scale if actual == layout else header.grey_scale_of(actual)
        grey, levels, shown, tone, padding, more = _render_grey(
            stored, seen, scale, layout.bits_stored
        )
        if actual != layout:
            tone = replace(tone, signed=actual.signed, bits_stored=actual.bits_stored)
    else:
        grey, coloured, more = _render_colour(stored, header.dataset, actual)
        levels = level_counts(grey, seen)
    if seen is not None:
        np.multiply(grey, seen, out=grey)
    pose, pose_notes = header.pose
    every_note = (*header.damage, *notes, *more, *shutter_notes, *pose_notes)
    hidden = partial(_either, seen, padding)
    return DisplayImage(grey, pose, levels, shown, tone, coloured, hidden, every_note)


def no_pixels() -> Mask | None:
    """Return the mask of an image without hidden pixels."""
    return None


def _either(seen: Mask | None, padding: HiddenPixels) -> Mask | None:
    mask = padding()
    if seen is None:
        return mask
    return ~seen if mask is None else ~seen | mask


def _render_grey(
    stored: NDArray[np.integer], seen: Mask | None, scale: GreyScale, declared_bits: int
) -> tuple[Grey, Counts, NDArray[np.int64] | None, Tone, HiddenPixels, tuple[str, ...]]:
    low, high = int(stored.min()), int(stored.max())

    def histogram(values: Values, counts: Counts) -> Histogram:
        return Histogram(values, counts, lambda: _roughness(stored, seen), declared_bits)

    if high - low >= MOST_SHOWN:
        everywhere = np.ones(stored.shape, dtype=bool) if seen is None else seen
        grey, _, padding, tone, notes = _grey_levels(
            stored.astype(np.float64), everywhere.astype(np.int64), scale, histogram
        )
        levels = level_counts(grey, seen)
        return grey, levels, None, tone, lambda: padding if padding.any() else None, notes
    values = np.arange(low, high + 1, dtype=np.int64)
    index = index_of(stored, low, high)
    counts = index.count(values, seen)
    table, shown, padding, tone, notes = _grey_levels(
        values.astype(np.float64), counts, scale, histogram
    )

    def hidden() -> Mask | None:
        return index.look_up(values, padding).astype(bool) if padding.any() else None

    levels = np.bincount(table, counts, minlength=LEVELS).astype(np.int64)
    return index.look_up(values, table), levels, values[shown], tone, hidden, notes


def _grey_levels(
    values: Values,
    counts: Counts,
    scale: GreyScale,
    histogram: Callable[[Values, Counts], Histogram],
) -> tuple[Grey, Mask, Mask, Tone, tuple[str, ...]]:
    """Map stored values to grey levels, and mark those that take part in the contrast and padding.

    `counts` are the pixels of each value that no shutter hides. The last two results are the tone
    and notes.
    """
    padding = scale.is_padding(values)
    shown = (counts > 0) & ~padding
    if not shown.any():
        padding, shown = np.zeros_like(padding), counts > 0
    tone, tone_notes = fit(scale, histogram(values[shown], counts[shown]))
    applied = tone.of(scale)
    grey, notes = applied.voi(applied.modality(values), shown)
    grey = 1.0 - grey if scale.is_inverted else grey
    # Padding is outside the image and takes no part in its contrast (PS3.3 C.7.5.1.1.2).
    grey = np.where(padding, 0.0, grey)
    if tone.function < 0:
        notes = ()
    every_note = (*scale.notes, *notes, *tone_notes, *scale.polarity_notes)
    return np.rint(grey * 255.0).astype(np.uint8), shown, padding, tone, every_note


def _roughness(stored: NDArray[np.integer], visible: Mask | None) -> float:
    """Return the mean difference between neighbouring visible pixels, of some of the rows."""
    step = max(1, stored.size // _COMPARED)
    steps = np.abs(np.diff(stored[::step].astype(np.float64), axis=1))
    if visible is None:
        pairs = steps.ravel()
    else:
        both = visible[::step]
        pairs = steps[both[:, 1:] & both[:, :-1]]
    return float(pairs.mean()) if pairs.size else 0.0


def _render_colour(
    stored: NDArray[np.integer], ds: Dataset, layout: Layout
) -> tuple[Grey, float, tuple[str, ...]]:
    colour, top = rgb_values(stored, ds, layout)
    luma = colour.astype(np.float64) @ _LUMA / top
    grey = np.rint(np.clip(luma, 0.0, 1.0) * 255.0).astype(np.uint8)
    distance = colour.max(axis=-1).astype(np.float64) - colour.min(axis=-1)
    coloured = float((distance > _COLOUR_DISTANCE * top).mean())
    return grey, coloured, (f"{layout.photometric} image shown by its luma",)


def rgb_values(
    stored: NDArray[np.integer], ds: Dataset, layout: Layout
) -> tuple[NDArray[np.integer], float]:
    """Return the pixels of a colour image as RGB (rows, columns, 3), and the value of full scale.

    `stored` are the values that `stored_values` decoded. Raises UndecodablePixelsError if the image
    needs a palette and has none.
    """
    colour, top = stored, float((1 << layout.bits_stored) - 1)
    if layout.photometric == "PALETTE COLOR":
        try:
            with suppressed_warnings():
                colour = apply_color_lut(stored, ds)[..., :3]
        except _LUT_ERRORS as error:
            raise UndecodablePixelsError("the colour palette is missing or broken") from error
        top = float(np.iinfo(colour.dtype).max)
    return colour, top
