"""Decodes Pixel Data into numbers, after a check of the declared layout.

GDCM ends the whole process if the precision of a JPEG image differs from the declared one. The
decoder therefore gets the precision from the codestream; the DICOM header decides which bits count.
"""

import copy

import numpy as np
from pydicom import Dataset
from pydicom.dataelem import RawDataElement
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
from dicom_io.read.header import number
from dicom_io.read.values.layout import Layout
from dicom_io.read.values.sample_bits import at_high_bit, sample_bits
from dicom_io.read.warnings_off import suppressed_warnings

_COLOURS = 3
_PLANES = (0, 1)

# Types of uncompressed pixels by Bits Allocated and sign, and the VRs of their attribute; None
# stands for implicit VR.
_PLAIN_KINDS = {(8, False): "<u1", (8, True): "<i1", (16, False): "<u2", (16, True): "<i2"}
_PLAIN_VRS = ("OB", "OW", None)
_LOSSY_JPEG = frozenset({JPEGBaseline8Bit, JPEGExtended12Bit, JPEGLSNearLossless})
_HTJ2K_PREFIX = "1.2.840.10008.1.2.4.20"

# pydicom, its plugins and the libraries below them share no exception type.
_DECODER_ERRORS = (*PARSER_ERRORS, RuntimeError)


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
    precision = None if stream is None else stream.precision
    values, place_notes = at_high_bit(array, layout, precision)
    notes += place_notes
    lossy = ds.file_meta.TransferSyntaxUID in _LOSSY_JPEG
    values, actual, more = sample_bits(values, layout, lossy=lossy)
    return values, actual, (*notes, *more)


def _decoded(ds: Dataset, layout: Layout, frame: bytes, stream: Codestream | None) -> np.ndarray:
    plain = _plain_pixels(ds, layout)
    if plain is not None:
        return plain
    ready = _as_encoded(ds, layout, frame, stream)
    return pixel_array(ready, index=0, decoding_plugin=_plugin_for(ds, stream))


def _plain_pixels(ds: Dataset, layout: Layout) -> np.ndarray | None:
    """Return grey pixels of 8 or 16 bits that are not compressed, without a copy.

    Returns None for all others, and for pixel data whose length is not that of the image.
    """
    pixels = ds.get_item("PixelData")
    syntax = ds.file_meta.TransferSyntaxUID
    kind = _PLAIN_KINDS.get((layout.bits_allocated, layout.signed))
    if (
        kind is None
        or layout.samples != 1
        or syntax.is_encapsulated
        or not syntax.is_little_endian
        or not isinstance(pixels, RawDataElement)
        or pixels.VR not in _PLAIN_VRS
        or not isinstance(pixels.value, bytes)
        or len(pixels.value) != layout.rows * layout.columns * layout.bits_allocated // 8
    ):
        return None
    return np.frombuffer(pixels.value, kind).reshape(layout.rows, layout.columns)


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
