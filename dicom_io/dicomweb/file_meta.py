"""The file meta information of a DICOM file (PS3.10 7.1), read strictly and in bounded time."""

import struct
from dataclasses import dataclass

from dicom_io.errors import NotDicomError
from dicom_io.read.header import is_uid, read_identifiers

PREAMBLE, PREFIX = 128, b"DICM"
"""Length of the preamble, and the text after it."""

_META_GROUP = 0x0002
_MOST_BYTES = 1 << 16
_SHORT, _LONG = struct.Struct("<HH2sH"), struct.Struct("<HH2sHI")
_LONG_VRS = frozenset({b"OB", b"OW", b"OF", b"OD", b"OL", b"SQ", b"UC", b"UN", b"UR", b"UT"})
_CLASS, _INSTANCE, _SYNTAX = 0x0002, 0x0003, 0x0010
_NAMES = {
    _CLASS: "Media Storage SOP Class UID",
    _INSTANCE: "Media Storage SOP Instance UID",
    _SYNTAX: "Transfer Syntax UID",
}


@dataclass(frozen=True, slots=True)
class FileMeta:
    """The UIDs of a file's meta information; `end` is the offset of its data set."""

    sop_class_uid: str
    sop_instance_uid: str
    transfer_syntax_uid: str
    end: int


def file_meta_of(data: bytes) -> FileMeta:
    """Return the file meta information of a file, or of its start.

    It is explicit VR little endian whatever the data set is. Raises NotDicomError.
    """
    offset = PREAMBLE + len(PREFIX)
    if data[PREAMBLE:offset] != PREFIX:
        raise NotDicomError("it is no DICOM file: DICM is missing after the preamble")
    values: dict[int, str] = {}
    while (element := _element_at(data, offset)) is not None:
        tag, start, offset = element
        if tag in _NAMES:
            values[tag] = data[start:offset].rstrip(b" \0").decode("latin-1")
    for tag, name in _NAMES.items():
        if not is_uid(values.get(tag, "")):
            raise NotDicomError(f"the file meta information has no valid {name}")
    return FileMeta(values[_CLASS], values[_INSTANCE], values[_SYNTAX], offset)


def series_and_syntax(start: bytes) -> tuple[str, str]:
    """Return the Series Instance UID and the transfer syntax of a file from its first bytes.

    Raises NotDicomError.
    """
    (series,) = read_identifiers(start, ("SeriesInstanceUID",))
    return series, file_meta_of(start).transfer_syntax_uid


def _element_at(data: bytes, offset: int) -> tuple[int, int, int] | None:
    """Return element number, begin and end of the value; None behind the meta information."""
    if len(data) - offset < _SHORT.size:
        return None
    group, tag, vr, length = _SHORT.unpack_from(data, offset)
    if group != _META_GROUP:
        return None
    start = offset + _SHORT.size
    if vr in _LONG_VRS:
        if len(data) - offset < _LONG.size:
            raise NotDicomError("the file meta information is cut off")
        *_, length = _LONG.unpack_from(data, offset)
        start = offset + _LONG.size
    if start + length > min(len(data), PREAMBLE + _MOST_BYTES):
        raise NotDicomError("the file meta information is cut off, or longer than 64 KiB")
    return tag, start, start + length
