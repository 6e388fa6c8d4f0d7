"""Rendering in the type of the stored pixels gives the bytes of a plain rendering in float64."""

from itertools import product
from typing import Any

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray
from pydicom import Dataset
from pydicom.uid import ExplicitVRBigEndian, ExplicitVRLittleEndian, ImplicitVRLittleEndian

from dicom_io.gate.pixel_check import percentile
from dicom_io.read.image_header import ImageHeader
from dicom_io.read.pixels import display_pixels
from dicom_io.read.shutter import visible_pixels
from dicom_io.read.tone import DECLARED
from dicom_io.read.values.pixel_index import LEVELS, index_of, level_counts
from tests.builders.images.films import chest_film, chest_values, lut_item

ROWS, COLUMNS = 64, 56
BRIGHTNESS = chest_values(ROWS, COLUMNS) / chest_values(ROWS, COLUMNS).max()
DEPTHS = [(8, False), (8, True), (10, False), (12, True), (16, False), (16, True)]
TONES = ["none", "window", "exact", "sigmoid", "rescale", "voi", "modality", "padding", "paddings"]
SHUTTERS: dict[str, dict[str, Any]] = {
    "whole": {},
    "rectangle": {
        "ShutterShape": "RECTANGULAR",
        "ShutterLeftVerticalEdge": 5,
        "ShutterRightVerticalEdge": 50,
        "ShutterUpperHorizontalEdge": 8,
        "ShutterLowerHorizontalEdge": 60,
    },
    "circle": {
        "CollimatorShape": "CIRCULAR",
        "CenterOfCircularCollimator": [32, 28],
        "RadiusOfCircularCollimator": 26,
    },
}


def film(depth: tuple[int, bool], tone: str, shutter: str, **attributes: Any) -> Dataset:
    bits, signed = depth
    low = -(1 << (bits - 1)) if signed else 0
    values = np.rint(BRIGHTNESS * ((1 << bits) - 1)).astype(np.int64) + low
    width, middle = float(1 << bits), low + float(1 << (bits - 1))
    entries = np.sqrt(np.linspace(0, 1, 1 << bits)) * 4095
    tones: dict[str, dict[str, Any]] = {
        "none": {},
        "window": {"WindowCenter": middle, "WindowWidth": 0.7 * width},
        "rescale": {
            "RescaleSlope": 0.5,
            "RescaleIntercept": -3.0,
            "WindowCenter": 0.5 * middle,
            "WindowWidth": 0.4 * width,
        },
        "voi": {"VOILUTSequence": [lut_item(low, entries, 12, as_bytes=True)]},
        "modality": {"ModalityLUTSequence": [lut_item(low, entries, 12, as_bytes=True)]},
        "padding": {"PixelPaddingValue": int(values[0, 0])},
        "paddings": {
            "PixelPaddingValue": int(values.min()),
            "PixelPaddingRangeLimit": int(values.min() + (1 << bits) // 20),
        },
    }
    for name, function in (("exact", "LINEAR_EXACT"), ("sigmoid", "SIGMOID")):
        tones[name] = tones["window"] | {"VOILUTFunction": function}
    return chest_film(
        values, bits_stored=bits, signed=signed, **tones[tone], **SHUTTERS[shutter], **attributes
    )


def plainly(header: ImageHeader) -> NDArray[np.uint8]:
    """Render every pixel on its own, in float64."""
    values = header.dataset.pixel_array.astype(np.float64)
    scale = header.grey_scale
    seen, _ = visible_pixels(header.dataset, *values.shape)
    visible = np.ones(values.shape, dtype=bool) if seen is None else seen
    padding = scale.is_padding(values)
    grey, _ = scale.voi(scale.modality(values), visible & ~padding)
    grey = 1.0 - grey if scale.is_inverted else grey
    return np.rint(np.where(padding | ~visible, 0.0, grey) * 255.0).astype(np.uint8)


@pytest.mark.parametrize("shutter", SHUTTERS)
@pytest.mark.parametrize("depth", DEPTHS, ids=str)
def test_each_pixel_is_that_of_a_plain_rendering(depth: tuple[int, bool], shutter: str) -> None:
    for tone, photometric in product(TONES, ("MONOCHROME1", "MONOCHROME2")):
        syntaxes = [ExplicitVRLittleEndian]
        if tone == "none":
            syntaxes += [ImplicitVRLittleEndian, ExplicitVRBigEndian]
        for syntax in syntaxes:
            made = film(depth, tone, shutter, photometric=photometric, syntax=syntax)
            image = display_pixels(ImageHeader.of(made))
            wanted = plainly(ImageHeader.of(made))
            assert image.tone == DECLARED
            assert (image.array == wanted).all(), (tone, photometric, syntax)
            seen, _ = visible_pixels(made, ROWS, COLUMNS)
            visible = wanted.ravel() if seen is None else wanted[seen]
            assert (image.levels == np.bincount(visible, minlength=LEVELS)).all()
            hidden = image.hidden()
            assert hidden is None or (wanted[hidden] == 0).all()
            assert (hidden is None) is (shutter == "whole" and not tone.startswith("padding"))


@pytest.mark.parametrize("kind", ["u1", "i1", "<u2", ">u2", "<i2", ">i2", "i4", "u4", "i8"])
@pytest.mark.parametrize("masked", [False, True])
@pytest.mark.parametrize("version", ["4.10.0", "5.0.0"])
def test_values_of_every_type_are_counted_and_looked_up(
    kind: str, masked: bool, version: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    if version < cv2.__version__:
        monkeypatch.setattr(cv2, "__version__", version)
    elif version > cv2.__version__:
        pytest.skip("this OpenCV looks up 8-bit pixels only")
    rng = np.random.default_rng(1)
    numpy_type = np.dtype(kind)
    spans = [(0, 100), (3, 90)]
    if numpy_type.itemsize > 1:
        spans += [(5, 30_000)] + ([(-20_000, 9_000)] if numpy_type.kind == "i" else [])
    if numpy_type.itemsize > 2:
        spans += [(1_000_000, 1_070_000), (70_000, 70_900)]
    for low, high in spans:
        stored = rng.integers(low, high, (40, 30)).astype(numpy_type)
        stored[0, :2] = low, high
        seen = rng.random(stored.shape) > 0.5 if masked else None
        values = np.arange(low, high + 1)
        index = index_of(stored, low, high)
        kept = stored.astype(np.int64).ravel() if seen is None else stored[seen].astype(np.int64)
        assert (index.count(values, seen) == np.bincount(kept - low, minlength=len(values))).all()
        table = rng.integers(0, 256, len(values)).astype(np.uint8)
        assert (index.look_up(values, table) == table[stored.astype(np.int64) - low]).all()


def test_more_pixels_of_a_level_than_float32_counts_exactly() -> None:
    assert level_counts(np.zeros((4097, 4099), np.uint8), None)[0] == 4097 * 4099


def test_percentiles_are_those_of_numpy() -> None:
    rng = np.random.default_rng(2)
    for size in (1, 2, 3, 101, 5000):
        pixels = rng.integers(0, 256, size).astype(np.uint8)
        levels = np.bincount(pixels, minlength=LEVELS)
        for percent in (0, 1, 37, 50, 99, 100):
            assert percentile(levels, percent) == np.percentile(pixels, percent)
