"""Grey scale of a film in a presentation state: Modality LUT, VOI LUT and polarity.

A presentation state overrides the whole grey scale of the image (PS3.4 N.2), including its
photometric interpretation. A step that the state omits is the identity. The state therefore repeats
the steps by which `dicom_io.read` decodes the film. A linear window stays a window, which a viewer
can move. A film with a lookup table or a sigmoid gets its whole curve as one table, because viewers
ignore a sigmoid in a presentation state.
"""

import numpy as np
from numpy.typing import NDArray
from pydicom.dataset import Dataset

from dicom_io.read.decode import Layout, layout_of
from dicom_io.read.grey_scale import Window, grey_values, modality_values
from dicom_io.read.header import items, number, numbers, text

MAX_BITS = 16
"""Bits that a lookup table can hold."""

_TOP = 65535


def add_grey_scale(ds: Dataset, source: Dataset, shown: NDArray[np.int64]) -> None:
    """Add Modality LUT, Softcopy VOI LUT and Softcopy Presentation LUT (PS3.3 C.11.1, 8, 6).

    `shown` are the stored values that determine the contrast of the film.
    """
    layout = layout_of(source)
    tables = items(source, "VOILUTSequence") or items(source, "ModalityLUTSequence")
    voi: Dataset | None
    if tables or _voi_function(source) == "SIGMOID":
        voi = _curve(source, shown, layout)
    else:
        _add_rescale(ds, source)
        voi = _window(source, shown, layout)
    if voi is not None:
        ds.SoftcopyVOILUTSequence = [voi]
    inverse = text(source, "PresentationLUTShape").upper() == "INVERSE"
    inverted = inverse or layout.photometric == "MONOCHROME1"
    ds.PresentationLUTShape = "INVERSE" if inverted else "IDENTITY"


def _curve(source: Dataset, shown: NDArray[np.int64], layout: Layout) -> Dataset:
    """Return a table from every possible stored value to 16 bits of grey."""
    low = -(1 << layout.bits_stored - 1) if layout.signed else 0
    stored = np.arange(low, low + (1 << layout.bits_stored), dtype=np.float64)
    modality, _ = modality_values(stored, source, layout)
    occurring = np.zeros(stored.shape, dtype=bool)
    occurring[shown - low] = True
    grey, _ = grey_values(modality, occurring, source, layout)
    count = len(stored) & 0xFFFF  # 0 stands for 65536 (C.11.1.1)
    table = Dataset()
    if low < 0:
        signed = count - (1 << MAX_BITS) if count >= 1 << MAX_BITS - 1 else count
        table.add_new("LUTDescriptor", "SS", [signed, low, MAX_BITS])
    else:
        table.add_new("LUTDescriptor", "US", [count, low, MAX_BITS])
    table.LUTExplanation = "Grey scale as read by the AI"
    table.add_new("LUTData", "OW", np.rint(grey * _TOP).astype("<u2").tobytes())
    item = Dataset()
    item.VOILUTSequence = [table]
    return item


def _voi_function(source: Dataset) -> str:
    return text(source, "VOILUTFunction").partition("\\")[0].upper()


def _add_rescale(ds: Dataset, source: Dataset) -> None:
    slope, intercept = number(source, "RescaleSlope"), number(source, "RescaleIntercept")
    slope = 1.0 if slope is None else slope
    intercept = 0.0 if intercept is None else intercept
    if slope == 0 or not np.isfinite([slope, intercept]).all() or (slope, intercept) == (1.0, 0.0):
        return
    ds.RescaleIntercept = f"{intercept:.10g}"
    ds.RescaleSlope = f"{slope:.10g}"
    ds.RescaleType = "US"


def _window(source: Dataset, shown: NDArray[np.int64], layout: Layout) -> Dataset | None:
    """Return the first window of the film if it is valid, else a window over its values."""
    centres, widths = numbers(source, "WindowCenter"), numbers(source, "WindowWidth")
    if centres and widths:
        function = "LINEAR_EXACT" if _voi_function(source) == "LINEAR_EXACT" else "LINEAR"
        window = Window(centres[0], widths[0], function)
        if np.isfinite([window.centre, window.width]).all() and window.is_valid:
            return _window_item(window)
    return _full_range(source, shown, layout)


def _full_range(source: Dataset, shown: NDArray[np.int64], layout: Layout) -> Dataset | None:
    extremes = np.array([shown.min(), shown.max()], dtype=np.float64)
    values, _ = modality_values(extremes, source, layout)
    grey, _ = grey_values(values, np.ones(2, dtype=bool), source, layout)
    low, high = float(values.min()), float(values.max())
    if low == high or (grey.min(), grey.max()) != (0.0, 1.0):
        return None
    return _window_item(Window((low + high + 1) / 2, high - low + 1, "LINEAR"))


def _window_item(window: Window) -> Dataset:
    item = Dataset()
    item.WindowCenter = f"{window.centre:.10g}"
    item.WindowWidth = f"{window.width:.10g}"
    if window.function != "LINEAR":
        item.VOILUTFunction = window.function
    return item
