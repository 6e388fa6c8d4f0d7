"""Recognises a file by its first bytes; its name decides only for damaged or unknown content."""

import re
import struct
import unicodedata
from pathlib import PurePath

from daemon.analyse.reader.film import Refusal
from daemon.analyse.reader.film_file import Form, unpack_start
from dicom_io.gate.reasons import Reason

START_BYTES = 1 << 16
"""Bytes of a file that decide; an ISO 9660 image has its mark at 32,769."""

PICTURE_SUFFIXES = frozenset(
    {".png", ".jpg", ".jpeg", ".tif", ".tiff", ".bmp", ".webp", ".jp2", ".j2k", ".jpx", ".j2c"}
)
_OBJECT_SUFFIXES = frozenset({".dcm", ".dicom", ".dic", ".ima"})

# PS3.10 section 7.1: 128 bytes of preamble, then the prefix.
_PREAMBLE_BYTES = 128
_PREFIX = b"DICM"

# PS3.10 Table 7.1-1: Media Storage SOP Class UID is that of a Media Storage Directory.
_DICOMDIR = re.compile(rb"\x02\x00\x02\x00UI\x14\x001\.2\.840\.10008\.1\.3\.10", re.DOTALL)

# A data set without preamble begins with group 0002 or 0008 and, unless it is implicit, with a VR
# (PS3.5 6.2) in either byte order.
_EXPLICIT = re.compile(
    rb"(?:[\x02\x08]\x00..|\x00[\x02\x08]..)(?:AE|CS|DA|DS|DT|IS|LO|OB|PN|SH|SQ|ST|TM|UI|UL|UN|US)",
    re.DOTALL,
)
_FIRST_GROUPS = (0x0002, 0x0008)
_LAST_FIRST_ELEMENT = 0x00FF
_LONGEST_FIRST_VALUE = 1024
_IMPLICIT = struct.Struct("<HHI")

_PICTURES = (
    b"\x89PNG\r\n\x1a\n",
    b"\xff\xd8\xff",
    b"II*\0",
    b"MM\0*",
    b"II+\0",
    b"MM\0+",
    b"\0\0\0\x0cjP  \r\n\x87\n",
    b"\xff\x4f\xff\x51",
)
_BITMAP = re.compile(rb"BM.{4}\0{4}.{4}[\x0c\x28\x34\x38\x40\x6c\x7c]\0{3}", re.DOTALL)
_GZIP = b"\x1f\x8b"
_GZIP_SUFFIX = ".gz"

# Marks of other kinds of file: the place, the bytes and the name.
_OTHERS = (
    (0, b"PK\x03\x04", "a ZIP archive"),
    (0, b"PK\x05\x06", "a ZIP archive"),
    (0, b"PK\x07\x08", "a ZIP archive"),
    (0, b"7z\xbc\xaf\x27\x1c", "a 7z archive"),
    (0, b"Rar!\x1a\x07", "a RAR archive"),
    (0, b"BZh", "a bzip2 archive"),
    (0, b"\xfd7zXZ\0", "an xz archive"),
    (0, b"\x28\xb5\x2f\xfd", "a zstd archive"),
    (0, b"\x04\x22\x4d\x18", "an LZ4 archive"),
    (0, b"\x1f\x9d", "a compress archive"),
    (0, b"MSCF", "a cabinet archive"),
    (257, b"ustar", "a tar archive"),
    (32769, b"CD001", "an image of a CD or DVD"),
    (0, b"%PDF", "a PDF document"),
    (0, b"GIF8", "a GIF picture"),
    (0, b"8BPS", "a Photoshop picture"),
    (0, b"\0\0\1\0", "an icon"),
    (4, b"ftyp", "a HEIF picture or a film clip"),
    (0, b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1", "an older Microsoft Office or Windows file"),
    (0, b"\x7fELF", "a program"),
    (0, b"MZ", "a program"),
    (0, b"\xca\xfe\xba\xbe", "a program"),
    (0, b"\0\5\x16\7", "a resource file of macOS"),
    (0, b"SQLite format 3\0", "an SQLite database"),
    (0, b"\x89HDF\r\n\x1a\n", "an HDF5 file"),
    (344, b"n+1\0", "a NIfTI file"),
)
_TEXT_BYTES = 4096
_BYTE_ORDER_MARKS = (b"\xff\xfe", b"\xfe\xff")
_WHITE_SPACE = frozenset("\t\n\v\f\r\x1a\x1b\b")


def recognise(name: str, start: bytes) -> Form | Refusal:
    """Return the form of a file by its name and its first `START_BYTES` bytes.

    A file without a film is refused as UNSUPPORTED_FILE, and the detail says its kind. Unknown
    content counts as a damaged film if the name is that of a film.
    """
    if name.upper() == "DICOMDIR" or _DICOMDIR.search(start, _PREAMBLE_BYTES, 4096):
        return _unsupported("a DICOMDIR, the list of a medium's files; analyse their folder")
    if _is_object(start):
        return Form.OBJECT
    if _is_picture(start):
        return Form.PICTURE
    suffix = PurePath(name).suffix.lower()
    if start.startswith(_GZIP):
        unpacked = unpack_start(start, START_BYTES)
        inner = PurePath(name).stem if suffix == _GZIP_SUFFIX else name
        if _is_object(unpacked) or (not unpacked and _is_object_name(inner)):
            return Form.PACKED_OBJECT
        return _unsupported("a gzip archive without a DICOM object")
    for place, mark, kind in _OTHERS:
        if start.startswith(mark, place):
            return _unsupported(kind)
    if suffix in PICTURE_SUFFIXES:
        return Form.PICTURE
    if suffix in _OBJECT_SUFFIXES:
        return Form.OBJECT
    if start and _is_text(start[:_TEXT_BYTES]):
        return _unsupported("a text file")
    if _is_object_name(name):
        return Form.OBJECT
    return _unsupported("a file of an unknown kind" if start else "an empty file")


def _unsupported(detail: str) -> Refusal:
    return Refusal(Reason.UNSUPPORTED_FILE, detail)


def _is_object(start: bytes) -> bool:
    if start.startswith(_PREFIX, _PREAMBLE_BYTES) or _EXPLICIT.match(start):
        return True
    if len(start) < _IMPLICIT.size:
        return False
    group, element, length = _IMPLICIT.unpack_from(start)
    if group not in _FIRST_GROUPS or element > _LAST_FIRST_ELEMENT or length > _LONGEST_FIRST_VALUE:
        return False
    following = start[_IMPLICIT.size + length :][:2]
    return length % 2 == 0 and int.from_bytes(following, "little") in _FIRST_GROUPS


def _is_object_name(name: str) -> bool:
    """Return True for a suffix of DICOM files, for no suffix, and for that of a UID, a number."""
    suffix = PurePath(name).suffix.lower()
    return suffix in _OBJECT_SUFFIXES or not suffix or suffix[1:].isdigit()


def _is_picture(start: bytes) -> bool:
    is_webp = start.startswith(b"RIFF") and start.startswith(b"WEBP", 8)
    return start.startswith(_PICTURES) or is_webp or _BITMAP.match(start) is not None


def _is_text(start: bytes) -> bool:
    if start.startswith(_BYTE_ORDER_MARKS):
        return True
    # Text in an older 8-bit code is legible, too; a letter may be cut at the end of the bytes.
    return all(
        character in _WHITE_SPACE or unicodedata.category(character) != "Cc"
        for character in start.decode("utf-8", "surrogateescape")
    )
