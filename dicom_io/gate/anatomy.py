"""Body part, view and patient age by an image's header, in the words that equipment writes."""

import datetime
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from enum import Enum
from typing import Generic, TypeVar

from pydicom import Dataset

from dicom_io.gate import part_words, view_words
from dicom_io.gate.vocabulary import Vocabulary, tokens
from dicom_io.read.header import items, text
from dicom_io.read.image_header import ImageHeader

FILM_TEXTS = (
    "SeriesDescription",
    "ProtocolName",
    "AcquisitionProtocolDescription",
    "PerformedProcedureStepDescription",
    "AcquisitionDeviceProcessingDescription",
    "PostprocessingFunction",
)
"""Texts that describe a film or its series; the first that names a view or part decides."""

STUDY_TEXTS = ("StudyDescription", "RequestedProcedureDescription")
"""Texts that describe a study. They may name all its parts and views, so a view does not count."""
_STUDY_CODES = ("ProcedureCodeSequence", "RequestedProcedureCodeSequence")

# SNOMED codes of thorax and lung (PS3.16 CID 4031): old style, then numeric.
_CHEST_CODES = frozenset({"T-D3000", "T-28000", "51185008", "43799004", "816094009", "39607008"})


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


_Named = TypeVar("_Named", Part, View)


class _Word(Enum):
    """Meanings of words about parts and views."""

    CHEST = "chest"
    THORACIC = "of the chest, or of the spine if the text names it"
    SPINE = "spine"
    OTHER = "another part"
    NEITHER = "no part or view"
    FRONTAL = "frontal"
    LATERAL = "lateral"
    OBLIQUE = "oblique"
    DECUBITUS = "decubitus"


_PARTS: Mapping[_Word, tuple[Mapping[str, str], ...]] = {
    _Word.NEITHER: (part_words.NO_PART,),
    _Word.CHEST: (part_words.CHEST,),
    _Word.THORACIC: (part_words.THORACIC,),
    _Word.SPINE: (part_words.SPINE,),
    _Word.OTHER: (part_words.OTHER_PART,),
}
_PART_WORDS = Vocabulary(_PARTS)
_PART_CODES = Vocabulary(
    {**_PARTS, _Word.OTHER: (part_words.OTHER_PART, part_words.OTHER_PART_AS_CODE)}
)
_VIEW_WORDS = Vocabulary(
    {
        _Word.NEITHER: (view_words.NO_VIEW,),
        _Word.LATERAL: (view_words.LATERAL,),
        _Word.FRONTAL: (view_words.FRONTAL,),
        _Word.OBLIQUE: (view_words.OBLIQUE,),
        _Word.DECUBITUS: (view_words.DECUBITUS,),
    }
)
_VIEWS_OF_WORDS = {
    _Word.OBLIQUE: View.OBLIQUE,
    _Word.LATERAL: View.LATERAL,
    _Word.FRONTAL: View.FRONTAL,
}
# Whole values of ViewPosition.
_VIEW_VALUES = {
    "".join(tokens(entry)): view
    for table, view in (
        (view_words.LATERAL_AS_CODE, View.LATERAL),
        (view_words.FRONTAL_AS_CODE, View.FRONTAL),
    )
    for entry in ",".join(table.values()).split(",")
}

# SNOMED codes of views (PS3.16 CID 4010): old style, then numeric.
_VIEW_CODES = {
    code: view
    for view, codes in (
        (View.LATERAL, "R-102CD 399067008 R-10236 399173006 R-10232 399198007 R-10224 399260004"),
        (View.LATERAL, "R-10228 399352003 272460003 260421001 260422008"),
        (View.FRONTAL, "R-10206 399348003 R-10214 R-40888 272479007 R-10202 399033003"),
        (View.OBLIQUE, "R-10208 399312000 R-10210 399038007 R-10212 399006002 R-10216 399059000"),
        (View.OBLIQUE, "R-40985 399356000 R-10220 399135007 R-102C1 399182000 R-10234 399236003"),
        (View.OBLIQUE, "R-10238 399184004 R-40783 260427002 R-40782 260426006 R-10204 399160007"),
        (View.OBLIQUE, "R-10230 399099002 R-10226 399368009"),
    )
    for code in codes.split()
}


@dataclass(frozen=True, slots=True)
class Anatomy:
    """Body part and view, each with its source in words, and the patient's age in years.

    `part_source` and `view_source` are empty if the header does not name part or view.
    `part_is_coded` is True if an attribute that exists for the body part names it. `notes` say
    what the header leaves open or contradicts.
    """

    part: Part
    part_source: str
    part_is_coded: bool
    view: View
    view_source: str
    age: float | None
    notes: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class _Said(Generic[_Named]):
    """Part or view by one attribute; `named` is None if it names several views."""

    named: _Named | None
    source: str


def anatomy_of(header: ImageHeader) -> Anatomy:
    """Read body part, view and age from an image's header."""
    ds = header.dataset
    coded, described, views = list(_coded(ds)), list(_described(ds)), list(_views(header))
    parts = [*coded, *described] or list(_of_study(ds))
    part = next(iter(parts), _Said(Part.UNKNOWN, ""))
    view = next((said for said in views if said.named), _Said(View.UNKNOWN, ""))
    return Anatomy(
        part.named or Part.UNKNOWN,
        part.source,
        part in coded,
        view.named or View.UNKNOWN,
        view.source,
        age_in_years(ds),
        (*_part_notes(ds, parts), *_view_notes(header, view, views)),
    )


def _coded(ds: Dataset) -> Iterator[_Said[Part]]:
    """Yield the parts that BodyPartExamined and AnatomicRegionSequence name."""
    found = _part_of(_PART_CODES, text(ds, "BodyPartExamined"))
    if found is not None:
        yield _said(found, "BodyPartExamined")
    for region in items(ds, "AnatomicRegionSequence"):
        if text(region, "CodeValue") in _CHEST_CODES:
            yield _Said(Part.CHEST, "AnatomicRegionSequence says chest")
        elif found := _part_of(_PART_CODES, text(region, "CodeMeaning")):
            yield _said(found, "AnatomicRegionSequence")


def _described(ds: Dataset) -> Iterator[_Said[Part]]:
    for keyword in FILM_TEXTS:
        found = _part_of(_PART_WORDS, text(ds, keyword))
        if found is not None:
            yield _said(found, keyword)


def _of_study(ds: Dataset) -> Iterator[_Said[Part]]:
    """Yield another part that a study's texts name, if none of them names the chest.

    A study has films of several parts, so its texts never say that this film shows the chest.
    """
    found = [
        (part, keyword)
        for keyword, value in _study_texts(ds)
        if (part := _part_of(_PART_WORDS, value)) is not None
    ]
    if all(part is Part.OTHER for (part, _word), _keyword in found):
        yield from (_said(part, keyword) for part, keyword in found)


def _study_texts(ds: Dataset) -> Iterator[tuple[str, str]]:
    for keyword in STUDY_TEXTS:
        yield keyword, text(ds, keyword)
    for keyword in _STUDY_CODES:
        for code in items(ds, keyword):
            yield keyword, text(code, "CodeMeaning")


def _said(found: tuple[_Named, str], keyword: str) -> _Said[_Named]:
    named, word = found
    return _Said(named, f"{keyword} says {word[:32]!r}")


def _part_of(vocabulary: Vocabulary[_Word], value: str) -> tuple[Part, str] | None:
    """Return the part that a text names, with its word: the chest if it is among several."""
    found = {each.meaning: each.word for each in reversed(vocabulary.find(value))}
    if _Word.CHEST in found:
        return Part.CHEST, found[_Word.CHEST]
    if _Word.THORACIC in found and _Word.SPINE not in found:
        return Part.CHEST, found[_Word.THORACIC]
    other = found.get(_Word.SPINE) or found.get(_Word.OTHER)
    return (Part.OTHER, other) if other else None


def _views(header: ImageHeader) -> Iterator[_Said[View]]:
    """Yield the views that attributes of the film name, the most specific attribute first."""
    value = "".join(tokens(header.view_position))
    if value in _VIEW_VALUES:
        yield _said((_VIEW_VALUES[value], header.view_position), "ViewPosition")
    else:
        yield from _view_of(header.view_position, "ViewPosition")
    for code in items(header.dataset, "ViewCodeSequence"):
        known = _VIEW_CODES.get(text(code, "CodeValue"))
        if known is not None:
            yield _Said(known, f"ViewCodeSequence says {known.value}")
        else:
            yield from _view_of(text(code, "CodeMeaning"), "ViewCodeSequence")
    if runs_front_to_back(header):
        yield _Said(View.LATERAL, "PatientOrientation runs from front to back")
    for keyword in FILM_TEXTS:
        yield from _view_of(text(header.dataset, keyword), keyword)


def _view_of(value: str, keyword: str) -> Iterator[_Said[View]]:
    """Yield the view that a text names, if any."""
    found = {each.meaning: each.word for each in reversed(_VIEW_WORDS.find(value))}
    if _Word.DECUBITUS in found:
        yield _said((View.DECUBITUS, found[_Word.DECUBITUS]), keyword)
    elif _Word.FRONTAL in found and _Word.LATERAL in found:
        yield _Said(None, f"{keyword} names several views")
    else:
        for word, view in _VIEWS_OF_WORDS.items():
            if word in found:
                yield _said((view, found[word]), keyword)
                return


def runs_front_to_back(header: ImageHeader) -> bool:
    """Return True if rows or columns run so, as on a lateral film (PS3.3 C.7.6.1.1.1)."""
    return any(direction[:1] in {"A", "P"} for direction in header.orientation.split("\\"))


def _part_notes(ds: Dataset, parts: Sequence[_Said[Part]]) -> Iterator[str]:
    value = text(ds, "BodyPartExamined")
    if not value:
        yield "BodyPartExamined is absent"
    elif not any(said.source.startswith("BodyPartExamined") for said in parts):
        yield f"BodyPartExamined {value[:16]!r} names no body part that is known here"
    yield from _contradictions(parts, {Part.CHEST, Part.OTHER})


def _view_notes(
    header: ImageHeader, view: _Said[View], views: Sequence[_Said[View]]
) -> Iterator[str]:
    position = header.view_position
    absent = f"{position[:16]!r} is not known" if position else "is absent"
    if view.named is View.DECUBITUS:
        yield f"{view.source}: the model was made for upright and supine films"
    elif view.named is View.UNKNOWN:
        yield f"view not named: ViewPosition {absent}, and no other attribute says the view"
        yield from (said.source for said in views)
        yield from _lateral_study(header.dataset)
    elif view.named is View.FRONTAL and not view.source.startswith("ViewPosition"):
        yield f"ViewPosition {absent}; {view.source}"
    yield from _contradictions(
        [said for said in views if said.named], {View.FRONTAL, View.LATERAL, View.OBLIQUE}
    )


def _lateral_study(ds: Dataset) -> Iterator[str]:
    for keyword, value in _study_texts(ds):
        yield from (said.source for said in _view_of(value, keyword) if said.named is View.LATERAL)


def _contradictions(said: Sequence[_Said[_Named]], exclusive: set[_Named]) -> Iterator[str]:
    """Yield a note if an attribute contradicts the attribute that decides."""
    if not said or said[0].named not in exclusive:
        return
    differing = exclusive - {said[0].named}
    other = next((other for other in said if other.named in differing), None)
    if other is not None:
        yield f"{said[0].source}, but {other.source}"


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
