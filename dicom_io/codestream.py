"""The size that a compressed image gives itself, read from its first bytes."""

# Markers that carry no length (ITU-T T.81 table B.1): TEM, RSTn, SOI.
_BARE_MARKERS = frozenset({0x01, *range(0xD0, 0xD9)})
# Start of frame: SOF0 to SOF15 without DHT, JPG and DAC; SOF55 of JPEG-LS (ITU-T T.87).
_FRAME_MARKERS = frozenset({*range(0xC0, 0xD0), 0xF7} - {0xC4, 0xC8, 0xCC})
_START_OF_SCAN = 0xDA
_J2K_START = b"\xff\x4f\xff\x51"


def jpeg_size(frame: bytes) -> tuple[int, int] | None:
    """Rows and columns by the frame header of a JPEG or JPEG-LS image; None where it has none."""
    at = 2
    while at + 9 <= len(frame) and frame[at] == 0xFF:
        marker = frame[at + 1]
        if marker == 0xFF:
            at += 1
        elif marker in _BARE_MARKERS:
            at += 2
        elif marker in _FRAME_MARKERS:
            rows, columns = _u16(frame, at + 5), _u16(frame, at + 7)
            # Zero rows: the number follows the scan (DNL), so it is not known here.
            return (rows, columns) if rows and columns else None
        elif marker == _START_OF_SCAN:
            return None
        else:
            at += 2 + _u16(frame, at + 2)
    return None


def j2k_size(frame: bytes) -> tuple[int, int] | None:
    """Rows and columns by the SIZ segment of a JPEG 2000 codestream (ITU-T T.800 A.5.1)."""
    start = frame.find(_J2K_START)
    if start < 0 or start + 24 > len(frame):
        return None
    width, height, left, top = (_u32(frame, start + offset) for offset in (8, 12, 16, 20))
    return height - top, width - left


def _u16(data: bytes, at: int) -> int:
    return int.from_bytes(data[at : at + 2], "big")


def _u32(data: bytes, at: int) -> int:
    return int.from_bytes(data[at : at + 4], "big")
