"""A film's grey scale as a presentation state says it: Modality LUT, VOI LUT and polarity.

A presentation state defines the whole chain and overrides the image's own (PS3.4 N.2), its
photometric interpretation included; what it leaves out is the identity. So it states the chain
that `pixels` reads the film by. Linear windows stay windows, which a viewer can move; a film with
a lookup table or a sigmoid gets its whole curve as one table, since viewers ignore sigmoids there.
"""

import numpy as np
from numpy.typing import NDArray
from pydicom.dataset import Dataset

from dicom_io.read.decode import Layout, layout_of
from dicom_io.read.grey_scale import Window, grey_values, modality_values
from dicom_io.read.header import items, number, numbers, text

MAX_BITS = 16
"""More bits than these do not fit a lookup table."""

_TOP = 65535


def add_tone(ds: Dataset, source: Dataset, shown: NDArray[np.int64]) -> None:
    """Add Modality LUT, Softcopy VOI LUT and Softcopy Presentation LUT (PS3.3 C.11.1, 8, 6).

    `shown` are the film's stored values that take part in its contrast.
    """
    layout = layout_of(source)
    tables = items(source, "VOILUTSequence") or items(source, "ModalityLUTSequence")
    if tables or _function(source) == "SIGMOID":
        _add_voi(ds, _curve(source, shown, layout))
    else:
        _add_rescale(ds, source)
        voi = _window(source, shown, layout)
        if voi is not None:
            _add_voi(ds, voi)
    inverse = text(source, "PresentationLUTShape").upper() == "INVERSE"
    inverted = inverse or layout.photometric == "MONOCHROME1"
    ds.PresentationLUTShape = "INVERSE" if inverted else "IDENTITY"


def _add_voi(ds: Dataset, item: Dataset) -> None:
    ds.SoftcopyVOILUTSequence = [item]


def _curve(source: Dataset, shown: NDArray[np.int64], layout: Layout) -> Dataset:
    """From every stored value that can occur straight to 16 bits of grey."""
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


def _function(source: Dataset) -> str:
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
    """The film's first window, else one from its smallest to its largest value."""
    centres, widths = numbers(source, "WindowCenter"), numbers(source, "WindowWidth")
    if centres and widths:
        function = "LINEAR_EXACT" if _function(source) == "LINEAR_EXACT" else "LINEAR"
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
