"""Body part, view and patient age by an image's header, in the words that equipment writes."""

import datetime
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import Enum

from pydicom import Dataset

from dicom_io.read.header import items, text
from dicom_io.read.image_header import ImageHeader

_WORD = re.compile(r"[^\W\d_]+")

_CHEST_STEMS = ("CHEST", "THORA", "TORAX", "TÓRAX", "TORAC", "LUNG", "PULM", "POUMON", "HEART")
_CHEST_CHARACTER = "胸"

# Words that turn "thoracic …" into the spine.
_SPINE_STEMS = ("SPINE", "SPINAL", "VERTEB", "THORACOLUMB", "THORACICSPINE", "WIRBEL")
_SAYS_NOTHING = frozenset(
    {"ANY", "DEFAULT", "NA", "NONE", "OTHER", "UNDEFINED", "UNKNOWN", "UNSPECIFIED"}
)

# SNOMED codes of thorax and lung (PS3.16 CID 4031): old style, then numeric.
_CHEST_CODES = frozenset({"T-D3000", "T-28000", "51185008", "43799004", "816094009", "39607008"})
_OTHER_PART = re.compile(
    r"ABDOM\w*|ANKLE|ARM|CALCANEUS|CERVICAL|CLAVICLE|COCCYX|ELBOW|EXTREMITY|FACIAL|FEMUR|FIBULA|"
    r"FINGER|FOOT|FOREARM|HAND|HEEL|HIP|HUMERUS|KNEE|KUB|LEG|LUMBAR|MANDIBLE|NECK|PATELLA|PELVIS|"
    r"RADIUS|SACRUM|SCAPULA|SHOULDER|SINUS(ES)?|SKULL|SPINE|TIBIA|TOE|ULNA|WRIST"
)
_DESCRIPTIONS = ("StudyDescription", "SeriesDescription", "ProtocolName")

_WORDS = (*_DESCRIPTIONS, "AcquisitionDeviceProcessingDescription")

_LATERAL_WORDS = frozenset({"LL", "RL", "LAT", "LLAT", "RLAT"})
_FRONTAL_WORDS = frozenset({"PA", "AP", "FRONTAL", "ANTERO", "POSTERO", "ANTEROPOSTERIOR"})
_OBLIQUE_WORDS = frozenset({"RAO", "LAO", "RPO", "LPO", "LLO", "RLO", "OBL"})
_DECUBITUS_WORDS = frozenset({"LLD", "RLD"})


class Part(Enum):
    """Body part by the header."""

    CHEST = "chest"
    OTHER = "another part"
    UNKNOWN = "not said"


class View(Enum):
    """Direction of the beam by the header."""

    FRONTAL = "frontal"
    LATERAL = "lateral"
    OBLIQUE = "oblique"
    DECUBITUS = "decubitus"
    UNKNOWN = "not said"


@dataclass(frozen=True, slots=True)
class Anatomy:
    """Body part and view, each with its source in words, and the patient's age in years.

    `part_source` and `view_source` are empty if the header does not name part or view. `body_part`
    is BodyPartExamined as it is written.
    """

    part: Part
    part_source: str
    view: View
    view_source: str
    body_part: str
    age: float | None


def anatomy_of(header: ImageHeader) -> Anatomy:
    """Read body part, view and age from an image's header."""
    ds = header.dataset
    words = {keyword: text(ds, keyword) for keyword in _WORDS}
    body_part = text(ds, "BodyPartExamined")
    return Anatomy(
        *_part(body_part, words, items(ds, "AnatomicRegionSequence")),
        *_view(header, words, items(ds, "ViewCodeSequence")),
        body_part,
        age_in_years(ds),
    )


def _part(named: str, words: Mapping[str, str], regions: Sequence[Dataset]) -> tuple[Part, str]:
    """Return the body part and its source.

    Coded attributes go before descriptions, because "CHEST PAIN, HIP FRACTURE" may stand in the
    description of either part.
    """
    part = _part_of(named)
    if part is not Part.UNKNOWN:
        return part, f"BodyPartExamined is {named[:32]!r}"
    for region in regions:
        meaning = text(region, "CodeMeaning")
        if text(region, "CodeValue") in _CHEST_CODES or _part_of(meaning) is Part.CHEST:
            return Part.CHEST, "AnatomicRegionSequence says chest"
        if _part_of(meaning) is Part.OTHER:
            return Part.OTHER, f"AnatomicRegionSequence is {meaning[:32]!r}"
    described = _words(" ".join(words[keyword] for keyword in _DESCRIPTIONS))
    other = sorted(word for word in described if _OTHER_PART.fullmatch(word))
    if other and not any(_names_chest(word) for word in described):
        return Part.OTHER, f"the descriptions name {other[0]} and no chest"
    return Part.UNKNOWN, ""


def _view(
    header: ImageHeader, words: Mapping[str, str], codes: Sequence[Dataset]
) -> tuple[View, str]:
    """Return the view and its source; the first attribute that names a view decides.

    StudyDescription does not count: a study "PA and lateral" has one film of each.
    """
    found = _view_of(header.view_position)
    if found is not View.UNKNOWN:
        return found, f"ViewPosition is {header.view_position[:32]!r}"
    for code in codes:
        meaning = text(code, "CodeMeaning")
        found = _view_of(meaning)
        if found is not View.UNKNOWN:
            return found, f"ViewCodeSequence is {meaning[:32]!r}"
    if runs_front_to_back(header):
        return View.LATERAL, "PatientOrientation runs from front to back"
    for keyword in ("SeriesDescription", "ProtocolName", "AcquisitionDeviceProcessingDescription"):
        found = _view_of(words[keyword])
        if found is not View.UNKNOWN:
            return found, f"{keyword} says {found.value}"
    return View.UNKNOWN, ""


def runs_front_to_back(header: ImageHeader) -> bool:
    """Return True if rows or columns run so, as on a lateral film (PS3.3 C.7.6.1.1.1)."""
    return any(direction[:1] in {"A", "P"} for direction in header.orientation.split("\\"))


def _words(value: str) -> frozenset[str]:
    return frozenset(_WORD.findall(value.upper()))


def _names_chest(word: str) -> bool:
    return word.startswith(_CHEST_STEMS) or _CHEST_CHARACTER in word


def _part_of(value: str) -> Part:
    words = _words(value)
    if not words or words <= _SAYS_NOTHING:
        return Part.UNKNOWN
    spine = any(word.startswith(_SPINE_STEMS) for word in words)
    chest = any(_names_chest(word) for word in words)
    return Part.CHEST if chest and not spine else Part.OTHER


def _view_of(value: str) -> View:
    words = _words(value)
    frontal = bool(words & _FRONTAL_WORDS)
    if words & _DECUBITUS_WORDS or any(word.startswith("DECUB") for word in words):
        return View.DECUBITUS
    if words & _OBLIQUE_WORDS or any(word.startswith("OBLIQ") for word in words):
        return View.OBLIQUE
    lateral = words & _LATERAL_WORDS or any(word.startswith("LATERAL") for word in words)
    if lateral:
        # A text that names both views does not tell the view of this film.
        return View.UNKNOWN if frontal else View.LATERAL
    return View.FRONTAL if frontal else View.UNKNOWN


# Age String (PS3.5 6.2); archives that omit the unit mean years.
_AGE = re.compile(r"(\d{1,3})([DWMY]?)")
_PER_YEAR = {"D": 365.25, "W": 365.25 / 7, "M": 12.0, "Y": 1.0, "": 1.0}
_FILM_DATES = ("AcquisitionDate", "ContentDate", "SeriesDate", "StudyDate")
_OLDEST = 130


def age_in_years(ds: Dataset) -> float | None:
    """Return PatientAge, else the years from PatientBirthDate to the film; None if both fail."""
    match = _AGE.fullmatch(text(ds, "PatientAge").upper())
    if match is not None:
        return int(match[1]) / _PER_YEAR[match[2]]
    born = _date(text(ds, "PatientBirthDate"))
    taken = next(filter(None, (_date(text(ds, keyword)) for keyword in _FILM_DATES)), None)
    if born is None or taken is None:
        return None
    years = (taken - born).days / 365.25
    return years if 0 <= years <= _OLDEST else None


def _date(value: str) -> datetime.date | None:
    try:
        return datetime.datetime.strptime(value, "%Y%m%d").date()  # noqa: DTZ007 - a date only
    except ValueError:
        return None
