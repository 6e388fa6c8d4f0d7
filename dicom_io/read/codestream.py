"""Reads the layout of a compressed image from the header of its codestream."""

from dataclasses import dataclass

# Markers that carry no length (ITU-T T.81 table B.1): TEM, RSTn, SOI.
_BARE_MARKERS = frozenset({0x01, *range(0xD0, 0xD9)})
_FIRST_MARKER = 0xC0

# Start of frame: SOF0 to SOF15 without DHT, JPG and DAC; SOF55 of JPEG-LS (ITU-T T.87).
_FRAME_MARKERS = frozenset({*range(0xC0, 0xD0), 0xF7} - {0xC4, 0xC8, 0xCC})
_START_OF_SCAN = 0xDA
_APP0, _APP14 = 0xE0, 0xEE
_ADOBE_TRANSFORMS = (b"\0", b"\1", b"\2")
_J2K_START = b"\xff\x4f\xff\x51"


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


def _u16(data: bytes, at: int) -> int:
    return int.from_bytes(data[at : at + 2], "big")


def _u32(data: bytes, at: int) -> int:
    return int.from_bytes(data[at : at + 4], "big")
