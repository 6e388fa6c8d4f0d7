"""The attributes of DICOMweb answers and queries, and their DICOM JSON form (PS3.18 Annex F).

This module does not load pydicom, without which the web role is sooner ready.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

DicomJson = dict[str, Any]
"""A data set as a DICOM JSON object."""

_NAME_GROUPS = ("Alphabetic", "Ideographic", "Phonetic")
_NUMBERS = frozenset({"IS", "US"})


@dataclass(frozen=True, slots=True)
class Attribute:
    """The tag (eight hexadecimal digits), VR and keyword of an attribute (PS3.6)."""

    tag: str
    vr: str
    keyword: str


_ATTRIBUTES = (
    Attribute("00080005", "CS", "SpecificCharacterSet"),
    Attribute("00080016", "UI", "SOPClassUID"),
    Attribute("00080018", "UI", "SOPInstanceUID"),
    Attribute("00080020", "DA", "StudyDate"),
    Attribute("00080030", "TM", "StudyTime"),
    Attribute("00080050", "SH", "AccessionNumber"),
    Attribute("00080056", "CS", "InstanceAvailability"),
    Attribute("00080060", "CS", "Modality"),
    Attribute("00080061", "CS", "ModalitiesInStudy"),
    Attribute("00080090", "PN", "ReferringPhysicianName"),
    Attribute("00081030", "LO", "StudyDescription"),
    Attribute("0008103E", "LO", "SeriesDescription"),
    Attribute("00081150", "UI", "ReferencedSOPClassUID"),
    Attribute("00081155", "UI", "ReferencedSOPInstanceUID"),
    Attribute("00081190", "UR", "RetrieveURL"),
    Attribute("00081197", "US", "FailureReason"),
    Attribute("00081198", "SQ", "FailedSOPSequence"),
    Attribute("00081199", "SQ", "ReferencedSOPSequence"),
    Attribute("0008119A", "SQ", "OtherFailuresSequence"),
    Attribute("00100010", "PN", "PatientName"),
    Attribute("00100020", "LO", "PatientID"),
    Attribute("00100030", "DA", "PatientBirthDate"),
    Attribute("00100040", "CS", "PatientSex"),
    Attribute("0020000D", "UI", "StudyInstanceUID"),
    Attribute("0020000E", "UI", "SeriesInstanceUID"),
    Attribute("00200010", "SH", "StudyID"),
    Attribute("00200011", "IS", "SeriesNumber"),
    Attribute("00200013", "IS", "InstanceNumber"),
    Attribute("00201206", "IS", "NumberOfStudyRelatedSeries"),
    Attribute("00201208", "IS", "NumberOfStudyRelatedInstances"),
    Attribute("00201209", "IS", "NumberOfSeriesRelatedInstances"),
    Attribute("00280008", "IS", "NumberOfFrames"),
    Attribute("00280010", "US", "Rows"),
    Attribute("00280011", "US", "Columns"),
    Attribute("00280100", "US", "BitsAllocated"),
    Attribute("00400244", "DA", "PerformedProcedureStepStartDate"),
    Attribute("00400245", "TM", "PerformedProcedureStepStartTime"),
    Attribute("00400275", "SQ", "RequestAttributesSequence"),
)
BY_KEYWORD: Mapping[str, Attribute] = MappingProxyType({one.keyword: one for one in _ATTRIBUTES})
BY_TAG: Mapping[str, Attribute] = MappingProxyType({one.tag: one for one in _ATTRIBUTES})


def dicom_json(values: Mapping[str, object]) -> DicomJson:
    """Return a data set from values by keyword, in the order of the tags.

    A value is a text, a number, a sequence of texts, or a sequence of data sets (SQ). An empty
    value makes an attribute without one.
    """
    found = {}
    for keyword, value in values.items():
        attribute = BY_KEYWORD[keyword]
        listed = list(value) if isinstance(value, Sequence) and not isinstance(value, str) else None
        if listed is None:
            listed = [] if value in ("", None) else [value]
        element: DicomJson = {"vr": attribute.vr}
        if listed:
            element["Value"] = [_value(attribute, one) for one in listed]
        found[attribute.tag] = element
    return dict(sorted(found.items()))


def _value(attribute: Attribute, value: object) -> object:
    if attribute.vr == "PN":
        return person_name(str(value))
    if attribute.vr in _NUMBERS:
        return int(str(value))
    return value


def person_name(text: str) -> dict[str, str]:
    """Return a PN as DICOM JSON has it (PS3.18 F.2.2): its component groups by their names."""
    groups = text.split("=")[: len(_NAME_GROUPS)]
    return {
        name: group.rstrip("^")
        for name, group in zip(_NAME_GROUPS, groups, strict=False)
        if group.rstrip("^")
    }
