"""Decodes Pixel Data into numbers, after a check of the declared layout.

GDCM ends the whole process if the precision of a JPEG image differs from the declared one. The
decoder therefore gets the precision from the codestream; the DICOM header decides which bits count.
"""

import copy
from dataclasses import dataclass, replace

import numpy as np
from pydicom import Dataset
from pydicom.encaps import encapsulate
from pydicom.pixels.utils import pixel_array
from pydicom.uid import (
    UID,
    JPEG2000TransferSyntaxes,
    JPEGBaseline8Bit,
    JPEGExtended12Bit,
    JPEGLossless,
    JPEGLSNearLossless,
    JPEGLSTransferSyntaxes,
    JPEGTransferSyntaxes,
)

from dicom_io.errors import UndecodablePixelsError
from dicom_io.read.bounded_parser import PARSER_ERRORS
from dicom_io.read.codestream import (
    END,
    SEQUENCE_END,
    Codestream,
    ended_otherwise,
    is_last_part_of_unknown_length,
    items_at,
    lacks_end,
    read_j2k,
    read_jpeg,
)
from dicom_io.read.header import number, text
from dicom_io.read.warnings_off import suppressed_warnings

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
_COLOURS = 3
_PLANES = (0, 1)

# A lossy codec overshoots white by less than this part of the range.
_OVERSHOOT = 0.25

# Pixels that are compared with their neighbours, and the jumps that prove another reading.
_COMPARED = 2_000_000
_FEWEST_JUMPS, _LEAST_JUMPS = 16, 0.0005

# Share of pixels with bits below the sample from which on these bits are part of the picture.
_LEAST_IN_UNUSED = 0.25

# Mean step between neighbours, as a part of the range, from which on values are noise: a film has a
# tenth at most, and values that are cut to too few bits a fifth to a third.
_NOISE = 0.15
_LOSSY_JPEG = frozenset({JPEGBaseline8Bit, JPEGExtended12Bit, JPEGLSNearLossless})
_HTJ2K_PREFIX = "1.2.840.10008.1.2.4.20"

# pydicom, its plugins and the libraries below them share no exception type.
_DECODER_ERRORS = (*PARSER_ERRORS, RuntimeError)


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


def stored_values(ds: Dataset, layout: Layout) -> tuple[np.ndarray, Layout, tuple[str, ...]]:
    """Decode the only frame; a colour image is returned as RGB.

    Returns an integer array (rows, columns) or (rows, columns, 3), the layout that the values have,
    which differs from the declared one if that contradicts them, and notes. Raises
    UndecodablePixelsError with the reason in one line, and MemoryError.
    """
    if "PixelData" not in ds:
        raise UndecodablePixelsError("the object has no Pixel Data")
    notes = []
    try:
        with suppressed_warnings() as warned:
            frame = _only_frame(ds)
            stream = _codestream(ds, frame)
            _check_codestream(stream, layout)
            if stream is not None and lacks_end(frame):
                array = _decoded_without_end(ds, layout, frame, stream)
                notes.append("the compressed image has no end marker, but no pixel is missing")
            else:
                array = _decoded(ds, layout, frame, stream)
    except _DECODER_ERRORS as error:
        raise UndecodablePixelsError(_reason(ds, error)) from error
    wanted = (layout.rows, layout.columns) + ((3,) if layout.samples == 3 else ())
    if array.shape != wanted:
        raise UndecodablePixelsError(f"decoding gave an array of {array.shape}, not {wanted}")
    if warned:
        notes.append("the decoder warned about the pixel data")
    planes = number(ds, "PlanarConfiguration")
    if layout.samples == _COLOURS and planes not in _PLANES:
        notes.append(
            "PlanarConfiguration is absent: taken as 0"
            if planes is None
            else f"PlanarConfiguration is {planes:g}: taken as 0"
        )
    if stream is not None and stream.precision < layout.bits_stored:
        notes.append(
            f"the compressed image has {stream.precision} bits per sample, "
            f"the header says {layout.bits_stored}"
        )
    high_bit = number(ds, "HighBit")
    if high_bit is not None and high_bit < layout.high_bit:
        notes.append(
            f"HighBit is {high_bit:g}, BitsStored is {layout.bits_stored}: "
            f"HighBit is taken as {layout.high_bit}"
        )
    values, place_notes = _at_high_bit(array, layout, stream)
    notes += place_notes
    lossy = ds.file_meta.TransferSyntaxUID in _LOSSY_JPEG
    values, actual, more = _sample_bits(values, layout, lossy=lossy)
    return values, actual, (*notes, *more)


def _decoded(ds: Dataset, layout: Layout, frame: bytes, stream: Codestream | None) -> np.ndarray:
    ready = _as_encoded(ds, layout, frame, stream)
    return pixel_array(ready, index=0, decoding_plugin=_plugin_for(ds, stream))


def _decoded_without_end(
    ds: Dataset, layout: Layout, frame: bytes, stream: Codestream
) -> np.ndarray:
    """Decode a compressed frame whose end marker is missing; ValueError if pixels are missing too.

    The decoders of JPEG-LS and JPEG 2000 refuse an incomplete image. Those of JPEG fill it up, so
    it is decoded a second time with other bits behind it, which the missing pixels would show.
    """
    if is_last_part_of_unknown_length(frame):
        raise ValueError("the compressed image has no end, and may lack pixels")
    array = _decoded(ds, layout, frame + END, stream)
    if ds.file_meta.TransferSyntaxUID in JPEGTransferSyntaxes:
        other = _decoded(ds, layout, ended_otherwise(frame), stream)
        if not np.array_equal(array, other):
            raise ValueError("the compressed image ends before its last pixel")
    return array


def _at_high_bit(
    array: np.ndarray, layout: Layout, stream: Codestream | None
) -> tuple[np.ndarray, tuple[str, ...]]:
    """Drop the bits below the sample (PS3.5 8.1.1).

    A picture in the lowest bits alone, which uses those below the sample, has a wrong High Bit.
    """
    top = layout.high_bit + 1
    depth = top if stream is None else min(top, stream.precision)
    unused = max(0, depth - layout.bits_stored)
    if not unused:
        return array, ()
    fits = not layout.signed and array.max() < 1 << layout.bits_stored
    if fits and np.mean((array & ((1 << unused) - 1)) != 0) > _LEAST_IN_UNUSED:
        return array, (
            f"HighBit is {layout.high_bit}, the pixels lie in the lowest {layout.bits_stored} "
            "bits: read there",
        )
    return np.right_shift(array, unused), ()


def _sample_bits(
    values: np.ndarray, layout: Layout, *, lossy: bool
) -> tuple[np.ndarray, Layout, tuple[str, ...]]:
    """Return the bits that the header declares as the sample (PS3.5 8.1.1), their layout and notes.

    Bits above the sample may hold an overlay. Bits below it are unused, and an encoder may have
    dropped them. A lossy codec sets bits above the sample where white overshot: such a value is
    clipped to white. But where neighbouring pixels show that the declared bits or sign cut through
    a smooth picture, the values are read as they are.
    """
    half = 1 << (layout.bits_stored - 1)
    low, high = (-half, half - 1) if layout.signed else (0, 2 * half - 1)
    fits = values.min() >= low and values.max() <= high
    if fits and (not layout.signed or values.min() >= 0):
        return values, layout, ()
    if not fits and lossy and np.percentile(values, 99) <= high + _OVERSHOOT * 2 * half:
        return np.clip(values, low, high), layout, ()
    unsigned = values.astype(np.int64) & (2 * half - 1)
    declared = unsigned - ((unsigned & half) << 1) if layout.signed else unsigned
    readings = [unsigned] if layout.signed else []
    if layout.photometric == "PALETTE COLOR":
        # Neighbouring indices are unrelated numbers.
        readings = []
    elif not fits:
        readings.append(values.astype(np.int64))
        if layout.signed:
            readings.append(readings[-1] & ((1 << layout.bits_allocated) - 1))
    gains = [_jumps_mended(declared, reading, 2 * half) for reading in readings]
    if not any(gains):
        return declared, layout, ()
    best = readings[gains.index(max(gains))]
    signed = bool(best.min() < 0)
    needed = max(int(best.max()).bit_length(), int(-1 - best.min()).bit_length()) + signed
    notes = []
    if signed != layout.signed:
        notes.append("PixelRepresentation says signed, the pixels are unsigned: read as unsigned")
    if needed > layout.bits_stored:
        notes.append(
            f"BitsStored is {layout.bits_stored}, the pixels need {needed} bits: all bits are read"
        )
    bits = max(needed, layout.bits_stored)
    return best, replace(layout, signed=signed, bits_stored=bits), tuple(notes)


def _jumps_mended(declared: np.ndarray, other: np.ndarray, span: int) -> int:
    """Return the number of jumps between neighbours that another reading of the values mends.

    A value that passes the end of the declared range of `span` values jumps to its other end. A
    picture is smooth, so the right reading has few of these jumps. Returns 0 unless the other
    reading turns enough jumps into small steps and few small steps into jumps, or is a picture
    where the declared reading is noise.
    """
    every = max(1, declared.size // _COMPARED)
    before, after = (np.abs(np.diff(reading[::every], axis=1)) for reading in (declared, other))
    if before.size and before.mean() > max(_NOISE, 3 * after.mean() / np.ptp(other)) * span:
        return int(before.size)
    jump, small = span // 2, span // 8
    mended = int(((before > jump) & (after <= small)).sum())
    made = int(((before <= small) & (after > jump)).sum())
    enough = max(_FEWEST_JUMPS, int(_LEAST_JUMPS * before.size))
    return mended - made if mended >= max(enough, 2 * made) else 0


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


def _only_frame(ds: Dataset) -> bytes:
    """Return the only compressed frame; empty if the transfer syntax does not compress.

    All fragments belong to the frame (PS3.5 A.4). The offset table is ignored, so that a wrong one
    does no harm.
    """
    if not ds.file_meta.TransferSyntaxUID.is_encapsulated:
        return b""
    items = items_at(ds.PixelData)
    behind = ds.PixelData[items.end : items.end + 4]
    if len(behind) == len(SEQUENCE_END) and behind != SEQUENCE_END:
        raise ValueError("bytes that are no item lie between the fragments of the pixel data")
    return b"".join(items.values[1:])


def _codestream(ds: Dataset, frame: bytes) -> Codestream | None:
    """Read the header of the compressed frame; None if the transfer syntax has no such header."""
    syntax = ds.file_meta.TransferSyntaxUID
    if syntax in JPEGTransferSyntaxes or syntax in JPEGLSTransferSyntaxes:
        read = read_jpeg
    elif _is_jpeg_2000(syntax):
        read = read_j2k
    else:
        return None
    stream = read(frame)
    if stream is None:
        raise ValueError("the compressed image has no sound header")
    return stream


def _is_jpeg_2000(syntax: UID) -> bool:
    return syntax in JPEG2000TransferSyntaxes or syntax.startswith(_HTJ2K_PREFIX)


def _check_codestream(stream: Codestream | None, layout: Layout) -> None:
    """Raise ValueError if the compressed frame differs from the declared layout."""
    if stream is None:
        return
    if (stream.rows, stream.columns) != (layout.rows, layout.columns):
        raise ValueError(
            f"the compressed image is {stream.rows} x {stream.columns}, "
            f"the header says {layout.rows} x {layout.columns}"
        )
    if stream.components != layout.samples:
        raise ValueError(
            f"the compressed image has {stream.components} components, "
            f"the header says {layout.samples}"
        )
    if stream.precision > layout.bits_allocated:
        raise ValueError(
            f"the compressed image has {stream.precision} bits per sample, "
            f"the header allocates {layout.bits_allocated}"
        )


def _as_encoded(ds: Dataset, layout: Layout, frame: bytes, stream: Codestream | None) -> Dataset:
    """Return a dataset of the pixels with the encoded bit depth, so that no bit is lost.

    It is a new one, because a copy made by pydicom shares its elements with the caller's.
    """
    ready = Dataset()
    ready.set_original_encoding(*ds.original_encoding)
    ready.file_meta = copy.copy(ds.file_meta)
    syntax = ds.file_meta.TransferSyntaxUID
    allocated = depth = layout.bits_allocated
    if stream is not None and _is_jpeg_2000(syntax):
        depth = max(layout.high_bit + 1, stream.precision)
    elif stream is not None:
        allocated = 8 if stream.precision <= 8 else 16
        fills = syntax in JPEGTransferSyntaxes and stream.precision <= 8
        depth = 8 if fills else stream.precision
    planes = number(ds, "PlanarConfiguration")
    for keyword, value in (
        ("Rows", layout.rows),
        ("Columns", layout.columns),
        ("BitsAllocated", allocated),
        ("BitsStored", depth),
        ("HighBit", depth - 1),
        ("SamplesPerPixel", layout.samples),
        ("PixelRepresentation", int(layout.signed)),
        ("PlanarConfiguration", int(planes) if planes in _PLANES else 0),
    ):
        ready.add_new(keyword, "US", value)
    ready.add_new("PhotometricInterpretation", "CS", layout.photometric)
    pixels = ds["PixelData"]
    ready.add_new("PixelData", pixels.VR, pixels.value)
    if frame:
        ready.PixelData = encapsulate([frame], has_bot=False)
        ready["PixelData"].is_undefined_length = True
    if syntax == JPEGExtended12Bit and depth > 8:
        # GDCM supports this process and detects it from the image, but pydicom does not pass it
        # images of more than 8 bits under this transfer syntax.
        ready.file_meta.TransferSyntaxUID = JPEGLossless
    return ready


def _plugin_for(ds: Dataset, stream: Codestream | None) -> str:
    """Return the name of the decoder to use; empty to try each in turn.

    pyjpegls may spend ten seconds on a truncated JPEG-LS image that GDCM refuses at once. GDCM ends
    the process on some damaged lossy JPEG images that Pillow refuses, but only GDCM decodes lossy
    JPEG of more than 8 bits.
    """
    syntax = ds.file_meta.TransferSyntaxUID
    if syntax in JPEGLSTransferSyntaxes:
        return "gdcm"
    lossy = syntax in (JPEGBaseline8Bit, JPEGExtended12Bit)
    return "pillow" if lossy and stream is not None and stream.precision <= 8 else ""


def _reason(ds: Dataset, error: Exception) -> str:
    # pydicom lists the error of each plugin on a line of its own, below a headline.
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    # One plugin fails with an error about NoneType if its library rejects an image.
    causes = [line for line in lines if not line.endswith(":") and "'NoneType'" not in line]
    reason = causes[0] if causes else type(error).__name__
    syntax = ds.file_meta.TransferSyntaxUID
    return f"{syntax.name} pixel data cannot be decoded: {reason.partition(' - ')[0][:160]}"
