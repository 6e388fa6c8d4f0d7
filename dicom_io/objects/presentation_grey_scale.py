"""Grey scale of a film in a presentation state: Modality LUT, VOI LUT and polarity.

A presentation state overrides the whole grey scale of the image (PS3.4 N.2), including its
photometric interpretation. A step that the state omits is the identity. The state therefore repeats
the steps by which `dicom_io.read` decodes the film, with its departures from the header. A
linear window stays a window, which a viewer can move. A film with a lookup table or a sigmoid, or
with another sign than the header says, gets its whole curve as one table: viewers ignore a sigmoid
in a presentation state, and read the values as the header says.
"""

from dataclasses import replace

import numpy as np
from numpy.typing import NDArray
from pydicom.dataset import Dataset

from dicom_io.read.grey_scale import GreyScale, Window
from dicom_io.read.image_header import ImageHeader
from dicom_io.read.tone import Tone
from dicom_io.read.values.layout import Layout

MAX_BITS = 16
"""Bits that a lookup table can hold."""

_TOP = 65535


def add_grey_scale(ds: Dataset, source: ImageHeader, tone: Tone, shown: NDArray[np.int64]) -> None:
    """Add Modality LUT, Softcopy VOI LUT and Softcopy Presentation LUT (PS3.3 C.11.1, 8, 6).

    `tone` is the departure from the grey scale of the header. `shown` are the stored values that
    determine the contrast of the film.
    """
    layout = tone.layout_of(source.layout)
    scale = tone.of(source.grey_scale_of(layout))
    if scale.has_tables or scale.function == "SIGMOID" or layout != source.layout:
        ds.SoftcopyVOILUTSequence = [_curve(source.layout, layout, scale, shown)]
    else:
        _add_rescale(ds, scale)
        window = _linear_window(scale, shown)
        if window is not None:
            ds.SoftcopyVOILUTSequence = [_window_item(window)]
    ds.PresentationLUTShape = "INVERSE" if scale.is_inverted else "IDENTITY"


def _curve(declared: Layout, layout: Layout, scale: GreyScale, shown: NDArray[np.int64]) -> Dataset:
    """Return a table from every possible stored value to 16 bits of grey.

    A viewer reads the values by the declared layout, so the table is in the order of these.
    """
    span = 1 << declared.bits_stored
    low = -span // 2 if declared.signed else 0
    stored = np.arange(low, low + span)
    if declared.signed and not layout.signed:
        stored %= span
    grey, _ = scale.voi(scale.modality(stored.astype(np.float64)), np.isin(stored, shown))
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
