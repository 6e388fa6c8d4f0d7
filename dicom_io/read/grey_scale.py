"""From stored grey values to the values of interest: Modality LUT, VOI LUT and windows.

Every function takes and returns float64 arrays of any shape and treats each value on its own.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from pydicom import Dataset

from dicom_io.read.decode import Layout
from dicom_io.read.header import items, number, numbers, text

Values = NDArray[np.float64]

_BYTE_BITS = 8

_FULL_BITS = 16


@dataclass(frozen=True, slots=True)
class LookupTable:
    """A LUT of PS3.3 C.11.1.1: `entries[0]` is for `first` and everything below it.

    `top` is the largest value that the declared number of bits can hold.
    """

    first: int
    entries: Values
    top: float

    def __call__(self, values: Values) -> Values:
        """Look the values up; those beyond either end take the nearest entry."""
        # int64: an index of the LUT's own 8 or 16 bits wraps around in longer tables.
        index = np.rint(values).astype(np.int64) - self.first
        return self.entries[np.clip(index, 0, len(self.entries) - 1)]


@dataclass(frozen=True, slots=True)
class Window:
    """A window of PS3.3 C.11.2.1.2 and C.11.2.1.3."""

    centre: float
    width: float
    function: str

    @property
    def is_valid(self) -> bool:
        """Whether the width is one that the function allows."""
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


def modality_values(values: Values, ds: Dataset, layout: Layout) -> tuple[Values, tuple[str, ...]]:
    """Apply the Modality LUT Sequence, else Rescale Slope and Intercept (PS3.3 C.11.1)."""
    table = _lookup_table(ds, "ModalityLUTSequence", layout)
    if table is not None:
        return table(values), ()
    slope = number(ds, "RescaleSlope")
    intercept = number(ds, "RescaleIntercept")
    slope = 1.0 if slope is None else slope
    intercept = 0.0 if intercept is None else intercept
    if slope == 0 or not np.isfinite([slope, intercept]).all():
        return values, ("RescaleSlope or RescaleIntercept is unusable and was ignored",)
    return values * slope + intercept, ()


def grey_values(
    values: Values, shown: NDArray[np.bool_], ds: Dataset, layout: Layout
) -> tuple[Values, tuple[str, ...]]:
    """Map modality values to 0…1 as the VOI LUT module says (PS3.3 C.11.2).

    A VOI LUT Sequence goes before a window: the standard leaves the choice, and the table is the
    tone curve that the vendor made for this image. Of several windows or tables the first counts,
    which vendors use for the default view. With neither, 8-bit images are shown as they are and
    others from the smallest to the largest value among `shown`.
    """
    table = _lookup_table(ds, "VOILUTSequence", layout)
    if table is not None:
        return np.clip(table(values) / table.top, 0.0, 1.0), ()
    centres, widths = numbers(ds, "WindowCenter"), numbers(ds, "WindowWidth")
    if centres and widths:
        function = text(ds, "VOILUTFunction").partition("\\")[0].upper() or "LINEAR"
        window = Window(centres[0], widths[0], function)
        if np.isfinite([window.centre, window.width]).all() and window.is_valid:
            known = function in {"LINEAR", "LINEAR_EXACT", "SIGMOID"}
            unknown = (f"VOILUTFunction {function!r} is unknown and was taken as LINEAR",)
            return window(values), () if known else unknown
    remarks = ("the window is unusable and was ignored",) if centres or widths else ()
    scaled, how = _full_range(values, shown, layout)
    return scaled, (*remarks, *how)


def _full_range(
    values: Values, shown: NDArray[np.bool_], layout: Layout
) -> tuple[Values, tuple[str, ...]]:
    visible = values[shown]
    if layout.bits_stored == _BYTE_BITS and visible.min() >= 0 and visible.max() <= 255:
        return np.clip(values / 255.0, 0.0, 1.0), ()
    low, high = float(visible.min()), float(visible.max())
    note = "no window or VOI LUT: shown from the smallest to the largest value"
    if high == low:
        return np.zeros_like(values), (note,)
    return np.clip((values - low) / (high - low), 0.0, 1.0), (note,)


def _lookup_table(ds: Dataset, keyword: str, layout: Layout) -> LookupTable | None:
    """The first usable item of a LUT sequence."""
    for item in items(ds, keyword)[:1]:
        descriptor = numbers(item, "LUTDescriptor")
        entries = _entries(item, ds, descriptor)
        if len(entries):
            return LookupTable(
                first=_signed_first(int(descriptor[1]), layout),
                entries=entries,
                top=_top(int(descriptor[2]), entries),
            )
    return None


def _entries(item: Dataset, ds: Dataset, descriptor: tuple[float, ...]) -> Values:
    """LUT Data, whatever its VR: words, or bytes that hold words or bytes."""
    nothing = np.zeros(0)
    if len(descriptor) != 3 or "LUTData" not in item:
        return nothing
    # Zero stands for 65536; a signed reading of the descriptor makes large counts negative.
    count = (int(descriptor[0]) & 0xFFFF) or 1 << _FULL_BITS
    data = item.LUTData
    if not isinstance(data, bytes):
        return np.array(numbers(item, "LUTData")[:count], dtype=np.float64)
    if len(data) in {count, count + count % 2} and int(descriptor[2]) <= _BYTE_BITS:
        return np.frombuffer(data, "u1")[:count].astype(np.float64)
    order = "<" if ds.file_meta.TransferSyntaxUID.is_little_endian else ">"
    words = np.frombuffer(data[: len(data) // 2 * 2], f"{order}u2")
    return words[:count].astype(np.float64)


def _signed_first(first: int, layout: Layout) -> int:
    """First input value mapped, which is signed where the pixels are."""
    return first - (1 << _FULL_BITS) if layout.signed and first >= 1 << 15 else first


def _top(bits: int, entries: Values) -> float:
    """Largest output value; a declared depth that the entries do not fit is not believed."""
    needed = max(1, int(entries.max()).bit_length())
    depth = bits if needed <= bits <= _FULL_BITS else needed
    return float((1 << depth) - 1)
