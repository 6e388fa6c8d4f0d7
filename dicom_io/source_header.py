"""What a new object takes over from the image it was made from.

Patient and study must stay recognisable to the PACS, so their elements are carried over as the
bytes they were, together with the SpecificCharacterSet that explains those bytes. Archives send
films that lack type 2 attributes; these are added empty to the new object. The source itself is
never changed.
"""

import copy
import re
from dataclasses import dataclass
from datetime import datetime, timedelta, timezone, tzinfo

from pydicom.charset import convert_encodings
from pydicom.datadict import dictionary_VR, tag_for_keyword
from pydicom.dataelem import DataElement, RawDataElement
from pydicom.dataset import Dataset
from pydicom.multival import MultiValue
from pydicom.uid import UID

from dicom_io.algorithm import Algorithm, add_equipment
from dicom_io.errors import ObjectError
from dicom_io.uids import device_uid

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
_OFFSET = re.compile(r"([+-])(\d{2})(\d{2})")


@dataclass(frozen=True, slots=True)
class Envelope:
    """What identifies a new object and its series. `created` carries its time zone."""

    sop_class_uid: str
    sop_instance_uid: str
    series_instance_uid: str
    series_number: int
    instance_number: int
    modality: str
    series_description: str
    created: datetime


def start_object(source: Dataset, envelope: Envelope, algorithm: Algorithm) -> Dataset:
    """Dataset with patient, study, series, equipment and SOP Common filled.

    Raises ObjectError where the source has no StudyInstanceUID: such an object would open a study
    of its own in the archive.
    """
    ds = Dataset()
    character_set = _character_set(source)
    if character_set is not None:
        ds.SpecificCharacterSet = character_set
    # Elements carried over raw are decoded with this when somebody reads them from the object.
    ds.set_original_encoding(False, True, convert_encodings(character_set))
    for keyword in _ALWAYS:
        _carry_over(source, ds, keyword)
    for keyword in _WHERE_PRESENT:
        if keyword in source:
            _carry_over(source, ds, keyword)
    ds.StudyInstanceUID = required_uid(source, "StudyInstanceUID")
    _add_series(ds, envelope)
    add_equipment(ds, algorithm)
    _add_sop_common(ds, envelope, algorithm)
    return ds


def required_uid(source: Dataset, keyword: str) -> UID:
    """Value of a UID that the source must have; ObjectError where it is missing or empty."""
    value = str(source.get(keyword) or "").strip("\0 ")
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
    match = _OFFSET.fullmatch(str(source.get("TimezoneOffsetFromUTC") or "").strip())
    if match is not None:
        offset = timedelta(hours=int(match[2]), minutes=int(match[3]))
        if offset <= timedelta(hours=14):
            return moment.astimezone(timezone(-offset if match[1] == "-" else offset))
    return moment.astimezone(zone) if zone is not None else moment


def request_items(source: Dataset) -> list[Dataset]:
    """Copies of the source's RequestAttributesSequence items."""
    return [copy.deepcopy(item) for item in source.get("RequestAttributesSequence") or []]


def _add_series(ds: Dataset, envelope: Envelope) -> None:
    ds.Modality = envelope.modality
    ds.SeriesInstanceUID = envelope.series_instance_uid
    ds.SeriesNumber = envelope.series_number
    ds.SeriesDescription = envelope.series_description


def _add_sop_common(ds: Dataset, envelope: Envelope, algorithm: Algorithm) -> None:
    ds.SOPClassUID = envelope.sop_class_uid
    ds.SOPInstanceUID = envelope.sop_instance_uid
    ds.InstanceNumber = envelope.instance_number
    ds.InstanceCreationDate = ds.ContentDate = f"{envelope.created:%Y%m%d}"
    ds.InstanceCreationTime = ds.ContentTime = f"{envelope.created:%H%M%S}"
    ds.InstanceCreatorUID = device_uid(algorithm.sha256)
    ds.TimezoneOffsetFromUTC = f"{envelope.created:%z}"[:5]
    ds.ContentQualification = "RESEARCH"


def _character_set(source: Dataset) -> str | list[str] | None:
    value = source.get("SpecificCharacterSet")
    if not value:
        return None
    terms = [str(term) for term in value] if isinstance(value, MultiValue) else [str(value)]
    if len(terms) == 1 and terms[0] in _NEVER_ALONE:
        # PS3.3 C.12.1.1.2: a multi-byte set extends the default one and cannot stand alone,
        # yet archives send it so. An empty first value keeps the bytes and makes it legal.
        terms.insert(0, "")
    return terms if len(terms) > 1 else terms[0]


_NEVER_ALONE = frozenset({"ISO 2022 IR 87", "ISO 2022 IR 159", "ISO 2022 IR 149", "ISO 2022 IR 58"})


def _carry_over(source: Dataset, target: Dataset, keyword: str) -> None:
    tag = tag_for_keyword(keyword)
    if tag is None:
        raise ObjectError(f"{keyword} is not a DICOM keyword")
    vr = dictionary_VR(tag)
    element = source.get_item(tag) if tag in source else None
    if element is None:
        target.add(DataElement(tag, vr, None))
    elif isinstance(element, RawDataElement):
        value = element.value or b""
        padded = value + b" " * (len(value) % 2)
        target[element.tag] = element._replace(
            VR=vr,
            value=padded,
            length=len(padded),
            is_implicit_VR=False,
            is_little_endian=True,
        )
    else:
        target[element.tag] = copy.deepcopy(element)
