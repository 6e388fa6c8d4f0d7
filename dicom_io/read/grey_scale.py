"""The grey scale of an image: padding, Modality LUT, VOI LUT or window, and polarity.

Values are float64 arrays of any shape; each value is mapped on its own.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from pydicom import Dataset
from pydicom.uid import UID

from dicom_io.read.header import items, number, numbers, text
from dicom_io.read.values.layout import Layout

Values = NDArray[np.float64]

BYTE_BITS = 8
_FULL_BITS = 16
_UNSIGNED_TOP = float((1 << _FULL_BITS) - 1)

MOST_FUNCTIONS = 8
"""VOI LUTs of an image that are tried, and windows."""


@dataclass(frozen=True, slots=True)
class LookupTable:
    """A lookup table (PS3.3 C.11.1.1): `entries[0]` is the output for `first` and lower values.

    `top` is the output of full scale: the largest value of the declared number of bits, or of the
    bits that the entries need if they are more. `declared` is the number of entries that the
    descriptor declares; the data may hold fewer.
    """

    first: int
    entries: Values
    top: float
    declared: int

    @property
    def largest(self) -> float:
        """The largest entry."""
        return float(self.entries.max())

    @property
    def wastes_bits(self) -> bool:
        """True if no entry reaches half of full scale: more bits are declared than are used."""
        return 0 < self.largest <= self.top / 2

    def __call__(self, values: Values) -> Values:
        """Look the values up; a value beyond either end takes the nearest entry."""
        # int64, because an index of 8 or 16 bits would wrap around in a longer table.
        index = np.rint(values).astype(np.int64) - self.first
        return self.entries[np.clip(index, 0, len(self.entries) - 1)]


@dataclass(frozen=True, slots=True)
class Window:
    """A window of PS3.3 C.11.2.1.2 and C.11.2.1.3."""

    centre: float
    width: float
    function: str

    @property
    def name(self) -> str:
        """The window in a note."""
        return f"WindowCenter {self.centre:g} and WindowWidth {self.width:g}"

    @property
    def is_valid(self) -> bool:
        """True if the function allows the width."""
        return self.width >= 1 if self.function == "LINEAR" else self.width > 0

    def __call__(self, values: Values) -> Values:
        """Map the values to 0…1."""
        if self.function == "SIGMOID":
            # Beyond ±60 the curve is flat in float64, and exp would overflow.
            slope = np.clip(-4.0 * (values - self.centre) / self.width, -60.0, 60.0)
            return 1.0 / (1.0 + np.exp(slope))
        if self.function == "LINEAR_EXACT":
            return np.clip((values - self.centre) / self.width + 0.5, 0.0, 1.0)
        if self.width == 1:
            return (values > self.centre - 0.5).astype(np.float64)
        return np.clip((values - (self.centre - 0.5)) / (self.width - 1.0) + 0.5, 0.0, 1.0)


@dataclass(frozen=True, slots=True)
class GreyScale:
    """The chain from stored values to grey levels that an image's header states (PS3.4 N.2).

    `padding` is the range of stored values that stand for pixels outside the film. `slope` and
    `intercept` apply where there is no `modality_table`; `window` applies where there is no
    `voi_table`. `others` are the further VOI LUTs and windows in their order. `has_tables` is True
    if the header holds a lookup table, even an unusable one. `notes` name unusable or unknown
    values; `polarity_notes` are listed after the notes that `voi` returns.
    """

    bits_stored: int
    padding: tuple[float, float] | None
    modality_table: LookupTable | None
    slope: float
    intercept: float
    voi_table: LookupTable | None
    window: Window | None
    others: tuple[LookupTable | Window, ...]
    function: str
    has_tables: bool
    is_inverted: bool
    notes: tuple[str, ...]
    polarity_notes: tuple[str, ...]

    def is_padding(self, values: Values) -> NDArray[np.bool_]:
        """Mark the stored values that stand for pixels outside the film."""
        if self.padding is None:
            return np.zeros(values.shape, dtype=bool)
        return (values >= self.padding[0]) & (values <= self.padding[1])

    def modality(self, values: Values) -> Values:
        """Apply the Modality LUT Sequence, else Rescale Slope and Intercept (PS3.3 C.11.1)."""
        if self.modality_table is not None:
            return self.modality_table(values)
        return values * self.slope + self.intercept

    def voi(self, values: Values, shown: NDArray[np.bool_]) -> tuple[Values, tuple[str, ...]]:
        """Map modality values to 0…1 as the VOI LUT module says (PS3.3 C.11.2), with notes.

        A VOI LUT Sequence goes before a window: the standard lets the viewer choose, and the
        table is the tone curve that the vendor made for this image. Of several windows or tables
        the first counts, which vendors use for the default view. Without either, an 8-bit image is
        shown as it is and any other from the smallest to the largest value among `shown`.
        """
        if self.voi_table is not None:
            return np.clip(self.voi_table(values) / self.voi_table.top, 0.0, 1.0), ()
        if self.window is not None:
            return self.window(values), ()
        return self._full_range(values, values[shown])

    def _full_range(self, values: Values, visible: Values) -> tuple[Values, tuple[str, ...]]:
        low, high = float(visible.min()), float(visible.max())
        if self.bits_stored == BYTE_BITS and low >= 0 and high <= 255:
            return np.clip(values / 255.0, 0.0, 1.0), ()
        note = "no window or VOI LUT: shown from the smallest to the largest value"
        if high == low:
            return np.zeros_like(values), (note,)
        return np.clip((values - low) / (high - low), 0.0, 1.0), (note,)


def grey_scale_of(ds: Dataset, transfer_syntax: UID, layout: Layout) -> GreyScale:
    """Read the grey scale of a dataset."""
    tables = {
        keyword: items(ds, keyword)[:most]
        for keyword, most in (("ModalityLUTSequence", 1), ("VOILUTSequence", MOST_FUNCTIONS))
    }
    slope, intercept, rescale_notes = _rescale(ds)
    stored = _stored_range(layout)
    modality_tables = _lookup_tables(tables["ModalityLUTSequence"], transfer_syntax, stored)
    modality_table = next(iter(modality_tables), None)
    rescaled = sorted(slope * end + intercept for end in stored)
    # The output of a Modality LUT is unsigned (PS3.3 C.11.1.1.1).
    to_voi = (rescaled[0], rescaled[1]) if modality_table is None else (0.0, _UNSIGNED_TOP)
    voi_tables = _lookup_tables(tables["VOILUTSequence"], transfer_syntax, to_voi)
    voi_table = next(iter(voi_tables), None)
    function = text(ds, "VOILUTFunction").partition("\\")[0].upper() or "LINEAR"
    windows, window_notes = _windows(ds, function)
    is_inverted, polarity_notes = _polarity(ds, layout)
    return GreyScale(
        bits_stored=layout.bits_stored,
        padding=_padding(ds, layout),
        modality_table=modality_table,
        slope=slope,
        intercept=intercept,
        voi_table=voi_table,
        window=next(iter(windows), None),
        others=(*voi_tables[1:], *windows[0 if voi_tables else 1 :]),
        function=function,
        has_tables=any(tables.values()),
        is_inverted=is_inverted,
        notes=(
            *(rescale_notes if modality_table is None else ()),
            *(window_notes if voi_table is None else ()),
        ),
        polarity_notes=polarity_notes,
    )


def _padding(ds: Dataset, layout: Layout) -> tuple[float, float] | None:
    """Return the range of padding values (PS3.3 C.7.5.1.1.2)."""
    value = number(ds, "PixelPaddingValue")
    if value is None:
        return None
    limit = number(ds, "PixelPaddingRangeLimit")
    ends = [_as_pixel(end, layout) for end in (value, value if limit is None else limit)]
    return min(ends), max(ends)


def _as_pixel(value: float, layout: Layout) -> float:
    """Correct a value written as unsigned where the pixels are signed, or the reverse."""
    span = float(1 << layout.bits_allocated)
    if layout.signed and value >= span / 2:
        return value - span
    return value + span if not layout.signed and value < 0 else value


def _rescale(ds: Dataset) -> tuple[float, float, tuple[str, ...]]:
    """Return slope, intercept and notes; an unusable pair counts as 1 and 0."""
    slope = number(ds, "RescaleSlope")
    intercept = number(ds, "RescaleIntercept")
    slope = 1.0 if slope is None else slope
    intercept = 0.0 if intercept is None else intercept
    if slope == 0 or not np.isfinite([slope, intercept]).all():
        return 1.0, 0.0, ("RescaleSlope or RescaleIntercept is unusable and was ignored",)
    return slope, intercept, ()


def _windows(ds: Dataset, function: str) -> tuple[tuple[Window, ...], tuple[str, ...]]:
    """Return the usable windows, and notes; none if the first is unusable and the only one."""
    centres, widths = numbers(ds, "WindowCenter"), numbers(ds, "WindowWidth")
    pairs = list(zip(centres, widths, strict=False))[:MOST_FUNCTIONS]
    windows = tuple(
        window
        for window in (Window(centre, width, function) for centre, width in pairs)
        if np.isfinite([window.centre, window.width]).all() and window.is_valid
    )
    if not windows:
        return (), ("the window is unusable and was ignored",) if centres or widths else ()
    known = function in {"LINEAR", "LINEAR_EXACT", "SIGMOID"}
    unknown = (f"VOILUTFunction {function!r} is unknown and was taken as LINEAR",)
    return windows, () if known else unknown


def _polarity(ds: Dataset, layout: Layout) -> tuple[bool, tuple[str, ...]]:
    """Return True if the image is shown inverted, and notes.

    MONOCHROME1 means that the smallest value is white (PS3.3 C.7.6.3.1.2). Presentation LUT Shape
    INVERSE states the same (C.8.11.3): with both, the image is inverted once, not twice.
    """
    if layout.photometric == "MONOCHROME1":
        return True, ()
    if text(ds, "PresentationLUTShape").upper() == "INVERSE":
        return True, ("MONOCHROME2 with PresentationLUTShape INVERSE: shown inverted",)
    return False, ()


def _lookup_tables(
    lut_items: tuple[Dataset, ...], transfer_syntax: UID, inputs: tuple[float, float]
) -> tuple[LookupTable, ...]:
    """Read the usable tables of a LUT sequence; `inputs` are the ends of what they may map."""
    tables = []
    for item in lut_items:
        descriptor = numbers(item, "LUTDescriptor")
        entries = _entries(item, transfer_syntax, descriptor)
        if len(entries):
            first = _signed_first(int(descriptor[1]), inputs)
            top = _top(int(descriptor[2]), entries)
            tables.append(LookupTable(first, entries, top, _count(descriptor)))
    return tuple(tables)


def _entries(item: Dataset, transfer_syntax: UID, descriptor: tuple[float, ...]) -> Values:
    """Return LUT Data of any VR: numbers, or raw bytes that hold 16-bit or 8-bit entries."""
    nothing = np.zeros(0)
    if len(descriptor) != 3 or "LUTData" not in item:
        return nothing
    count = _count(descriptor)
    data = item.LUTData
    if not isinstance(data, bytes):
        return np.array(numbers(item, "LUTData")[:count], dtype=np.float64)
    if len(data) in {count, count + count % 2} and int(descriptor[2]) <= BYTE_BITS:
        return np.frombuffer(data, "u1")[:count].astype(np.float64)
    order = "<" if transfer_syntax.is_little_endian else ">"
    words = np.frombuffer(data[: len(data) // 2 * 2], f"{order}u2")
    return words[:count].astype(np.float64)


def _count(descriptor: tuple[float, ...]) -> int:
    """Return the declared number of entries."""
    # Zero stands for 65536; a descriptor that is read as signed has large counts negative.
    return (int(descriptor[0]) & 0xFFFF) or 1 << _FULL_BITS


def _stored_range(layout: Layout) -> tuple[float, float]:
    """Return the smallest and the largest stored value that the layout allows."""
    half = float(1 << (layout.bits_stored - 1))
    return (-half, half - 1) if layout.signed else (0.0, 2 * half - 1)


def _signed_first(first: int, inputs: tuple[float, float]) -> int:
    """Return the first mapped input value (PS3.3 C.11.2.1.1).

    A value above all inputs was written as signed and read as unsigned if inputs may be negative.
    """
    low, high = inputs
    is_negative = first >= 1 << 15 and low < 0 and first > high
    return first - (1 << _FULL_BITS) if is_negative else first


def _top(bits: int, entries: Values) -> float:
    """Return the output of full scale; a declared depth that the entries exceed is ignored."""
    needed = max(1, int(entries.max()).bit_length())
    depth = bits if needed <= bits <= _FULL_BITS else needed
    return float((1 << depth) - 1)
