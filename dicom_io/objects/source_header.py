"""Header of a new object: patient and study of the source image, new identity, equipment.

The PACS must recognise patient and study. Their elements are therefore copied as raw bytes,
together with the SpecificCharacterSet of those bytes. Archives send films that lack type 2
attributes; the new object gets these empty. The source does not change.
"""

import contextlib
import copy
import re
from dataclasses import dataclass, replace
from datetime import datetime, timedelta, timezone, tzinfo

from pydicom.charset import convert_encodings, decode_bytes, encode_string
from pydicom.datadict import dictionary_has_tag, dictionary_VR
from pydicom.dataelem import DataElement, RawDataElement
from pydicom.dataset import Dataset
from pydicom.tag import BaseTag, Tag
from pydicom.uid import UID

from dicom_io.errors import ObjectError
from dicom_io.objects.algorithm import Algorithm, add_equipment
from dicom_io.read.bounded_parser import PARSER_ERRORS
from dicom_io.read.header import LONGEST_TEXT, items, text
from dicom_io.read.image_header import ImageHeader
from dicom_io.read.warnings_off import suppressed_warnings

# Type 2 in the Patient and General Study modules (PS3.3 C.7.1.1, C.7.2.1).
_TYPE_2 = (
    "PatientName",
    "PatientID",
    "PatientBirthDate",
    "PatientSex",
    "StudyDate",
    "StudyTime",
    "AccessionNumber",
    "ReferringPhysicianName",
    "StudyID",
)

_COPIED_IF_PRESENT = (
    "IssuerOfPatientID",
    "PatientBirthTime",
    "PatientIdentityRemoved",
    "DeidentificationMethod",
    "StudyDescription",
)

# PS3.3 C.12.1.1.2: these character sets extend a first one and cannot stand alone.
_MULTI_BYTE_SETS = frozenset(
    {"ISO 2022 IR 87", "ISO 2022 IR 159", "ISO 2022 IR 149", "ISO 2022 IR 58"}
)
_OF_PATIENT = {
    "PatientID": "patient_id",
    "IssuerOfPatientID": "issuer",
    "PatientName": "name",
    "PatientBirthDate": "birth_date",
    "PatientSex": "sex",
}
_UTF_8 = "ISO_IR 192"
_ASCII_SETS = frozenset({"", "ISO_IR 6", "ISO 2022 IR 6"})
_OFFSET = re.compile(r"([+-])(\d{2})(\d{2})")


@dataclass(frozen=True, slots=True)
class Identity:
    """UIDs, numbers and time of a new object.

    `content_datetime` is aware. `timezone` is the zone of the site, used if the source names no
    zone; see `local_time`.
    """

    sop_instance_uid: str
    series_instance_uid: str
    series_number: int
    instance_number: int
    content_datetime: datetime
    timezone: tzinfo | None = None


@dataclass(frozen=True, slots=True)
class PatientIdentity:
    """The identity of a patient that differs from the one in the header of a film.

    An empty value is empty in the objects, too. `name` is a PN and `birth_date` YYYYMMDD. `key`
    names the identity: objects of another identity have other UIDs.
    """

    patient_id: str
    issuer: str
    name: str
    birth_date: str
    sex: str
    key: str


@dataclass(frozen=True, slots=True)
class Envelope:
    """The parts that every object made from one image has: source, algorithm and identity.

    `film` is the `uids.film_key` of the image.
    """

    source: ImageHeader
    algorithm: Algorithm
    identity: Identity
    film: str = ""


@dataclass(frozen=True, slots=True)
class ObjectType:
    """SOP class, modality and series description of one kind of object."""

    sop_class_uid: str
    modality: str
    series_description: str


def start_object(envelope: Envelope, kind: ObjectType) -> Dataset:
    """Return a dataset with patient, study, series, equipment and SOP Common filled.

    Raises ObjectError if the source has no StudyInstanceUID, because the archive would file the
    object as a new study, and if `content_datetime` has no time zone.
    """
    source, algorithm, identity = envelope.source, envelope.algorithm, envelope.identity
    ds = Dataset()
    character_set = _character_set(source.character_set)
    if character_set is not None:
        ds.SpecificCharacterSet = character_set
    # pydicom decodes the raw elements with this encoding when they are read from the object.
    ds.set_original_encoding(False, True, convert_encodings(character_set))
    for keyword in _TYPE_2:
        carry_over(source.dataset, ds, keyword)
    for keyword in _COPIED_IF_PRESENT:
        if keyword in source.dataset:
            carry_over(source.dataset, ds, keyword)
    ds.StudyInstanceUID = required_uid(source, "StudyInstanceUID")
    ds.Modality = kind.modality
    ds.SeriesInstanceUID = identity.series_instance_uid
    ds.SeriesNumber = identity.series_number
    ds.SeriesDescription = kind.series_description
    add_equipment(ds, algorithm)
    ds.SOPClassUID = kind.sop_class_uid
    ds.SOPInstanceUID = identity.sop_instance_uid
    ds.InstanceNumber = identity.instance_number
    _add_times(ds, local_time(source.timezone_offset, identity.content_datetime, identity.timezone))
    ds.InstanceCreatorUID = algorithm.device_uid
    ds.ContentQualification = "RESEARCH"
    return ds


def with_patient(source: ImageHeader, patient: PatientIdentity) -> ImageHeader:
    """Return the header with another identity of its patient; `source` stays as it is.

    Values that are equal keep their bytes. If the character set of the film has no letters for the
    new name, the texts of the header are converted to UTF-8 (ISO_IR 192).
    """
    changes = {
        keyword: value
        for keyword, field in _OF_PATIENT.items()
        if text(source.dataset, keyword) != (value := getattr(patient, field))
    }
    if not changes:
        return source
    ds = copy.deepcopy(source.dataset)
    character_set = source.character_set
    if not all(_has_letters(character_set, value) for value in changes.values()):
        _decode(ds)
        character_set = ds.SpecificCharacterSet = _UTF_8
    for keyword, value in changes.items():
        # A backslash would begin a second value.
        plain = value.replace("\\", " ")
        ds[keyword] = DataElement(Tag(keyword), dictionary_VR(keyword), plain)
    if "PatientBirthDate" in changes and "PatientBirthTime" in ds:
        del ds.PatientBirthTime
    return replace(source, dataset=ds, character_set=character_set)


def _has_letters(character_set: str, value: str) -> bool:
    """Return True if a text can be written in a character set."""
    if value.isascii():
        return True
    first = character_set.split("\\")[0].strip()
    if first in _ASCII_SETS and any("\x80" <= char <= "\xff" for char in value):
        # pydicom takes them for Latin-1.
        return False
    try:
        encodings = convert_encodings(_character_set(character_set))
        with suppressed_warnings():
            return decode_bytes(encode_string(value, encodings), encodings, set()) == value
    except PARSER_ERRORS:
        return False


def _decode(ds: Dataset) -> None:
    """Decode all elements; remove those that cannot be decoded."""
    with suppressed_warnings():
        for tag in list(ds.keys()):
            try:
                element = ds[tag]
            except PARSER_ERRORS:
                del ds[tag]
                continue
            if element.VR == "SQ":
                for item in element.value:
                    _decode(item)


def body_part_chest(ds: Dataset) -> None:
    """Set the body part, which is unpaired; without it Laterality is required (PS3.3 C.7.3.1)."""
    ds.BodyPartExamined = "CHEST"


def reference_item(sop_class_uid: str, sop_instance_uid: str) -> Dataset:
    """Return an item that names one instance (SOP Instance Reference macro, PS3.3 10.8)."""
    item = Dataset()
    item.ReferencedSOPClassUID = sop_class_uid
    item.ReferencedSOPInstanceUID = sop_instance_uid
    return item


def source_reference(source: ImageHeader) -> Dataset:
    """Return an item that names the source image; ObjectError if a UID is missing."""
    return reference_item(
        required_uid(source, "SOPClassUID"), required_uid(source, "SOPInstanceUID")
    )


def required_uid(source: ImageHeader, keyword: str) -> UID:
    """Return a UID of the source. Raises ObjectError if it is missing or empty."""
    value = source.uids[keyword]
    if not value:
        raise ObjectError(f"the source image has no {keyword}: no object can refer to it")
    return UID(value)


def local_time(offset_from_utc: str, moment: datetime, zone: tzinfo | None) -> datetime:
    """Return the moment in the time zone of the source's dates and times.

    TimezoneOffsetFromUTC (PS3.3 C.12.1) governs every date and time of an object, including the
    copied study date. The zone is the offset of the source if it has one, else `zone`, the zone
    of the site, else the zone of `moment`.
    """
    if moment.tzinfo is None:
        raise ObjectError("content_datetime has no time zone; pass an aware datetime")
    match = _OFFSET.fullmatch(offset_from_utc)
    if match is not None:
        offset = timedelta(hours=int(match[2]), minutes=int(match[3]))
        if offset <= timedelta(hours=14):
            return moment.astimezone(timezone(-offset if match[1] == "-" else offset))
    return moment.astimezone(zone) if zone is not None else moment


def carry_over(source: Dataset, target: Dataset, keyword: str) -> None:
    """Copy an element of the source into a new object as raw bytes; empty if it is missing.

    An element that pydicom has not decoded yet stays undecoded, so that no character set and no
    overlong value can change it. A value longer than any text becomes empty. Use this only at the
    top level of an object from `start_object`, which knows the character set of the bytes; inside
    a sequence use `copy_decoded`.
    """
    tag = Tag(keyword)
    element = source.get_item(tag, keep_deferred=True)
    if not isinstance(element, RawDataElement):
        copy_decoded(source, target, keyword)
        return
    value = element.value or b""
    if len(value) > LONGEST_TEXT:
        value = b""
    padded = value + b" " * (len(value) % 2)
    target[tag] = element._replace(
        VR=dictionary_VR(tag),
        value=padded,
        length=len(padded),
        is_implicit_VR=False,
        is_little_endian=True,
    )


def copy_decoded(source: Dataset, target: Dataset, keyword: str) -> None:
    """Copy an element; add it empty if it is missing, malformed or not of its dictionary VR."""
    tag = Tag(keyword)
    vr = dictionary_VR(tag)
    if tag in source:
        with contextlib.suppress(*PARSER_ERRORS):
            element = source[tag]
            if vr == element.VR:
                copied = copy.deepcopy(element)
                for item in copied.value if vr == "SQ" else ():
                    _drop_mistyped(item)
                target[tag] = copied
                return
    target.add(DataElement(tag, vr, [] if vr == "SQ" else None))


def request_items(source: Dataset) -> list[Dataset]:
    """Return copies of the RequestAttributesSequence items without elements of a wrong VR."""
    copied = [copy.deepcopy(item) for item in items(source, "RequestAttributesSequence")]
    for item in copied:
        _drop_mistyped(item)
    return copied


def _drop_mistyped(item: Dataset) -> None:
    """Remove elements whose VR differs from the dictionary, and private ones, recursively."""
    for tag in list(item.keys()):
        known = dictionary_VR(tag).split(" or ") if dictionary_has_tag(tag) else []
        if not known or _declared_vr(item, tag) not in known:
            del item[tag]
        elif "SQ" in known:
            for inner in item[tag].value:
                _drop_mistyped(inner)


def _declared_vr(item: Dataset, tag: BaseTag) -> str | None:
    """Return the VR of an element in the file, or by the dictionary if the file has none."""
    declared = item.get_item(tag).VR
    if declared is not None:
        return str(declared)
    with contextlib.suppress(*PARSER_ERRORS):
        return item[tag].VR
    return None


def _add_times(ds: Dataset, created: datetime) -> None:
    ds.InstanceCreationDate = ds.ContentDate = f"{created:%Y%m%d}"
    ds.InstanceCreationTime = ds.ContentTime = f"{created:%H%M%S}"
    ds.TimezoneOffsetFromUTC = f"{created:%z}"[:5]


def _character_set(value: str) -> str | list[str] | None:
    if not value:
        return None
    terms = value.split("\\")
    if len(terms) == 1 and terms[0] in _MULTI_BYTE_SETS:
        # Archives send such a set alone. An empty first value keeps the bytes and is legal.
        terms.insert(0, "")
    return terms if len(terms) > 1 else terms[0]
