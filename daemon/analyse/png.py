"""Writes pictures as PNG in a fraction of the time of a general encoder.

Each row holds its difference from the row above (filter type 2 of PNG 9.2), which suits films, and
is then deflated: by ISA-L where `isal` is installed, else by zlib.
"""

import importlib.util
import struct
import zlib

import numpy as np
from numpy.typing import NDArray

_SIGNATURE = b"\x89PNG\r\n\x1a\n"
_UP = 2
# PNG 11.2.2: the colour type by the number of planes, here grey, RGB and RGBA.
_COLOUR_TYPES = {1: 0, 3: 2, 4: 6}
_LEVEL = 1


_has_isal = importlib.util.find_spec("isal") is not None


def encode_png(picture: NDArray[np.uint8]) -> bytes:
    """Return a picture as a PNG file without loss.

    `picture` is uint8: grey (rows, columns), RGB (rows, columns, 3) or RGBA (rows, columns, 4).
    """
    rows, columns = picture.shape[:2]
    plain = picture.reshape(rows, -1)
    # 8 bits per sample, deflate, the five filters, not interlaced.
    kind = bytes([8, _COLOUR_TYPES[plain.shape[1] // columns], 0, 0, 0])
    filtered = np.empty((rows, 1 + plain.shape[1]), dtype=np.uint8)
    filtered[:, 0] = _UP
    filtered[0, 1:] = plain[0]
    np.subtract(plain[1:], plain[:-1], out=filtered[1:, 1:])
    return b"".join(
        (
            _SIGNATURE,
            _chunk(b"IHDR", struct.pack(">II", columns, rows) + kind),
            _chunk(b"IDAT", _deflated(filtered.data)),
            _chunk(b"IEND", b""),
        )
    )


def _deflated(data: memoryview) -> bytes:
    if not _has_isal:
        return zlib.compress(data, _LEVEL)
    from isal import isal_zlib

    return isal_zlib.compress(data, _LEVEL)


def _chunk(name: bytes, data: bytes) -> bytes:
    checksum = zlib.crc32(data, zlib.crc32(name))
    return b"".join((struct.pack(">I", len(data)), name, data, struct.pack(">I", checksum)))
