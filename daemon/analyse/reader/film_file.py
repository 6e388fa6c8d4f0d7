"""The bytes of a file in one of its forms → its pixels or a refusal.

Runs in a reader process, because unpacking and decoding may take any time and memory.
"""

import gzip
import zlib
from enum import StrEnum
from io import BytesIO

from cxr_model.data.image_file import decode_picture
from cxr_model.errors import ImageError, SeveralImagesError
from daemon.analyse.reader.film import Refusal
from daemon.analyse.reader.gate_and_decode import DecodedFilm, gate_and_decode
from dicom_io.gate.pixel_check import assess_pixels
from dicom_io.gate.reasons import Reason
from dicom_io.gate.rules import Rules
from dicom_io.read.orientation import AS_STORED

MAX_UNPACKED_BYTES = 256 * 2**20
"""More than the largest film: 100 million samples of 16 bits and a header of 64 MiB."""

# RFC 1952, in the numbering of zlib.
_GZIP_WINDOW = 31


class Form(StrEnum):
    """The form of a file that may hold a film."""

    OBJECT = "DICOM object"
    PACKED_OBJECT = "gzipped DICOM object"
    PICTURE = "picture"


def decode_file(data: bytes, form: Form, rules: Rules) -> DecodedFilm | Refusal:
    """Gate and decode the bytes of a file of this form; `rules` apply to DICOM objects."""
    if form is Form.PICTURE:
        return _read_picture(data)
    if form is Form.PACKED_OBJECT:
        try:
            with gzip.open(BytesIO(data)) as file:
                data = file.read(MAX_UNPACKED_BYTES + 1)
        except (OSError, EOFError, zlib.error) as error:
            return Refusal(Reason.UNREADABLE_OBJECT, f"the gzip file is damaged: {error}")
        if len(data) > MAX_UNPACKED_BYTES:
            limit = f"{MAX_UNPACKED_BYTES // 2**20} MiB"
            return Refusal(Reason.UNREADABLE_OBJECT, f"unpacks to more than {limit}")
    return gate_and_decode(data, rules)


def unpack_start(data: bytes, most: int) -> bytes:
    """Return the first bytes, at most this many, of gzipped data; fewer if it is damaged."""
    try:
        return zlib.decompressobj(_GZIP_WINDOW).decompress(data, most)
    except zlib.error:
        return b""


def _read_picture(data: bytes) -> DecodedFilm | Refusal:
    try:
        picture = decode_picture(data)
    except SeveralImagesError as error:
        return Refusal(Reason.MULTI_FRAME, str(error))
    except ImageError as error:
        return Refusal(Reason.UNDECODABLE_PIXELS, str(error))
    content = assess_pixels(picture.pixels)
    notes = picture.notes + content.notes
    if content.reason is not None:
        return Refusal(content.reason, content.detail, notes)
    return DecodedFilm(picture.pixels, notes, AS_STORED)
