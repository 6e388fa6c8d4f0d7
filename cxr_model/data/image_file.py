"""Reads picture files as grey pixels; a damaged file is an error, not a half-grey film.

The formats are PNG, JPEG, TIFF, BMP, WebP and JPEG 2000 (JP2 file or bare codestream).
"""

import struct
import zlib
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path

import cv2
import numpy as np
import numpy.typing as npt
from PIL import Image, ImageFile, ImageOps, UnidentifiedImageError

from cxr_model.errors import ImageError, SeveralImagesError

Grey = npt.NDArray[np.uint8]

#: Far more than any film has; a larger image is a decompression bomb.
MAX_PIXELS = 64_000_000
MAX_BYTES = 512 * 2**20

_FORMATS = ("PNG", "JPEG", "TIFF", "BMP", "WEBP", "JPEG2000")
_PNG_END = b"\x00\x00\x00\x00IEND\xaeB\x60\x82"
_DAMAGED = (
    OSError,
    SyntaxError,
    ValueError,
    EOFError,
    LookupError,
    OverflowError,
    TypeError,
    struct.error,
    zlib.error,
    UserWarning,  # raised if warnings are errors
    Image.DecompressionBombError,
    Image.DecompressionBombWarning,  # raised if warnings are errors
)

# PNG 11.2.2: bit depth, then colour type, in the header chunk.
_PNG_DEPTH, _PNG_SEVERAL_CHANNELS = 24, (2, 4, 6)
_BYTE, _WIDE = 8, 16
_BGR_LUMA = np.array([0.114, 0.587, 0.299], dtype=np.float32)

# Values show hardly anything if their percentiles are less than this many grey levels apart. They
# are a picture, not noise, if they span some steps and neighbours differ by less than a part of it.
_PERCENTILES = (1, 99)
_LEAST_SPREAD, _LEAST_STEPS, _NOISE = 40.0, 16.0, 0.12

# TIFF 6.0 section 8.
_BITS_PER_SAMPLE = 258
_NEW_SUBFILE_TYPE, _PHOTOMETRIC_INTERPRETATION, _WHITE_IS_ZERO = 254, 262, 0
_REDUCED_OR_MASK = 0b101
_MOST_PAGES = 100

# ISO/IEC 15444-1: the signature box of a JP2 file and its codestream box; start and end of the
# codestream, and in it the places of Csiz and of the first Ssiz (A.5.1).
_JP2_SIGNATURE = b"\x00\x00\x00\x0cjP  "
_JP2_CODESTREAM = b"jp2c"
_CODESTREAM_START, _CODESTREAM_END = b"\xff\x4f\xff\x51", b"\xff\xd9"
_COMPONENTS, _COMPONENT_DEPTHS, _COMPONENT_BYTES = 40, 42, 3

_SIGNATURES = (b"\x89PNG", b"\xff\xd8", b"II*\0", b"MM\0*", b"BM", b"RIFF", _JP2_SIGNATURE)


@dataclass(frozen=True, slots=True, eq=False)
class Picture:
    """A decoded picture: its grey pixels (rows, cols) for display, and notes on the decoding."""

    pixels: Grey
    notes: tuple[str, ...] = ()


def read_image(path: Path) -> Grey:
    """Decode a picture file to grey uint8 (rows, cols), as `decode_picture` does.

    Raises ImageError with the file's path and the reason if the file cannot be read or decoded.
    """
    try:
        if path.stat().st_size > MAX_BYTES:
            raise ImageError(f"{path}: larger than {MAX_BYTES // 2**20} MiB, which no film is")
        data = path.read_bytes()
    except OSError as error:
        raise ImageError(f"{path}: {error.strerror or error}") from error
    try:
        return decode_picture(data).pixels
    except ImageError as error:
        raise type(error)(f"{path}: {error}") from error


def shortest_side(path: Path) -> int:
    """Return the pixels of the shorter side, from the file's header alone. Raises ImageError."""
    try:
        with Image.open(path, formats=_FORMATS) as image:
            return min(image.size)
    except _DAMAGED as error:
        raise ImageError(f"{path}: {error}") from error


def decode_picture(data: bytes) -> Picture:
    """Decode the bytes of a picture file to grey uint8 (rows, cols), for display.

    Colour and palette become luminance (ITU-R BT.601), transparency is laid over black, an EXIF or
    TIFF orientation is applied. 16-bit values are scaled by the number of bits in use, with a note,
    because 12-bit films are often stored in 16-bit files. Of a TIFF file's pages the only page is
    read that is neither a reduced copy nor a mask.

    Raises SeveralImagesError if the file holds more than one image, and ImageError with the reason
    if it is not of these formats, is truncated or damaged, or is larger than any film.
    """
    try:
        return _decode(data)
    except UnidentifiedImageError as error:
        raise ImageError(_unidentified(data)) from error
    except _DAMAGED as error:
        raise ImageError(str(error)) from error


def _decode(data: bytes) -> Picture:
    with Image.open(BytesIO(data), formats=_FORMATS) as image:
        _refuse_truncated(image.format, data)
        # load() skips a PNG's checksums; verify() checks them, but the image must be reopened.
        image.verify()
    with Image.open(BytesIO(data), formats=_FORMATS) as image:
        _select_page(image)
        columns, rows = image.size
        if columns * rows > MAX_PIXELS:
            raise ImageError(f"{rows} x {columns} pixels are more than any film has")
        photometric = _tiff_tag(image, _PHOTOMETRIC_INTERPRETATION, 1)
        image.load()
        colour = _wide_colour(image, data)
        shown = image if colour is None else colour
        pixels, notes, is_wide = _grey(ImageOps.exif_transpose(shown))
    if is_wide and photometric == _WHITE_IS_ZERO:
        # Pillow inverts pixels of up to 8 bits only.
        pixels = 255 - pixels
    return Picture(pixels, notes)


def _refuse_truncated(kind: str | None, data: bytes) -> None:
    """Raise ImageError for a truncated file that Pillow would decode in part."""
    if kind == "PNG" and _PNG_END not in data:
        raise ImageError("the PNG file is truncated")
    if kind == "JPEG2000" and not _jpeg_2000_codestream(data).endswith(_CODESTREAM_END):
        raise ImageError("the JPEG 2000 file is truncated")


def _jpeg_2000_codestream(data: bytes) -> bytes:
    """Return the codestream without padding; a JP2 file is a row of boxes (15444-1 I.4)."""
    if not data.startswith(_JP2_SIGNATURE):
        return data.rstrip(b"\0")
    place = 0
    while place + 8 <= len(data):
        (length,) = struct.unpack_from(">I", data, place)
        if length == 1:
            (length,) = struct.unpack_from(">Q", data, place + 8)
        end = place + length if length else len(data)
        if data[place + 4 : place + 8] == _JP2_CODESTREAM:
            return data[place:end].rstrip(b"\0") if end <= len(data) else b""
        if end <= place:
            break
        place = end
    return b""


def _jpeg_2000_depths(data: bytes) -> tuple[int, ...]:
    """Return the bits of each component of a JPEG 2000 picture."""
    place = data.index(_CODESTREAM_START)
    (number,) = struct.unpack_from(">H", data, place + _COMPONENTS)
    first = place + _COMPONENT_DEPTHS
    sizes = data[first : first + number * _COMPONENT_BYTES : _COMPONENT_BYTES]
    return tuple((size & 0x7F) + 1 for size in sizes)


def _select_page(image: ImageFile.ImageFile) -> None:
    """Seek the only page with a picture of its own. Raises SeveralImagesError if there are more."""
    if image.format != "TIFF":
        if getattr(image, "is_animated", False):
            raise SeveralImagesError(f"a {image.format} file of several pictures; a film has one")
        return
    full = []
    for number in range(_MOST_PAGES + 1):
        try:
            image.seek(number)
        except EOFError:
            break
        if not _tiff_tag(image, _NEW_SUBFILE_TYPE, 0) & _REDUCED_OR_MASK:
            full.append(number)
    if len(full) > 1:
        raise SeveralImagesError("a TIFF file of several pages; a film has one")
    image.seek(full[0] if full else 0)


def _tiff_tag(image: ImageFile.ImageFile, tag: int, absent: int) -> int:
    """Return an integer tag of a TIFF page, or `absent` for a page or a format without the tag."""
    value = getattr(image, "tag_v2", {}).get(tag)
    return value if isinstance(value, int) else absent


def _wide_colour(image: ImageFile.ImageFile, data: bytes) -> Image.Image | None:
    """Return a picture of 16 bits a channel as 16 bits of luminance; None for any other picture.

    Pillow keeps only the upper 8 bits of such a file, which are black for a film of 12 bits.
    Transparency is laid over black.
    """
    depths = getattr(image, "tag_v2", {}).get(_BITS_PER_SAMPLE, ())
    if image.format == "JPEG2000":
        depths = _jpeg_2000_depths(data)
    if image.format == "PNG":
        is_wide = data[_PNG_DEPTH] == _WIDE and data[_PNG_DEPTH + 1] in _PNG_SEVERAL_CHANNELS
    else:
        is_wide = isinstance(depths, tuple) and len(depths) > 1 and max(depths) > _BYTE
    if not is_wide:
        return None
    decoded = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_UNCHANGED)
    if image.tell() or decoded is None or decoded.dtype != np.uint16 or decoded.ndim != 3:
        raise ImageError("colour of more than 8 bits a channel is not decoded from this file")
    luminance = decoded[..., :3].astype(np.float32) @ _BGR_LUMA
    if decoded.shape[-1] == 4:
        luminance *= decoded[..., 3] / np.float32(2**_WIDE - 1)
    picture = Image.fromarray(np.round(luminance).astype(np.uint16))
    if image.format == "PNG":
        # OpenCV turns a TIFF file by its orientation, but not a PNG file.
        picture.getexif().update(image.getexif())
    return picture


def _grey(image: Image.Image) -> tuple[Grey, tuple[str, ...], bool]:
    """Return grey pixels, notes, and True if the picture has one channel of more than 8 bits."""
    if image.mode == "F":
        raise ImageError("the pixels are fractions, and the file does not say which is white")
    if image.mode.startswith("I"):
        return *_eight_bits(np.asarray(image)), True
    if image.has_transparency_data:
        coloured = image.convert("RGBA")
        image = Image.alpha_composite(Image.new("RGBA", image.size, "black"), coloured)
    return np.array(image.convert("L"), dtype=np.uint8), (), False


def _eight_bits(values: npt.NDArray[np.generic]) -> tuple[Grey, tuple[str, ...]]:
    """Scale wide values by the bits they use, or by their range if that hardly shows them; note.

    Noise is not scaled by its range, because a blank picture is to stay blank.
    """
    wide = values.astype(np.float32)
    if wide.min() < 0:
        raise ImageError("some pixels are negative, and the file does not say which is black")
    bits = max(_BYTE, int(wide.max()).bit_length())
    notes = () if bits >= _WIDE else (f"the values use {bits} bits: scaled by {bits} bits",)
    pixels = np.asarray(np.round(wide * (255.0 / (2**bits - 1))), dtype=np.uint8)
    low, high = (float(value) for value in np.percentile(wide, _PERCENTILES))
    spread = (high - low) * 255.0 / (2**bits - 1)
    steps = np.abs(np.diff(wide, axis=1))
    is_picture = high - low >= _LEAST_STEPS and steps.mean() <= _NOISE * (high - low)
    if spread >= _LEAST_SPREAD or not is_picture:
        return pixels, notes
    note = (
        f"by {bits} bits, the pixels differ by {spread:.0f} of 255 grey levels: "
        f"shown by the range of 98% of the pixels, {low:g} to {high:g}"
    )
    shown = np.clip((wide - low) / (high - low), 0.0, 1.0) * 255.0
    return np.asarray(np.round(shown), dtype=np.uint8), (note,)


def _unidentified(data: bytes) -> str:
    if not data:
        return "the file is empty"
    if data.startswith(_SIGNATURES):
        return "the image's header is damaged or truncated"
    return "not a PNG, JPEG, TIFF, BMP, WebP or JPEG 2000 file"
