"""Reading DICOM objects as they come: without preamble, deflated, with broken values.

`text`, `number`, `numbers` and `items` read one attribute and never raise: a value that cannot
be understood counts as absent.
"""

import re
import struct
import zlib
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path

# Named here for the code outside this room, which does not import pydicom.
from pydicom import Dataset as Dataset
from pydicom import FileMetaDataset, dcmread
from pydicom.errors import BytesLengthException, InvalidDicomError
from pydicom.filereader import read_dataset as parse_dataset
from pydicom.uid import (
    UID,
    DeflatedExplicitVRLittleEndian,
    ExplicitVRBigEndian,
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
)

from dicom_io.errors import NotDicomError
from dicom_io.quiet import quietly

# The largest object that a deflated one may unpack to, bytes.
MAX_INFLATED_BYTES = 1 << 30

_UID = re.compile(r"[0-9.]{1,64}")
_PREAMBLE = 128
_PIXELS = ("PixelData", "FloatPixelData", "DoubleFloatPixelData")

# What pydicom raises on input that is not what it claims to be.
_PARSER_ERRORS = (
    InvalidDicomError,
    BytesLengthException,
    AttributeError,
    EOFError,
    LookupError,
    MemoryError,
    NotImplementedError,
    OSError,
    OverflowError,
    RecursionError,
    TypeError,
    ValueError,
    struct.error,
    zlib.error,
)


@dataclass(frozen=True, slots=True)
class Header:
    """The attributes that identify an instance; an absent one is an empty string.

    `study_date` is as in the object (YYYYMMDD).
    """

    sop_class_uid: str
    sop_instance_uid: str
    study_instance_uid: str
    series_instance_uid: str
    transfer_syntax_uid: str
    modality: str
    patient_id: str
    accession_number: str
    study_date: str


def read_header(source: bytes | Path) -> Header:
    """Identify the object without reading its pixels.

    Raises NotDicomError where the object cannot be parsed or carries no usable SOP Class UID
    or SOP Instance UID.
    """
    return header_of(read_dataset(source, with_pixels=False))


def header_of(ds: Dataset) -> Header:
    """Pick the identifying attributes from a dataset that `read_dataset` returned.

    Raises NotDicomError where SOP Class UID or SOP Instance UID is absent or no UID at all.
    """
    header = Header(
        sop_class_uid=text(ds, "SOPClassUID"),
        sop_instance_uid=text(ds, "SOPInstanceUID"),
        study_instance_uid=text(ds, "StudyInstanceUID"),
        series_instance_uid=text(ds, "SeriesInstanceUID"),
        transfer_syntax_uid=str(ds.file_meta.TransferSyntaxUID),
        modality=text(ds, "Modality"),
        patient_id=text(ds, "PatientID"),
        accession_number=text(ds, "AccessionNumber"),
        study_date=text(ds, "StudyDate"),
    )
    for name, uid in (
        ("SOP Class UID", header.sop_class_uid),
        ("SOP Instance UID", header.sop_instance_uid),
    ):
        if not is_uid(uid):
            raise NotDicomError(f"the object has no valid {name}; it cannot be identified")
    return header


def read_dataset(source: bytes | Path, *, with_pixels: bool = True) -> Dataset:
    """Parse a DICOM object, with or without preamble and file meta information (PS3.10 7.1).

    The result always has `file_meta.TransferSyntaxUID`. Raises NotDicomError where the file
    cannot be read, or the bytes are not one DICOM object.
    """
    data = _read_file(source) if isinstance(source, Path) else source
    _refuse_inflation_bomb(data)
    try:
        with quietly():
            ds = dcmread(BytesIO(data), force=True, stop_before_pixels=not with_pixels)
            recognised = "SOPClassUID" in ds or any(keyword in ds for keyword in _PIXELS)
            _complete_file_meta(ds)
    except _PARSER_ERRORS as error:
        raise NotDicomError(
            f"the bytes cannot be parsed as DICOM ({type(error).__name__}); "
            "the object is damaged or of another format"
        ) from error
    if not recognised:
        raise NotDicomError("not a DICOM object: it has neither a SOP Class UID nor pixel data")
    return ds


def read_information(data: bytes, *, implicit_vr: bool, little_endian: bool) -> Dataset:
    """Parse the bare data set of a message, whose syntax was negotiated.

    Raises NotDicomError where the bytes are no data set.
    """
    try:
        with quietly():
            return parse_dataset(BytesIO(data), implicit_vr, little_endian)
    except _PARSER_ERRORS as error:
        raise NotDicomError(
            f"the message's data set cannot be parsed ({type(error).__name__})"
        ) from error


def is_uid(value: str) -> bool:
    """Whether the value has the characters and the length of a UID (PS3.5 9.1)."""
    return _UID.fullmatch(value) is not None


def text(ds: Dataset, keyword: str) -> str:
    """Value of an attribute as stripped text; several values are joined by a backslash."""
    try:
        with quietly():
            value = ds.get(keyword)
            if value is None:
                return ""
            parts = [value] if isinstance(value, str | bytes) else _as_list(value)
            return "\\".join(_as_text(part) for part in parts)
    except _PARSER_ERRORS:
        return ""


def numbers(ds: Dataset, keyword: str) -> tuple[float, ...]:
    """Values of a numeric attribute; empty where absent or not numeric."""
    try:
        with quietly():
            value = ds.get(keyword)
            if value is None or value == "":
                return ()
            return tuple(float(str(part)) for part in _as_list(value))
    except _PARSER_ERRORS:
        return ()


def number(ds: Dataset, keyword: str) -> float | None:
    """First value of a numeric attribute."""
    values = numbers(ds, keyword)
    return values[0] if values else None


def items(ds: Dataset, keyword: str) -> tuple[Dataset, ...]:
    """Items of a sequence attribute."""
    try:
        with quietly():
            value = ds.get(keyword)
            return tuple(item for item in value or () if isinstance(item, Dataset))
    except _PARSER_ERRORS:
        return ()


def _as_list(value: object) -> list[object]:
    if isinstance(value, str | bytes):
        return [value]
    try:
        return list(value)  # type: ignore[call-overload, no-any-return]
    except TypeError:
        return [value]


def _as_text(value: object) -> str:
    shown = value.decode("latin-1") if isinstance(value, bytes) else str(value)
    return shown.strip(" \0\r\n\t")


def _read_file(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise NotDicomError(f"the file cannot be read: {error.strerror}") from error


def _complete_file_meta(ds: Dataset) -> None:
    if not hasattr(ds, "file_meta"):
        ds.file_meta = FileMetaDataset()
    declared = ds.file_meta.get("TransferSyntaxUID")
    if isinstance(declared, UID) and is_uid(str(declared)):
        return
    implicit, little_endian = ds.original_encoding
    if implicit:
        ds.file_meta.TransferSyntaxUID = ImplicitVRLittleEndian
    elif little_endian is False:
        ds.file_meta.TransferSyntaxUID = ExplicitVRBigEndian
    else:
        ds.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian


def _refuse_inflation_bomb(data: bytes) -> None:
    """Unpack a deflated object piece by piece and count, before pydicom does it in one go."""
    start = _end_of_file_meta(data)
    if start is None or DeflatedExplicitVRLittleEndian.encode() not in data[:start]:
        return
    unpacker = zlib.decompressobj(-zlib.MAX_WBITS)
    pending, total = data[start:], 0
    try:
        while pending and not unpacker.eof:
            total += len(unpacker.decompress(pending, 1 << 20))
            pending = unpacker.unconsumed_tail
            if total > MAX_INFLATED_BYTES:
                raise NotDicomError(
                    f"the deflated object unpacks to more than {MAX_INFLATED_BYTES >> 20} MiB"
                )
    except zlib.error as error:
        raise NotDicomError("the deflated object cannot be unpacked; it is damaged") from error


def _end_of_file_meta(data: bytes) -> int | None:
    """Offset of the data set by the File Meta Information Group Length (PS3.10 7.1)."""
    element = data[_PREAMBLE + 4 : _PREAMBLE + 16]
    if data[_PREAMBLE : _PREAMBLE + 4] != b"DICM" or element[:8] != b"\x02\0\0\0UL\x04\0":
        return None
    return int(_PREAMBLE + 16 + int.from_bytes(element[8:], "little"))
