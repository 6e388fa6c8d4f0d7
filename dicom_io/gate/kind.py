"""Kinds of picture that are no plain film of a patient, by an image's header."""

import re
from collections.abc import Iterator
from enum import Enum

from pydicom import Dataset
from pydicom.uid import SecondaryCaptureImageStorage

from dicom_io.gate import kind_words
from dicom_io.gate.anatomy import STUDY_TEXTS
from dicom_io.gate.reasons import Reason
from dicom_io.gate.vocabulary import Vocabulary, tokens
from dicom_io.read.header import items, text
from dicom_io.read.image_header import ImageHeader

# Visual explanations of AI results (PS3.16 CID 217).
_EXPLANATION_CODES = frozenset({"130401", "130402", "130403", "130404"})
_OWN_NAME = "CXRD"
_OWN_SERIES = re.compile("AI (heatmap|summary) - research use only", re.IGNORECASE)

# Homo sapiens (PS3.16 CID 7454 lists animals only): old style, then numeric.
_HUMAN_CODES = frozenset({"L-85B00", "337915000"})

# Texts that are searched for each kind.
_SERIES_TEXTS = ("SeriesDescription", "ProtocolName")
_TONE_TEXTS = ("ImageType", "SeriesDescription", "DerivationDescription")
_PROCESSING_TEXTS = (*_SERIES_TEXTS, "AcquisitionDeviceProcessingDescription")
_FREE_TEXTS = ("ImageComments", "ManufacturerModelName")
_MADE_BY = ("Manufacturer", "ManufacturerModelName")
_CAPTURED_BY = ("SecondaryCaptureDeviceManufacturer", "SecondaryCaptureDeviceManufacturerModelName")


class _Kind(Enum):
    NONE = "no kind"
    BONE_SUPPRESSED = "bone suppressed"
    DUAL_ENERGY = "a pair of two energies"
    BONE_OR_SOFT_TISSUE = "bone or soft tissue"
    OF_A_PAIR = "bone or soft tissue, if the picture is one of two energies"


_KINDS = Vocabulary(
    {
        _Kind.NONE: (kind_words.NO_KIND,),
        _Kind.BONE_SUPPRESSED: (kind_words.BONE_SUPPRESSED,),
        _Kind.BONE_OR_SOFT_TISSUE: (kind_words.BONE_OR_SOFT_TISSUE,),
        _Kind.DUAL_ENERGY: (kind_words.DUAL_ENERGY,),
        _Kind.OF_A_PAIR: (kind_words.BONE_OR_SOFT_TISSUE_OF_A_PAIR,),
    }
)


class _Origin(Enum):
    AI = "a result of AI"
    AI_IN_A_CAPTURE = "a result of AI, if the object is a Secondary Capture"
    QUALITY_CONTROL = "quality control"
    VETERINARY = "a place or a film for animals"
    ANIMAL = "an animal"
    NO_ANIMAL = "a human"


_AI = Vocabulary(
    {_Origin.AI: (kind_words.AI_RESULT,), _Origin.AI_IN_A_CAPTURE: (kind_words.AI_IN_A_CAPTURE,)}
)
_QUALITY_CONTROL = Vocabulary({_Origin.QUALITY_CONTROL: (kind_words.QUALITY_CONTROL,)})
_ANIMAL = Vocabulary(
    {_Origin.VETERINARY: (kind_words.VETERINARY,), _Origin.ANIMAL: (kind_words.ANIMAL,)}
)
_NO_ANIMAL = Vocabulary({_Origin.NO_ANIMAL: (kind_words.NO_ANIMAL,)})

Refusal = tuple[Reason, str]


def is_secondary_capture(header: ImageHeader) -> bool:
    """Return True if the object is of the class Secondary Capture."""
    return header.uids["SOPClassUID"] == SecondaryCaptureImageStorage


def own_result(header: ImageHeader) -> Refusal | None:
    """Refuse a result of this software that a PACS sends back: analysing it would never end."""
    ds = header.dataset
    for item in (ds, *items(ds, "ContributingEquipmentSequence")):
        for keyword in _MADE_BY:
            if text(item, keyword).upper() == _OWN_NAME:
                return Reason.OWN_RESULT, f"{keyword} is {_OWN_NAME.lower()}"
    if _OWN_SERIES.match(text(ds, "SeriesDescription")):
        return Reason.OWN_RESULT, "SeriesDescription is that of a result made here"
    return None


def other_ai_result(header: ImageHeader) -> Refusal | None:
    """Refuse a picture that another AI drew its findings on."""
    ds = header.dataset
    for code in items(ds, "DerivationCodeSequence"):
        if text(code, "CodeValue") in _EXPLANATION_CODES:
            return Reason.AI_RESULT, "derived as a visual explanation of an AI result"
    capture = is_secondary_capture(header)
    meanings = {_Origin.AI, _Origin.AI_IN_A_CAPTURE} if capture else {_Origin.AI}
    more = (*_CAPTURED_BY, "ImageType", "ImageComments") if capture else ()
    for keyword in (*_SERIES_TEXTS, *_MADE_BY, "DerivationDescription", *more):
        for found in _AI.find(text(ds, keyword)):
            if found.meaning in meanings:
                return Reason.AI_RESULT, f"{keyword} says {found.word!r}"
    research = text(ds, "ContentQualification").upper() == "RESEARCH"
    derived = text(ds, "ImageType").upper().startswith("DERIVED")
    if research and derived and capture:
        return Reason.AI_RESULT, "a derived Secondary Capture for research"
    return None


def no_patient(header: ImageHeader) -> Refusal | None:
    """Refuse a picture of a test object or an animal, and a picture that was never taken."""
    ds = header.dataset
    if text(ds, "SyntheticData").upper() == "YES":
        return Reason.SYNTHETIC_DATA, "SyntheticData is YES"
    if text(ds, "QualityControlImage").upper() == "YES":
        return Reason.QUALITY_CONTROL, "QualityControlImage is YES"
    for keyword in ("BodyPartExamined", *_SERIES_TEXTS):
        for word in _QUALITY_CONTROL.find(text(ds, keyword)):
            return Reason.QUALITY_CONTROL, f"{keyword} says {word.word!r}"
    source = next(_signs_of_an_animal(ds), None)
    return None if source is None else (Reason.ANIMAL, source)


def _signs_of_an_animal(ds: Dataset) -> Iterator[str]:
    """Yield attributes that only an animal has (PS3.3 C.7.1.1), and words."""
    for keyword in ("PatientSpeciesDescription", "PatientBreedDescription"):
        if _names_an_animal(text(ds, keyword)):
            yield f"{keyword} names an animal"
    for keyword in ("PatientSpeciesCodeSequence", "PatientBreedCodeSequence"):
        for code in items(ds, keyword):
            if text(code, "CodeValue") not in _HUMAN_CODES and _names_an_animal(
                text(code, "CodeMeaning") or text(code, "CodeValue")
            ):
                yield f"{keyword} names an animal"
    for registration in items(ds, "BreedRegistrationSequence"):
        if text(registration, "BreedRegistrationNumber"):
            yield "BreedRegistrationSequence has a number"
    if text(ds, "PatientSexNeutered"):
        yield "PatientSexNeutered has a value"
    if text(ds, "ResponsiblePersonRole").upper() == "OWNER":
        yield "ResponsiblePersonRole is OWNER"
    for keyword in ("InstitutionName", *STUDY_TEXTS, *_SERIES_TEXTS):
        for word in _ANIMAL.find(text(ds, keyword)):
            if keyword != "InstitutionName" or word.meaning is _Origin.VETERINARY:
                yield f"{keyword} says {word.word!r}"


def _names_an_animal(value: str) -> bool:
    return bool(tokens(value)) and not _NO_ANIMAL.find(value)


def changed_tissue(header: ImageHeader) -> Refusal | None:
    """Refuse a copy without bones, and an image of bone or soft tissue made from two energies."""
    ds = header.dataset
    found = {
        keyword: {word.meaning: word.word for word in _KINDS.find(text(ds, keyword))}
        for keyword in dict.fromkeys((*_TONE_TEXTS, *_PROCESSING_TEXTS, *_FREE_TEXTS))
    }
    for keyword, kinds in found.items():
        if _Kind.BONE_SUPPRESSED in kinds:
            return Reason.BONE_SUPPRESSED, f"{keyword} says {kinds[_Kind.BONE_SUPPRESSED]!r}"
    texts = (*_TONE_TEXTS, *_PROCESSING_TEXTS)
    paired = any(_Kind.DUAL_ENERGY in found[keyword] for keyword in texts)
    for keyword in texts if paired else _TONE_TEXTS:
        kinds = found[keyword]
        word = kinds.get(_Kind.BONE_OR_SOFT_TISSUE) or (paired and kinds.get(_Kind.OF_A_PAIR))
        if word:
            return Reason.DUAL_ENERGY, f"{keyword} says {word!r}"
    return None


def kind_notes(header: ImageHeader) -> Iterator[str]:
    """Yield a note on a film that has a test object beside the patient."""
    if text(header.dataset, "QualityControlImage").upper() == "BOTH":
        yield "QualityControlImage is BOTH: a test object lies beside the patient"
