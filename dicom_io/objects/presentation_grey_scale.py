"""Grey scale of a film in a presentation state: Modality LUT, VOI LUT and polarity.

A presentation state overrides the whole grey scale of the image (PS3.4 N.2), including its
photometric interpretation. A step that the state omits is the identity. The state therefore repeats
the steps by which `dicom_io.read` decodes the film. A linear window stays a window, which a viewer
can move. A film with a lookup table or a sigmoid gets its whole curve as one table, because viewers
ignore a sigmoid in a presentation state.
"""

from dataclasses import replace

import numpy as np
from numpy.typing import NDArray
from pydicom.dataset import Dataset

from dicom_io.read.decode import Layout
from dicom_io.read.grey_scale import GreyScale, Window

MAX_BITS = 16
"""Bits that a lookup table can hold."""

_TOP = 65535


def add_grey_scale(ds: Dataset, layout: Layout, scale: GreyScale, shown: NDArray[np.int64]) -> None:
    """Add Modality LUT, Softcopy VOI LUT and Softcopy Presentation LUT (PS3.3 C.11.1, 8, 6).

    `shown` are the stored values that determine the contrast of the film.
    """
    if scale.has_tables or scale.function == "SIGMOID":
        ds.SoftcopyVOILUTSequence = [_curve(layout, scale, shown)]
    else:
        _add_rescale(ds, scale)
        window = _linear_window(scale, shown)
        if window is not None:
            ds.SoftcopyVOILUTSequence = [_window_item(window)]
    ds.PresentationLUTShape = "INVERSE" if scale.is_inverted else "IDENTITY"


def _curve(layout: Layout, scale: GreyScale, shown: NDArray[np.int64]) -> Dataset:
    """Return a table from every possible stored value to 16 bits of grey."""
    low = -(1 << layout.bits_stored - 1) if layout.signed else 0
    stored = np.arange(low, low + (1 << layout.bits_stored), dtype=np.float64)
    occurring = np.zeros(stored.shape, dtype=bool)
    occurring[shown - low] = True
    grey, _ = scale.voi(scale.modality(stored), occurring)
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


def _add_rescale(ds: Dataset, scale: GreyScale) -> None:
    if (scale.slope, scale.intercept) == (1.0, 0.0):
        return
    ds.RescaleIntercept = f"{scale.intercept:.10g}"
    ds.RescaleSlope = f"{scale.slope:.10g}"
    ds.RescaleType = "US"


def _linear_window(scale: GreyScale, shown: NDArray[np.int64]) -> Window | None:
    """Return the window of the film if it has one, else a window over its values."""
    if scale.window is not None:
        function = "LINEAR_EXACT" if scale.function == "LINEAR_EXACT" else "LINEAR"
        window = replace(scale.window, function=function)
        if window.is_valid:
            return window
    values = scale.modality(np.array([shown.min(), shown.max()], dtype=np.float64))
    grey, _ = scale.voi(values, np.ones(2, dtype=bool))
    low, high = float(values.min()), float(values.max())
    if low == high or (grey.min(), grey.max()) != (0.0, 1.0):
        return None
    return Window((low + high + 1) / 2, high - low + 1, "LINEAR")


def _window_item(window: Window) -> Dataset:
    item = Dataset()
    item.WindowCenter = f"{window.centre:.10g}"
    item.WindowWidth = f"{window.width:.10g}"
    if window.function != "LINEAR":
        item.VOILUTFunction = window.function
    return item
