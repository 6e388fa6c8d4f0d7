"""What a new object takes over from the image it was made from.

Patient and study must stay recognisable to the PACS, so their elements are carried over as the
bytes they were, together with the SpecificCharacterSet that explains those bytes. Archives send
films that lack type 2 attributes; these are added empty to the new object. The source itself is
never changed.
"""

import contextlib
import copy
import re
from dataclasses import dataclass
from datetime import datetime, timedelta, timezone, tzinfo

from pydicom.charset import convert_encodings
from pydicom.datadict import dictionary_has_tag, dictionary_VR
from pydicom.dataelem import DataElement, RawDataElement
from pydicom.dataset import Dataset
from pydicom.tag import BaseTag, Tag
from pydicom.uid import UID

from dicom_io.errors import ObjectError
from dicom_io.objects.algorithm import Algorithm, add_equipment
from dicom_io.objects.uids import device_uid
from dicom_io.read.bounded_parser import PARSER_ERRORS
from dicom_io.read.header import LONGEST_TEXT, items, text

# Type 2 in the Patient and General Study modules (PS3.3 C.7.1.1, C.7.2.1).
_ALWAYS = (
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

_WHERE_PRESENT = (
    "IssuerOfPatientID",
    "PatientBirthTime",
    "PatientIdentityRemoved",
    "DeidentificationMethod",
    "StudyDescription",
)


_NEVER_ALONE = frozenset({"ISO 2022 IR 87", "ISO 2022 IR 159", "ISO 2022 IR 149", "ISO 2022 IR 58"})

_OFFSET = re.compile(r"([+-])(\d{2})(\d{2})")


@dataclass(frozen=True, slots=True)
class Identity:
    """What tells a new object from every other.

    `content_datetime` is aware. `timezone` is the site's own zone, used where the source names
    none; see `local_time`.
    """

    sop_instance_uid: str
    series_instance_uid: str
    series_number: int
    instance_number: int
    content_datetime: datetime
    timezone: tzinfo | None = None


@dataclass(frozen=True, slots=True)
class ObjectType:
    """What the objects of one kind have in common."""

    sop_class_uid: str
    modality: str
    series_description: str


def start_object(
    source: Dataset, kind: ObjectType, identity: Identity, algorithm: Algorithm
) -> Dataset:
    """Dataset with patient, study, series, equipment and SOP Common filled.

    Raises ObjectError where the source has no StudyInstanceUID: such an object would open a study
    of its own in the archive; and where `content_datetime` has no time zone.
    """
    ds = Dataset()
    character_set = _character_set(source)
    if character_set is not None:
        ds.SpecificCharacterSet = character_set
    # Elements carried over raw are decoded with this when somebody reads them from the object.
    ds.set_original_encoding(False, True, convert_encodings(character_set))
    for keyword in _ALWAYS:
        carry_over(source, ds, keyword)
    for keyword in _WHERE_PRESENT:
        if keyword in source:
            carry_over(source, ds, keyword)
    ds.StudyInstanceUID = required_uid(source, "StudyInstanceUID")
    ds.Modality = kind.modality
    ds.SeriesInstanceUID = identity.series_instance_uid
    ds.SeriesNumber = identity.series_number
    ds.SeriesDescription = kind.series_description
    add_equipment(ds, algorithm)
    ds.SOPClassUID = kind.sop_class_uid
    ds.SOPInstanceUID = identity.sop_instance_uid
    ds.InstanceNumber = identity.instance_number
    _add_times(ds, local_time(source, identity.content_datetime, identity.timezone))
    ds.InstanceCreatorUID = device_uid(algorithm.sha256)
    ds.ContentQualification = "RESEARCH"
    return ds


def required_uid(source: Dataset, keyword: str) -> UID:
    """Value of a UID that the source must have; ObjectError where it is missing or empty."""
    value = text(source, keyword)
    if not value:
        raise ObjectError(f"the source image has no {keyword}: no object can refer to it")
    return UID(value)


def local_time(source: Dataset, moment: datetime, zone: tzinfo | None) -> datetime:
    """The moment in the time zone of the source's own dates and times.

    TimezoneOffsetFromUTC (PS3.3 C.12.1) governs every date and time of an object, so the study
    date taken over fixes the zone: the source's offset where it names one, else the site's
    `zone`, else the zone the moment came in.
    """
    if moment.tzinfo is None:
        raise ObjectError("content_datetime has no time zone; pass an aware datetime")
    match = _OFFSET.fullmatch(text(source, "TimezoneOffsetFromUTC"))
    if match is not None:
        offset = timedelta(hours=int(match[2]), minutes=int(match[3]))
        if offset <= timedelta(hours=14):
            return moment.astimezone(timezone(-offset if match[1] == "-" else offset))
    return moment.astimezone(zone) if zone is not None else moment


def carry_over(source: Dataset, target: Dataset, keyword: str) -> None:
    """Put an element of the source into a new object as it is, or empty where it is missing.

    What was read from a file and not decoded yet stays undecoded: neither an odd character set nor
    a value too long for its VR can then change it; one too long for any text is left empty. Only
    for the top level of an object that `start_object` made, which knows the character set of those
    bytes; inside a sequence use `copy_decoded`.
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
    """Copy an element, or add it empty where the source lacks it, it cannot be understood, or it
    has another VR than its own."""
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
    """Copies of the source's RequestAttributesSequence items, less what no writer could write."""
    copied = [copy.deepcopy(item) for item in items(source, "RequestAttributesSequence")]
    for item in copied:
        _drop_mistyped(item)
    return copied


def _drop_mistyped(item: Dataset) -> None:
    """Remove what has another VR than its own, at any depth, or no value of it; private elements,
    too."""
    for tag in list(item.keys()):
        known = dictionary_VR(tag).split(" or ") if dictionary_has_tag(tag) else []
        if not known or _declared_vr(item, tag) not in known:
            del item[tag]
        elif "SQ" in known:
            for inner in item[tag].value:
                _drop_mistyped(inner)


def _declared_vr(item: Dataset, tag: BaseTag) -> str | None:
    """The VR an element has in the file, or by the dictionary where the file has none."""
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


def _character_set(source: Dataset) -> str | list[str] | None:
    value = text(source, "SpecificCharacterSet")
    if not value:
        return None
    terms = value.split("\\")
    if len(terms) == 1 and terms[0] in _NEVER_ALONE:
        # PS3.3 C.12.1.1.2: a multi-byte set extends the default one and cannot stand alone,
        # yet archives send it so. An empty first value keeps the bytes and makes it legal.
        terms.insert(0, "")
    return terms if len(terms) > 1 else terms[0]
