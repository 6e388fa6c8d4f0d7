"""Reads PNG and JPEG files as grey pixels; a damaged file is an error, not a half-grey film."""

import struct
import zlib
from io import BytesIO
from pathlib import Path

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageOps, UnidentifiedImageError

from cxr_model.errors import ImageError

Grey = npt.NDArray[np.uint8]

#: Far more than any film has; a larger image is a decompression bomb.
MAX_PIXELS = 64_000_000
MAX_BYTES = 512 * 2**20

_FORMATS = ("PNG", "JPEG")
_PNG_END = b"\x00\x00\x00\x00IEND\xaeB\x60\x82"
_DAMAGED = (
    OSError,
    SyntaxError,
    ValueError,
    EOFError,
    IndexError,
    TypeError,
    struct.error,
    zlib.error,
    Image.DecompressionBombError,
    Image.DecompressionBombWarning,  # raised if warnings are errors
)


def read_image(path: Path) -> Grey:
    """Decode a PNG or JPEG file to grey uint8 (rows, cols), for display.

    Colour and palette become luminance (ITU-R BT.601), transparency is laid over black, an EXIF
    orientation is applied. 16-bit values are scaled by the number of bits in use, because 12-bit
    films are often stored in 16-bit files.

    Raises ImageError with the file's path and the reason if the file cannot be read, is neither
    PNG nor JPEG, is truncated or damaged, or is larger than any film.
    """
    try:
        if path.stat().st_size > MAX_BYTES:
            raise ImageError(f"{path}: larger than {MAX_BYTES // 2**20} MiB, which no film is")
        data = path.read_bytes()
    except OSError as error:
        raise ImageError(f"{path}: {error.strerror or error}") from error
    try:
        return _decode(data)
    except UnidentifiedImageError as error:
        raise ImageError(f"{path}: {_unidentified(data)}") from error
    except _DAMAGED as error:
        raise ImageError(f"{path}: {error}") from error
    except ImageError as error:
        raise ImageError(f"{path}: {error}") from error


def shortest_side(path: Path) -> int:
    """Return the pixels of the shorter side, from the file's header alone. Raises ImageError."""
    try:
        with Image.open(path, formats=_FORMATS) as image:
            return min(image.size)
    except _DAMAGED as error:
        raise ImageError(f"{path}: {error}") from error


def _decode(data: bytes) -> Grey:
    with Image.open(BytesIO(data), formats=_FORMATS) as image:
        columns, rows = image.size
        if columns * rows > MAX_PIXELS:
            raise ImageError(f"{rows} x {columns} pixels are more than any film has")
        if image.format == "PNG" and _PNG_END not in data:
            raise ImageError("the PNG file is truncated")
        # load() skips a PNG's checksums; verify() checks them, but the image must be reopened.
        image.verify()
    with Image.open(BytesIO(data), formats=_FORMATS) as image:
        image.load()
        return _grey(ImageOps.exif_transpose(image))


def _grey(image: Image.Image) -> Grey:
    if image.mode.startswith("I"):
        return _eight_bits(np.asarray(image))
    if image.has_transparency_data:
        coloured = image.convert("RGBA")
        image = Image.alpha_composite(Image.new("RGBA", image.size, "black"), coloured)
    return np.array(image.convert("L"), dtype=np.uint8)


def _eight_bits(values: npt.NDArray[np.generic]) -> Grey:
    wide = values.astype(np.float32)
    bits = max(8, int(wide.max()).bit_length())
    return np.asarray(np.round(wide * (255.0 / (2**bits - 1))), dtype=np.uint8)


def _unidentified(data: bytes) -> str:
    if not data:
        return "the file is empty"
    if data.startswith((b"\x89PNG", b"\xff\xd8")):
        return "the image's header is damaged or truncated"
    return "not a PNG or JPEG file"
