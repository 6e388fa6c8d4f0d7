"""The stored pixels of an image with all that a viewer needs to show them by itself.

A viewer computes the grey level of a value: Modality LUT or rescale, then a window, then the
polarity (PS3.4 N.2). Tables of grey levels stand for what is more than a window.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dicom_io.read.decode import stored_values
from dicom_io.read.grey_scale import GreyScale, LookupTable, Window
from dicom_io.read.header import text
from dicom_io.read.image_header import ImageHeader
from dicom_io.read.orientation import SPACINGS, Pose, is_believed, usable_pair
from dicom_io.read.pixels import DisplayImage, rendered, rgb_values
from dicom_io.read.shutter import Mask
from dicom_io.read.viewing.colour import as_bytes

MOST_VALUES = 1 << 16
"""Different numbers of a pixel: a viewer looks them up in a table."""

FUNCTIONS = ("LINEAR", "LINEAR_EXACT", "SIGMOID")
"""Values of VOILUTFunction (PS3.3 C.11.2.1.2 and C.11.2.1.3)."""

RGB = "rgb"
BYTES_OF = MappingProxyType({"uint8": 1, "uint16": 2, "int16": 2, RGB: 3})
"""The kinds of pixels, and the bytes of a pixel."""

MOST_WORDS = 64
"""Characters of a text of the header that are passed on."""

# Shares of the pixels.
_AUTO = (0.01, 0.99)

# Pixels that are counted at once, to save memory.
_AT_ONCE = 1 << 21

# The aspect ratio is no length.
_IN_MM = frozenset(SPACINGS) - {"PixelAspectRatio"}

Numbers = NDArray[Any]
"""Pixels of one of the kinds of `BYTES_OF`."""


@dataclass(frozen=True, slots=True)
class NamedWindow:
    """A window by its WindowCenterWidthExplanation or its number; `function` is of FUNCTIONS."""

    name: str
    centre: float
    width: float
    function: str


@dataclass(frozen=True, slots=True, eq=False)
class NamedTable:
    """The grey level of every number from the lowest to the highest, before the polarity."""

    name: str
    levels: NDArray[np.uint8]


@dataclass(frozen=True, slots=True, eq=False)
class StoredGrey:
    """The way from grey pixels to grey levels; the numbers of pixels run from `low` to `high`.

    A number stands for the stored value `offset` + `step` * number. `slope` and `intercept`, or the
    table `modality` (by number, from `low`), turn that into the value of the image, in `unit`.
    `windows` are those of the header and apply to values of the image; `tables` are its VOI LUTs.
    `levels` hold the grey levels of the picture that is shown elsewhere, polarity included, by
    number, and `analysed` is the window that makes them, if one does. `auto` is the range of the
    values of 98 % of the pixels that are not hidden, and `full` of all of them. `padding` are the
    first and the last number that stand for no pixel.
    """

    low: int
    high: int
    offset: int
    step: int
    slope: float
    intercept: float
    unit: str
    modality: NDArray[np.float32] | None
    analysed: NamedWindow | None
    windows: tuple[NamedWindow, ...]
    tables: tuple[NamedTable, ...]
    levels: NDArray[np.uint8]
    auto: tuple[float, float]
    full: tuple[float, float]
    padding: tuple[int, int] | None
    inverted: bool


@dataclass(frozen=True, slots=True, eq=False)
class StoredFacts:
    """All that shows the pixels of an image, but the pixels, which lie on the stored grid.

    `kind` is uint8, uint16 or int16 for grey pixels (rows, columns); RGB stands for uint8 (rows,
    columns, 3), and `grey` is then None. `pose` makes them upright. `spacing` is the height and the
    width of a pixel in mm by the attribute `measured_by`; None if no attribute gives it.
    `photometric` and `bits` are those of the header.
    """

    rows: int
    columns: int
    kind: str
    grey: StoredGrey | None
    pose: Pose
    spacing: tuple[float, float] | None
    measured_by: str
    photometric: str
    bits: int
    notes: tuple[str, ...]

    @property
    def size(self) -> int:
        """Bytes of the pixels."""
        return self.rows * self.columns * BYTES_OF[self.kind]


@dataclass(frozen=True, slots=True, eq=False)
class StoredImage:
    """The pixels of an image, and how to show them."""

    pixels: Numbers
    facts: StoredFacts


def stored_image(header: ImageHeader, *, inverted: bool = False) -> StoredImage:
    """Decode the single frame of an image for a viewer.

    `inverted` reverses the polarity of a grey image. Raises UndecodablePixelsError as
    `display_pixels` does.
    """
    layout = header.layout
    stored, actual, notes = stored_values(header.dataset, layout)
    pose, pose_notes = header.pose
    spacing, measured_by = _spacing(header)
    grey: StoredGrey | None = None
    if actual.is_grey:
        image = rendered(header, stored, actual, notes)
        scale = header.grey_scale if actual == layout else header.grey_scale_of(actual)
        pixels, grey = _grey(stored, image, scale, header, inverted=inverted)
        every_note = image.notes
        if grey.step > 1:
            every_note += (f"{grey.step} neighbouring stored values are shown as one",)
    else:
        pixels = as_bytes(*rgb_values(stored, header.dataset, actual))
        every_note = (*header.damage, *notes, *pose_notes)
    facts = StoredFacts(
        rows=actual.rows,
        columns=actual.columns,
        kind=pixels.dtype.name if grey is not None else RGB,
        grey=grey,
        pose=pose,
        spacing=spacing,
        measured_by=measured_by,
        photometric=actual.photometric,
        bits=actual.bits_stored,
        notes=every_note,
    )
    return StoredImage(pixels, facts)


def _grey(
    stored: NDArray[np.integer],
    image: DisplayImage,
    scale: GreyScale,
    header: ImageHeader,
    *,
    inverted: bool,
) -> tuple[Numbers, StoredGrey]:
    numbers, offset, step = _as_numbers(stored)
    low, high = int(numbers.min()), int(numbers.max())
    applied = image.tone.of(scale)
    stored_values = offset + step * np.arange(low, high + 1, dtype=np.float64)
    values = applied.modality(stored_values)
    hidden = image.hidden()
    counts, levels = _per_number(numbers, image.array, hidden, low, high - low + 1)
    # An image of which nothing is seen is shown by what it hides.
    if not counts.any():
        counts, levels = _per_number(numbers, image.array, None, low, high - low + 1)
    # A viewer also shows means of pixels, whose numbers need not occur.
    occurring = np.flatnonzero(counts)
    between = np.interp(np.arange(levels.size), occurring, levels[occurring])
    levels = np.rint(255 - between if inverted else between).astype(np.uint8)
    padding = np.flatnonzero(applied.is_padding(stored_values) & (counts == 0))
    levels[padding] = 0
    present = values[counts > 0]
    window = applied.window if applied.voi_table is None else None
    return numbers, StoredGrey(
        low=low,
        high=high,
        offset=offset,
        step=step,
        slope=applied.slope,
        intercept=applied.intercept,
        unit=text(header.dataset, "RescaleType")[:MOST_WORDS],
        modality=values.astype(np.float32) if applied.modality_table is not None else None,
        analysed=None if window is None else _named("As analysed", window),
        windows=tuple(_windows(scale, header)),
        tables=tuple(_tables(scale, values)),
        levels=levels,
        auto=_range(values, counts, _AUTO),
        full=(float(present.min()), float(present.max())),
        padding=(low + int(padding[0]), low + int(padding[-1])) if padding.size else None,
        inverted=applied.is_inverted != inverted,
    )


def _as_numbers(stored: NDArray[np.integer]) -> tuple[Numbers, int, int]:
    """Return pixels of at most 16 bits, and the offset and step that make them stored values."""
    low, high = int(stored.min()), int(stored.max())
    for kind in (np.uint8, np.uint16, np.int16):
        limits = np.iinfo(kind)
        if limits.min <= low and high <= limits.max:
            return stored.astype(kind), 0, 1
    step = (high - low) // MOST_VALUES + 1
    return ((stored.astype(np.int64) - low) // step).astype(np.uint16), low, step


def _per_number(
    numbers: Numbers, picture: NDArray[np.uint8], hidden: Mask | None, low: int, size: int
) -> tuple[NDArray[np.int64], NDArray[np.uint8]]:
    """Return the visible pixels of each number from `low` on, and the grey level of each."""
    counts = np.zeros(size, dtype=np.int64)
    levels = np.zeros(size, dtype=np.uint8)
    rows = max(1, _AT_ONCE // numbers.shape[1])
    for first in range(0, numbers.shape[0], rows):
        block = slice(first, first + rows)
        visible = slice(None) if hidden is None else ~hidden[block]
        places = numbers[block][visible].ravel().astype(np.intp) - low
        counts += np.bincount(places, minlength=size)
        levels[places] = picture[block][visible].ravel()
    return counts, levels


def _range(
    values: NDArray[np.float64], counts: NDArray[np.int64], shares: tuple[float, float]
) -> tuple[float, float]:
    """Return the values of the image between which these parts of the pixels lie."""
    order = np.argsort(values, kind="stable")
    upto = np.cumsum(counts[order])
    low, high = (values[order[np.searchsorted(upto, share * upto[-1])]] for share in shares)
    return float(low), float(high)


def _windows(scale: GreyScale, header: ImageHeader) -> Iterator[NamedWindow]:
    windows = [one for one in (scale.window, *scale.others) if isinstance(one, Window)]
    names = text(header.dataset, "WindowCenterWidthExplanation").split("\\")
    for number, window in enumerate(windows):
        # Names that do not count the windows may belong to others.
        name = names[number].strip()[:MOST_WORDS] if len(names) == len(windows) else ""
        yield _named(name or f"Window {number + 1}", window)


def _named(name: str, window: Window) -> NamedWindow:
    function = window.function if window.function in FUNCTIONS else FUNCTIONS[0]
    return NamedWindow(name, window.centre, window.width, function)


def _tables(scale: GreyScale, values: NDArray[np.float64]) -> Iterator[NamedTable]:
    tables = [one for one in (scale.voi_table, *scale.others) if isinstance(one, LookupTable)]
    for number, table in enumerate(tables):
        levels = np.rint(np.clip(table(values) / table.top, 0.0, 1.0) * 255.0)
        yield NamedTable(f"VOI LUT {number + 1}", levels.astype(np.uint8))


def _spacing(header: ImageHeader) -> tuple[tuple[float, float] | None, str]:
    """Return height and width of a pixel in mm, and the attribute that gives them."""
    for keyword in SPACINGS:
        pair = usable_pair(header.spacings[keyword])
        if keyword in _IN_MM and pair is not None and is_believed(pair):
            return pair, keyword
    return None, ""
