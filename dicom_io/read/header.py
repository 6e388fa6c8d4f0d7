"""Reads DICOM objects of any form: without preamble, deflated, with malformed values.

`text`, `number`, `numbers` and `items` read one attribute and never raise: a malformed value counts
as absent. `all_items` raises for a malformed sequence.
"""

import contextlib
import re
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

from pydicom import Dataset
from pydicom.charset import convert_encodings, decode_bytes
from pydicom.datadict import dictionary_VR
from pydicom.tag import BaseTag, Tag
from pydicom.uid import UID, ExplicitVRBigEndian, ExplicitVRLittleEndian, ImplicitVRLittleEndian
from pydicom.valuerep import TEXT_VR_DELIMS, PersonName

from dicom_io.errors import NotDicomError
from dicom_io.read.bounded_parser import (
    PARSER_ERRORS,
    StopWhen,
    at_pixels,
    is_deflated,
    parse_file,
    parse_message,
    raw_length,
)
from dicom_io.read.codestream import parse_film
from dicom_io.read.warnings_off import suppressed_warnings

LONGEST_TEXT = 1 << 14
"""Bytes of a value that is read as text; a longer value counts as absent."""

_UID = re.compile(r"[0-9.]{1,64}")
_PIXELS = ("PixelData", "FloatPixelData", "DoubleFloatPixelData")

LONGEST_VALUE = 1 << 20
"""Bytes of a value that is read as numbers or as a sequence; a longer value counts as absent."""
_MOST_ITEMS = 1000
_LONGEST_MESSAGE_SEQUENCE = 4 << 20

# Reads that the listener may spend on identifying an object: about half a second.
_IDENTIFYING_READS = 100_000

# The first bytes of a deflated object usually identify it. If not, more is inflated. That may be a
# bomb whose memory is not counted elsewhere, so a lock lets one object be inflated at a time.
_INFLATED_FIRST, _INFLATED_AT_MOST = 1 << 20, 16 << 20

_INFLATING = threading.Lock()

_CHINESE = frozenset({"GB18030", "GBK"})

_UIDS = ("SOPClassUID", "SOPInstanceUID", "StudyInstanceUID", "SeriesInstanceUID")
_IDENTIFYING = tuple(
    int(Tag(keyword))
    for keyword in (
        "SOPClassUID",
        "SOPInstanceUID",
        "StudyDate",
        "AccessionNumber",
        "Modality",
        "PatientName",
        "PatientID",
        "IssuerOfPatientID",
        "PatientBirthDate",
        "PatientSex",
        "PatientAge",
        "ViewPosition",
        "StudyInstanceUID",
        "SeriesInstanceUID",
    )
)
_ORDER = tuple(
    int(Tag(keyword)) for keyword in ("RequestAttributesSequence", "RequestedProcedurePriority")
)
_URGENT = frozenset({"STAT", "HIGH"})
"""Values of Requested Procedure Priority (0040,1003) of an urgent order (PS3.3 C.4.11)."""
_Value = TypeVar("_Value")


@dataclass(frozen=True, slots=True)
class Header:
    """The attributes that identify an instance and its patient; an absent one is an empty string.

    Texts are decoded by the object's character set. Dates are as in the object (YYYYMMDD).
    `is_urgent` is True if the priority of its order is STAT or HIGH.
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
    issuer_of_patient_id: str = ""
    patient_name: str = ""
    patient_birth_date: str = ""
    patient_sex: str = ""
    view_position: str = ""
    is_urgent: bool = False


def read_header(source: bytes | Path) -> Header:
    """Read the attributes that identify an object, and as little else as possible.

    Raises NotDicomError if the object cannot be parsed or has no valid SOP Class UID or SOP
    Instance UID.
    """
    data = _bytes_of(source)
    ds = _read_identifying(data)
    if "SOPClassUID" not in ds:
        raise NotDicomError("not a DICOM object: it has no SOP Class UID")
    return header_of(ds)


def read_identifiers(data: bytes, keywords: Sequence[str]) -> tuple[str, ...]:
    """Return these attributes of `read_header` as text; each is empty if it cannot be read.

    Never raises; `data` may be the start of an object.
    """
    try:
        ds = _read_identifying(data)
    except NotDicomError:
        return ("",) * len(keywords)
    return tuple(text(ds, keyword) for keyword in keywords)


def _read_identifying(data: bytes) -> Dataset:
    """Parse the identifying attributes. Raises NotDicomError."""

    def parse(stop_when: StopWhen, max_inflated: int) -> Dataset:
        ds = parse_file(
            data,
            stop_when=stop_when,
            only=(*_IDENTIFYING, *_ORDER),
            max_reads=_IDENTIFYING_READS,
            max_inflated=max_inflated,
        )
        _complete_file_meta(ds)
        return ds

    deflated = is_deflated(data)
    try:
        try:
            ds = parse(_past_order, _INFLATED_FIRST)
        except NotDicomError:
            # Damage behind the identification is found when the object is analysed.
            ds = parse(_past_identification, _INFLATED_FIRST)
    except NotDicomError:
        if not deflated:
            raise
        # The inflated bytes may end within an element.
        ds = Dataset()
    if not all(keyword in ds for keyword in _UIDS):
        # The elements are not in ascending order, although PS3.5 7.1 demands it.
        with _INFLATING if deflated else contextlib.nullcontext():
            ds = parse(at_pixels, _INFLATED_AT_MOST)
    return ds


def _past_identification(tag: BaseTag, _vr: str | None, _length: int) -> bool:
    return int(tag) > _IDENTIFYING[-1]


def _past_order(tag: BaseTag, _vr: str | None, _length: int) -> bool:
    return int(tag) > _ORDER[-1]


@suppressed_warnings()
def header_of(ds: Dataset) -> Header:
    """Return the identifying attributes of a dataset that `read_dataset` returned.

    Raises NotDicomError if SOP Class UID or SOP Instance UID is absent or not a UID.
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
        issuer_of_patient_id=text(ds, "IssuerOfPatientID"),
        patient_name=text(ds, "PatientName"),
        patient_birth_date=text(ds, "PatientBirthDate"),
        patient_sex=text(ds, "PatientSex"),
        view_position=text(ds, "ViewPosition"),
        is_urgent=_is_urgent(ds),
    )
    for name, uid in (
        ("SOP Class UID", header.sop_class_uid),
        ("SOP Instance UID", header.sop_instance_uid),
    ):
        if not is_uid(uid):
            raise NotDicomError(f"the object has no valid {name}; it cannot be identified")
    return header


def _is_urgent(ds: Dataset) -> bool:
    """Return True if the object, or a request that it names, has the priority STAT or HIGH."""
    named = ds, *items(ds, "RequestAttributesSequence")
    found = (text(one, "RequestedProcedurePriority") for one in named)
    return any(value.upper() in _URGENT for value in found)


def read_dataset(source: bytes | Path, *, with_pixels: bool = True) -> Dataset:
    """Parse a DICOM object, with or without preamble and file meta information (PS3.10 7.1).

    The result always has `file_meta.TransferSyntaxUID`. Raises NotDicomError if the file cannot be
    read, the bytes are not a DICOM object, or the object exceeds a limit of `bounded_parser`.
    """
    if with_pixels:
        return read_dataset_and_damage(source)[0]
    return _checked(parse_file(_bytes_of(source), stop_when=at_pixels))


def read_dataset_and_damage(source: bytes | Path) -> tuple[Dataset, tuple[str, ...]]:
    """Parse an object with its pixels as `read_dataset` does, and return notes on its damage.

    Damage that leaves the pixels whole is no error: see `codestream`.
    """
    ds, notes = parse_film(_bytes_of(source))
    return _checked(ds), notes


def _checked(ds: Dataset) -> Dataset:
    _complete_file_meta(ds)
    if "SOPClassUID" not in ds and not any(keyword in ds for keyword in _PIXELS):
        raise NotDicomError("not a DICOM object: it has neither a SOP Class UID nor pixel data")
    return ds


def read_information(data: bytes, *, implicit_vr: bool, little_endian: bool) -> Dataset:
    """Parse the bare data set of a message in the negotiated transfer syntax.

    Raises NotDicomError if the bytes are not a data set.
    """
    return parse_message(data, implicit_vr=implicit_vr, little_endian=little_endian)


def is_uid(value: str) -> bool:
    """Return True if the value has the characters and the length of a UID (PS3.5 9.1)."""
    return _UID.fullmatch(value) is not None


def text(ds: Dataset, keyword: str) -> str:
    """Return an attribute as stripped text; several values are joined by a backslash.

    A Code String is decoded in the object's character set. PS3.5 6.2 allows it only ASCII, but
    equipment writes body parts in its own language.
    """

    def read() -> str:
        value = ds.get(keyword)
        if value is None:
            return ""
        parts = [value] if isinstance(value, str | bytes | PersonName) else _as_list(value)
        joined = "\\".join(_as_text(part) for part in parts)
        plain = joined.isascii() and "\x1b" not in joined
        return joined if plain else _readable(ds, keyword, joined)

    return _read(ds, keyword, LONGEST_TEXT, read, "")


def numbers(ds: Dataset, keyword: str) -> tuple[float, ...]:
    """Return the values of a numeric attribute; empty if it is absent or not numeric."""

    def read() -> tuple[float, ...]:
        value = ds.get(keyword)
        if value is None or value == "":
            return ()
        return tuple(float(str(part)) for part in _as_list(value))

    return _read(ds, keyword, LONGEST_VALUE, read, ())


def number(ds: Dataset, keyword: str) -> float | None:
    """Return the first value of a numeric attribute; None if it is absent or not numeric."""
    values = numbers(ds, keyword)
    return values[0] if values else None


def items(ds: Dataset, keyword: str) -> tuple[Dataset, ...]:
    """Return the items of a sequence; empty if it is absent or has more than 1000 items."""

    def read() -> tuple[Dataset, ...]:
        value = ds.get(keyword) or ()
        if len(value) > _MOST_ITEMS:
            return ()
        return tuple(item for item in value if isinstance(item, Dataset))

    return _read(ds, keyword, LONGEST_VALUE, read, ())


def all_items(ds: Dataset, keyword: str, *, most: int) -> tuple[Dataset, ...]:
    """Return every item of a sequence; empty if it is absent.

    Raises NotDicomError if the attribute is not a sequence of at most `most` items.
    """
    try:
        with suppressed_warnings():
            too_long = raw_length(ds, Tag(keyword)) > _LONGEST_MESSAGE_SEQUENCE
            value = () if too_long or keyword not in ds else ds[keyword].value or ()
            found = tuple(item for item in value if isinstance(item, Dataset))
    except PARSER_ERRORS as error:
        raise NotDicomError(f"{keyword} cannot be read") from error
    if too_long or len(value) > most:
        raise NotDicomError(f"{keyword} has more than {most} items")
    if len(found) != len(value):
        raise NotDicomError(f"{keyword} is no sequence")
    return found


def _read(
    ds: Dataset, keyword: str, longest: int, read: Callable[[], _Value], absent: _Value
) -> _Value:
    if keyword not in ds:
        return absent
    try:
        with suppressed_warnings():
            return read() if raw_length(ds, Tag(keyword)) <= longest else absent
    except PARSER_ERRORS:
        return absent


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


def _readable(ds: Dataset, keyword: str, value: str) -> str:
    """Return a Code String, which pydicom decodes as Latin-1, in the object's character set."""
    if dictionary_VR(keyword) != "CS":
        return value
    try:
        stored = value.encode("latin-1")
    except UnicodeEncodeError:
        return value
    try:
        encodings = convert_encodings(ds.get("SpecificCharacterSet") or "ISO_IR 6")
    except PARSER_ERRORS:
        return value
    if not _CHINESE.intersection(encodings) and b"\x1b" not in stored:
        # UTF-8 is often written without its name; text in another set is hardly ever valid UTF-8.
        with contextlib.suppress(UnicodeDecodeError):
            return stored.decode("utf-8")
    return decode_bytes(stored, encodings, TEXT_VR_DELIMS)


def _bytes_of(source: bytes | Path) -> bytes:
    if not isinstance(source, Path):
        return source
    try:
        return source.read_bytes()
    except OSError as error:
        raise NotDicomError(f"the file cannot be read: {error.strerror}") from error


def _complete_file_meta(ds: Dataset) -> None:
    with suppressed_warnings():
        try:
            declared = ds.file_meta.get("TransferSyntaxUID")
        except PARSER_ERRORS:
            declared = None
    if isinstance(declared, UID) and is_uid(str(declared)):
        return
    implicit, little_endian = ds.original_encoding
    if implicit:
        ds.file_meta.TransferSyntaxUID = ImplicitVRLittleEndian
    elif little_endian is False:
        ds.file_meta.TransferSyntaxUID = ExplicitVRBigEndian
    else:
        ds.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
