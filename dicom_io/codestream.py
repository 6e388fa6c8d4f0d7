"""What a compressed image says of itself in its first bytes."""

from dataclasses import dataclass

# Markers that carry no length (ITU-T T.81 table B.1): TEM, RSTn, SOI.
_BARE_MARKERS = frozenset({0x01, *range(0xD0, 0xD9)})
# Start of frame: SOF0 to SOF15 without DHT, JPG and DAC; SOF55 of JPEG-LS (ITU-T T.87).
_FRAME_MARKERS = frozenset({*range(0xC0, 0xD0), 0xF7} - {0xC4, 0xC8, 0xCC})
_START_OF_SCAN = 0xDA
_J2K_START = b"\xff\x4f\xff\x51"


@dataclass(frozen=True, slots=True)
class Codestream:
    """Rows, columns, components and bits per sample by a compressed image's own header."""

    rows: int
    columns: int
    components: int
    precision: int


def read_jpeg(frame: bytes) -> Codestream | None:
    """The frame header of a JPEG or JPEG-LS image (ITU-T T.81 B.2.2); None where it has none."""
    at = 2
    while at + 10 <= len(frame) and frame[at] == 0xFF:
        marker = frame[at + 1]
        if marker == 0xFF:
            at += 1
        elif marker in _BARE_MARKERS:
            at += 2
        elif marker in _FRAME_MARKERS:
            rows, columns = _u16(frame, at + 5), _u16(frame, at + 7)
            return Codestream(rows, columns, components=frame[at + 9], precision=frame[at + 4])
        elif marker == _START_OF_SCAN:
            return None
        else:
            at += 2 + _u16(frame, at + 2)
    return None


def read_j2k(frame: bytes) -> Codestream | None:
    """The SIZ segment of a JPEG 2000 codestream (ITU-T T.800 A.5.1); None where it has none."""
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
