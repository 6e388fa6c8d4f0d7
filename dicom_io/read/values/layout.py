"""The layout of pixels as a header declares it, checked."""

from dataclasses import dataclass

from pydicom import Dataset

from dicom_io.errors import UndecodablePixelsError
from dicom_io.read.header import number, text

MAX_SAMPLES = 100_000_000
"""Samples in the largest image that is decoded; the largest detectors have a sixth of them."""

_PHOTOMETRICS = {
    "MONOCHROME1": 1,
    "MONOCHROME2": 1,
    "PALETTE COLOR": 1,
    "RGB": 3,
    "YBR_FULL": 3,
    "YBR_FULL_422": 3,
    "YBR_ICT": 3,
    "YBR_RCT": 3,
}
_DEPTHS = (8, 16, 32)


@dataclass(frozen=True, slots=True)
class Layout:
    """Layout of the pixels as the header declares it (PS3.3 C.7.6.3)."""

    rows: int
    columns: int
    samples: int
    bits_allocated: int
    bits_stored: int
    high_bit: int
    signed: bool
    photometric: str

    @property
    def is_grey(self) -> bool:
        """True if a sample is a grey value, not a colour or an index into a palette."""
        return self.photometric in {"MONOCHROME1", "MONOCHROME2"}


def layout_of(ds: Dataset, rows: float | None, columns: float | None) -> Layout:
    """Return the checked layout of an image with these values of Rows and Columns.

    A High Bit below which the stored bits have no room is taken as the lowest that holds them.

    Raises UndecodablePixelsError unless the layout makes one image that can be decoded.
    """
    allocated = _whole(ds, "BitsAllocated")
    stored = _whole(ds, "BitsStored", allocated)
    photometric = text(ds, "PhotometricInterpretation").upper()
    layout = Layout(
        rows=_as_whole(rows, "Rows"),
        columns=_as_whole(columns, "Columns"),
        samples=_whole(ds, "SamplesPerPixel", 1),
        bits_allocated=allocated,
        bits_stored=stored,
        high_bit=max(_whole(ds, "HighBit", stored - 1), stored - 1),
        signed=_whole(ds, "PixelRepresentation", 0) == 1,
        photometric=photometric,
    )
    problem = _layout_problem(layout, _whole(ds, "NumberOfFrames", 1))
    if problem:
        raise UndecodablePixelsError(problem)
    return layout


def _whole(ds: Dataset, keyword: str, default: int | None = None) -> int:
    return _as_whole(number(ds, keyword), keyword, default)


def _as_whole(value: float | None, keyword: str, default: int | None = None) -> int:
    if value is not None and value == int(value):
        return int(value)
    if default is not None and value is None:
        return default
    raise UndecodablePixelsError(f"the object has no usable {keyword}")


def _layout_problem(layout: Layout, frames: int) -> str:
    if layout.rows < 1 or layout.columns < 1:
        return f"the header declares {layout.rows} x {layout.columns} pixels"
    if frames > 1:
        return f"the object has {frames} frames, not one"
    if layout.rows * layout.columns * layout.samples > MAX_SAMPLES:
        return (
            f"the header declares {layout.rows} x {layout.columns} pixels, "
            f"above the limit of {MAX_SAMPLES // 10**6} million samples"
        )
    if _PHOTOMETRICS.get(layout.photometric) != layout.samples:
        return (
            f"PhotometricInterpretation {layout.photometric[:16]!r} with {layout.samples} "
            "samples per pixel is not supported"
        )
    deep_enough = layout.bits_stored <= layout.high_bit + 1 <= layout.bits_allocated
    if layout.bits_allocated not in _DEPTHS or layout.bits_stored < 1 or not deep_enough:
        return (
            f"{layout.bits_stored} bits stored in {layout.bits_allocated} with high bit "
            f"{layout.high_bit} is not supported"
        )
    return ""
