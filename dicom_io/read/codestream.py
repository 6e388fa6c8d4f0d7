"""Reads the bytes of the pixels: fragments, headers of compressed images, a damaged end.

Seen in the field on objects whose pixels are whole: no Sequence Delimitation Item after the
fragments (PS3.5 A.4), NULs in its place, bytes after the pixels that are no data elements, and a
compressed image without end marker.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from pydicom import Dataset
from pydicom.dataelem import DataElement, RawDataElement
from pydicom.uid import DeflatedExplicitVRLittleEndian
from pydicom.valuerep import EXPLICIT_VR_LENGTH_32, STANDARD_VR

from dicom_io.errors import NotDicomError
from dicom_io.read.bounded_parser import (
    MAX_READS,
    inflated,
    is_deflated,
    parse_file,
    parse_up_to_pixels,
)

SEQUENCE_END = b"\xfe\xff\xdd\xe0"
"""Tag of the Sequence Delimitation Item."""

MAX_FRAGMENTS = MAX_READS // 2
"""Items of encapsulated pixel data; the parser reads two times per item."""

_PIXEL_DATA = 0x7FE00010
_ITEM = b"\xfe\xff\x00\xe0"
_HEAD = 8
_UNDEFINED = 0xFFFFFFFF

# Markers that carry no length (ITU-T T.81 table B.1): TEM, RSTn, SOI.
_BARE_MARKERS = frozenset({0x01, *range(0xD0, 0xD9)})
_FIRST_MARKER = 0xC0

# Start of frame: SOF0 to SOF15 without DHT, JPG and DAC; SOF55 of JPEG-LS (ITU-T T.87).
_FRAME_MARKERS = frozenset({*range(0xC0, 0xD0), 0xF7} - {0xC4, 0xC8, 0xCC})
_START_OF_SCAN = 0xDA
_APP0, _APP14 = 0xE0, 0xEE
_ADOBE_TRANSFORMS = (b"\0", b"\1", b"\2")
_J2K_START = b"\xff\x4f\xff\x51"
_J2K_TILE_PART = b"\xff\x90\x00\x0a"
_RESTART_INTERVAL = b"\xff\xdd\x00\x04"
_FIRST_RESTART, _RESTARTS = 0xD0, 8

END = b"\xff\xd9"
"""End of image (ITU-T T.81 B.1.1.3) and end of codestream (T.800 A.4.4)."""

# Bits that no image ends with: an incomplete image shows them.
_FILLING = bytes.fromhex("5aa5363cc396691e2d4b78872e71b48d")


@dataclass(frozen=True, slots=True)
class Items:
    """The items of encapsulated pixel data, and the offset of the first byte behind them.

    `is_cut` is True if the data ends before the last item does.
    """

    values: tuple[bytes, ...]
    end: int
    is_cut: bool


@dataclass(frozen=True, slots=True)
class _Place:
    """The value of a data element: its VR, its offset and its length as the element says it."""

    tag: int
    vr: str
    start: int
    length: int


def items_at(data: bytes, start: int = 0) -> Items:
    """Return the items of encapsulated pixel data from an offset on (PS3.5 A.4).

    An item of odd length may be followed by a NUL that its length does not count. Raises ValueError
    for an item of undefined length and for more than MAX_FRAGMENTS.
    """
    values: list[bytes] = []
    at = start
    while data[at : at + 4] == _ITEM and at + _HEAD <= len(data):
        if len(values) == MAX_FRAGMENTS:
            raise ValueError(f"the pixel data has more than {MAX_FRAGMENTS} fragments")
        length = int.from_bytes(data[at + 4 : at + _HEAD], "little")
        if length == _UNDEFINED:
            raise ValueError("a fragment of the pixel data has no length")
        at += _HEAD
        values.append(data[at : at + length])
        if at + length > len(data):
            return Items(tuple(values), len(data), is_cut=True)
        at += length
        if length % 2 and data[at : at + 1] == b"\0" and data[at + 1 : at + 4] == _ITEM[:3]:
            at += 1
    return Items(tuple(values), at, is_cut=False)


def parse_film(data: bytes) -> tuple[Dataset, tuple[str, ...]]:
    """Parse a whole object, and its pixels also if only the bytes around their end are damaged.

    The second value holds notes on the damage. Raises NotDicomError as `parse_file` does, and if
    bytes that are no item lie between the fragments.
    """
    plain = inflated(data)
    try:
        ds = parse_file(plain)
    except NotDicomError:
        ds, notes = _with_pixels_read_here(plain)
        if not notes:
            raise
    else:
        end = _end_of_sound_bytes(ds, plain)
        notes = (_tail_note(plain[end:]),) if end < len(plain) else ()
        if notes:
            # What the parser made of the tail may have replaced elements of the header.
            ds = parse_file(plain[:end])
        if not len(ds):
            # pydicom drops every element if the data ends within the last one.
            mended, notes = _with_pixels_read_here(plain)
            ds = mended if notes else ds
    if is_deflated(data):
        ds.file_meta.TransferSyntaxUID = DeflatedExplicitVRLittleEndian
    return ds, notes


def _end_of_sound_bytes(ds: Dataset, plain: bytes) -> int:
    """Return the offset behind the pixels if no element follows there; else that of the end."""
    pixels = ds.get_item(_PIXEL_DATA, keep_deferred=True) if _PIXEL_DATA in ds else None
    if not isinstance(pixels, RawDataElement):
        return len(plain)
    end = pixels.value_tell + len(pixels.value or b"")
    end += _HEAD if pixels.length == _UNDEFINED else 0
    if _starts_with_element(plain[end:], pixels.is_implicit_VR, pixels.is_little_endian):
        return len(plain)
    return min(end, len(plain))


def _with_pixels_read_here(plain: bytes) -> tuple[Dataset, tuple[str, ...]]:
    """Parse the header, then read the Pixel Data as far as they go; without notes, in vain."""
    ds, at = parse_up_to_pixels(plain)
    implicit, little_endian = ds.original_encoding
    place = _element_at(plain, at, bool(implicit), little_endian is not False)
    if place is None or place.tag != _PIXEL_DATA:
        return ds, ()
    if place.length == _UNDEFINED:
        value, notes = _encapsulated(plain, place.start)
    else:
        end = place.start + place.length
        value, tail = plain[place.start : end], plain[end:]
        notes = (_tail_note(tail),) if tail else ()
    element = DataElement(_PIXEL_DATA, place.vr, value)
    element.is_undefined_length = place.length == _UNDEFINED
    ds.add(element)
    return ds, notes


def _encapsulated(plain: bytes, start: int) -> tuple[bytes, tuple[str, ...]]:
    """Return the items from `start` on as one value, and notes on what follows them."""
    try:
        items = items_at(plain, start)
    except ValueError as error:
        raise NotDicomError(str(error)) from error
    tail = plain[items.end :]
    notes = []
    if tail[:4] == SEQUENCE_END:
        tail = tail[_HEAD:]
    elif not any(tail[:_HEAD]) and tail:
        notes.append("NULs stand in the place of the sequence delimiter of the pixel data")
    else:
        notes.append("the pixel data has no sequence delimiter")
    # A table of offsets alone is no picture.
    if len(items.values) < 2 or _ITEM in tail:
        raise NotDicomError(
            "the pixel data is damaged: bytes that are no item lie before or between its fragments"
        )
    if items.is_cut:
        notes.append("the last fragment of the pixel data is shorter than it says")
    if any(tail):
        notes.append(_tail_note(tail))
    return _as_items(items.values), tuple(notes)


def _as_items(values: Sequence[bytes]) -> bytes:
    return b"".join(_ITEM + len(value).to_bytes(4, "little") + value for value in values)


def _tail_note(tail: bytes) -> str:
    bytes_are = (
        "byte after the pixel data is" if len(tail) == 1 else "bytes after the pixel data are"
    )
    return f"{len(tail)} {bytes_are} not DICOM: ignored"


def _starts_with_element(data: bytes, implicit: bool, little_endian: bool) -> bool:
    """Return True if the bytes start with an element that may follow the pixels."""
    place = _element_at(data, 0, implicit, little_endian)
    if place is None or place.tag >> 16 in {0, 0xFFFE, 0xFFFF}:
        return False
    return place.length == _UNDEFINED or place.start + place.length <= len(data)


def _element_at(data: bytes, at: int, implicit: bool, little_endian: bool) -> _Place | None:
    """Read tag, VR and length of the element at an offset (PS3.5 7.1); None if they are absent."""

    def number(start: int, size: int) -> int:
        return int.from_bytes(data[start : start + size], "little" if little_endian else "big")

    tag = number(at, 2) << 16 | number(at + 2, 2)
    if implicit:
        place = _Place(tag, "OW", at + 8, number(at + 4, 4))
    else:
        vr = data[at + 4 : at + 6].decode("latin-1")
        if vr not in STANDARD_VR:
            return None
        is_long = vr in EXPLICIT_VR_LENGTH_32
        start = at + (12 if is_long else 8)
        place = _Place(tag, vr, start, number(at + 8, 4) if is_long else number(at + 6, 2))
    return place if place.start <= len(data) else None


@dataclass(frozen=True, slots=True)
class Codestream:
    """Rows, columns, components and bits per sample in the header of a compressed image."""

    rows: int
    columns: int
    components: int
    precision: int


def read_jpeg(frame: bytes) -> Codestream | None:
    """Read the frame header of a JPEG or JPEG-LS image (ITU-T T.81 B.2.2).

    Returns None if the segments before the scan are malformed. GDCM ends the whole process on stray
    bytes between segments and on a JFIF or Adobe segment of an unknown kind.
    """
    found = None
    at = 2
    while at + 4 <= len(frame) and frame[at] == 0xFF:
        marker, body = frame[at + 1], frame[at + 4 : at + 2 + _u16(frame, at + 2)]
        if marker == _START_OF_SCAN:
            return found
        if marker == 0xFF:
            at += 1
        elif marker in _BARE_MARKERS:
            at += 2
        elif marker < _FIRST_MARKER or _is_unknown_application(marker, body):
            return None
        else:
            if marker in _FRAME_MARKERS and len(body) >= 6:
                rows, columns = _u16(body, 1), _u16(body, 3)
                found = Codestream(rows, columns, components=body[5], precision=body[0])
            at += 2 + _u16(frame, at + 2)
    return None


def _is_unknown_application(marker: int, body: bytes) -> bool:
    """Return True for a JFIF segment not of version 1 or an Adobe segment of unknown transform."""
    if marker == _APP0 and body.startswith(b"JFIF\0"):
        return body[5:6] != b"\x01"
    return marker == _APP14 and body.startswith(b"Adobe") and body[11:12] not in _ADOBE_TRANSFORMS


def read_j2k(frame: bytes) -> Codestream | None:
    """Read the SIZ segment of a JPEG 2000 codestream (ITU-T T.800 A.5.1); None if it is absent."""
    start = frame.find(_J2K_START)
    if start < 0 or start + 43 > len(frame):
        return None
    width, height, left, top = (_u32(frame, start + offset) for offset in (8, 12, 16, 20))
    return Codestream(
        rows=height - top,
        columns=width - left,
        components=_u16(frame, start + 40),
        precision=(frame[start + 42] & 0x7F) + 1,
    )


def lacks_end(frame: bytes) -> bool:
    """Return True if a JPEG, JPEG-LS or JPEG 2000 image with a sound header has no end marker.

    The marker cannot occur within the compressed pixels, where a byte is stuffed after 0xFF.
    """
    scan = max(frame.rfind(bytes([0xFF, _START_OF_SCAN])), frame.rfind(_J2K_TILE_PART))
    return frame.find(END, max(scan, 0)) < 0


def is_last_part_of_unknown_length(frame: bytes) -> bool:
    """Return True if the last tile-part of a JPEG 2000 image has no length (T.800 A.4.2).

    Such a part ends where the codestream does, so that a missing piece of it is not noticed.
    """
    at = frame.rfind(_J2K_TILE_PART)
    return at >= 0 and _u32(frame, at + 6) == 0


def ended_otherwise(frame: bytes) -> bytes:
    """Return a JPEG image without end, ended after bits that only an incomplete image shows."""
    filling = _FILLING
    if _RESTART_INTERVAL in frame:
        found = [frame.rfind(bytes([0xFF, _FIRST_RESTART + number])) for number in range(_RESTARTS)]
        last = max(range(_RESTARTS), key=found.__getitem__)
        following = (last + 1) % _RESTARTS if max(found) >= 0 else 0
        filling += bytes([0xFF, _FIRST_RESTART + following]) + _FILLING
    # The last byte may be 0xFF to fill up; before other bits it would make a marker.
    return frame.rstrip(b"\xff") + filling + END


def _u16(data: bytes, at: int) -> int:
    return int.from_bytes(data[at : at + 2], "big")


def _u32(data: bytes, at: int) -> int:
    return int.from_bytes(data[at : at + 4], "big")
