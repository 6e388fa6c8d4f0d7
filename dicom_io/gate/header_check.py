"""Decides by the header if an image may be analysed.

A missing attribute is only noted, since real films lack many. An attribute that contradicts a
frontal chest radiograph is a reason to refuse. A peer's `Rules` may demand more.
"""

from collections.abc import Iterator
from dataclasses import dataclass

from pydicom.uid import (
    ComputedRadiographyImageStorage,
    DigitalXRayImageStorageForPresentation,
    DigitalXRayImageStorageForProcessing,
    SecondaryCaptureImageStorage,
)

from dicom_io.gate.anatomy import Anatomy, Part, View, anatomy_of, runs_front_to_back
from dicom_io.gate.pixel_check import LONGEST_ASPECT
from dicom_io.gate.reasons import MIN_SIDE, Reason, Verdict
from dicom_io.read.header import items, number, text
from dicom_io.read.image_header import ImageHeader

# Pixels per side below which low resolution is noted.
_LOW_RESOLUTION_SIDE = 512
_ADULT_YEARS = 16

_RADIOGRAPH_CLASSES = frozenset(
    {str(ComputedRadiographyImageStorage), str(DigitalXRayImageStorageForPresentation)}
)
_RADIOGRAPH_MODALITIES = frozenset({"CR", "DX", "RG", "DR", "XR"})
_VAGUE_MODALITIES = frozenset({"", "OT"})

# Visual explanations of AI results (PS3.16 CID 217).
_EXPLANATION_CODES = frozenset({"130401", "130402", "130403", "130404"})
_OWN_NAME = "CXRD"


@dataclass(frozen=True, slots=True)
class Rules:
    """The demands on one peer's films beyond the needs of the model; none by default.

    `minimum_age_years` does not refuse a patient of unknown age; the missing age is noted.
    """

    minimum_age_years: int | None = None
    require_body_part: bool = False
    require_view: bool = False
    accept_secondary_capture: bool = True


DEFAULT_RULES = Rules()


def assess(header: ImageHeader, rules: Rules = DEFAULT_RULES) -> Verdict:
    """Judge an image by its header; pixels are not decoded."""
    anatomy = anatomy_of(header)
    refusal = (
        _origin_refusal(header)
        or _kind_refusal(header, anatomy)
        or _content_refusal(anatomy)
        or _pixel_refusal(header)
        or _rule_refusal(header, rules, anatomy)
    )
    notes = (*_notes(header, anatomy), *_age_notes(anatomy.age, rules))
    if refusal is None:
        return Verdict(None, notes=notes)
    return Verdict(refusal[0], refusal[1], notes)


_Refusal = tuple[Reason, str] | None


def _origin_refusal(header: ImageHeader) -> _Refusal:
    """Refuse a result of this software that a PACS sends back: analysing it would never end."""
    ds = header.dataset
    for item in (ds, *items(ds, "ContributingEquipmentSequence")):
        for keyword in ("Manufacturer", "ManufacturerModelName"):
            if text(item, keyword).upper() == _OWN_NAME:
                return Reason.OWN_RESULT, f"{keyword} is {_OWN_NAME.lower()}"
    for code in items(ds, "DerivationCodeSequence"):
        if text(code, "CodeValue") in _EXPLANATION_CODES:
            return Reason.OWN_RESULT, "derived as a visual explanation of an AI result"
    if "AI HEATMAP" in text(ds, "SeriesDescription").upper():
        return Reason.OWN_RESULT, "SeriesDescription says AI heatmap"
    research = text(ds, "ContentQualification").upper() == "RESEARCH"
    derived = text(ds, "ImageType").upper().startswith("DERIVED")
    if research and derived and _is_secondary_capture(header):
        return Reason.OWN_RESULT, "a derived Secondary Capture for research"
    return None


def _kind_refusal(header: ImageHeader, anatomy: Anatomy) -> _Refusal:
    sop_class = header.uids["SOPClassUID"]
    modality = header.modality.upper()
    if sop_class == DigitalXRayImageStorageForProcessing:
        return Reason.FOR_PROCESSING, "SOP class is DX for processing"
    if sop_class in _RADIOGRAPH_CLASSES:
        if text(header.dataset, "PresentationIntentType").upper() == "FOR PROCESSING":
            return Reason.FOR_PROCESSING, "PresentationIntentType is FOR PROCESSING"
        if modality in _RADIOGRAPH_MODALITIES | _VAGUE_MODALITIES:
            return None
        return Reason.NOT_RADIOGRAPH, f"Modality is {modality[:16]!r}"
    if not _is_secondary_capture(header):
        return Reason.UNSUPPORTED_SOP_CLASS, f"SOP class {sop_class[:64] or 'is absent'}"
    # A Secondary Capture can be any picture, so a vague one needs a sign of being a film.
    marked = anatomy.part is Part.CHEST or anatomy.view is not View.UNKNOWN
    if modality in _RADIOGRAPH_MODALITIES or (modality in _VAGUE_MODALITIES and marked):
        return None
    return Reason.NOT_RADIOGRAPH, f"Secondary Capture with Modality {modality[:16]!r}"


def _is_secondary_capture(header: ImageHeader) -> bool:
    return header.uids["SOPClassUID"] == SecondaryCaptureImageStorage


def _content_refusal(anatomy: Anatomy) -> _Refusal:
    if anatomy.part is Part.OTHER:
        return Reason.NOT_CHEST, anatomy.part_source
    if anatomy.view is View.LATERAL:
        return Reason.LATERAL_VIEW, anatomy.view_source
    if anatomy.view is View.OBLIQUE:
        return Reason.OBLIQUE_VIEW, anatomy.view_source
    return None


def _pixel_refusal(header: ImageHeader) -> _Refusal:
    if "PixelData" not in header.dataset:
        return Reason.NO_PIXELS, "no PixelData"
    frames = number(header.dataset, "NumberOfFrames")
    if frames is not None and frames > 1:
        return Reason.MULTI_FRAME, f"{frames:.0f} frames"
    sides = _sides(header)
    if sides and min(sides) < MIN_SIDE:
        return Reason.TOO_SMALL, f"a side of {min(sides):.0f} pixels"
    if sides and max(sides) > 2 * LONGEST_ASPECT * min(sides):
        # A pixel may be up to twice as long as wide; the rendered image is judged with that.
        return Reason.IMPLAUSIBLE_SHAPE, f"{sides[0]:.0f} x {sides[-1]:.0f} pixels"
    return None


def _sides(header: ImageHeader) -> list[float]:
    return [side for side in (header.rows, header.columns) if side is not None]


def _rule_refusal(header: ImageHeader, rules: Rules, anatomy: Anatomy) -> _Refusal:
    """Refuse an image that only the rules of its sender refuse."""
    if not rules.accept_secondary_capture and _is_secondary_capture(header):
        return Reason.SECONDARY_CAPTURE, "accept_secondary_capture is false for this sender"
    if rules.require_body_part and anatomy.part is Part.UNKNOWN:
        return Reason.BODY_PART_NOT_SAID, "no attribute names the body part"
    if rules.require_view and anatomy.view is View.UNKNOWN:
        return Reason.VIEW_NOT_SAID, "no attribute names the view"
    youngest = rules.minimum_age_years
    if youngest is not None and anatomy.age is not None and anatomy.age < youngest:
        return Reason.PATIENT_TOO_YOUNG, f"younger than {youngest} years"
    return None


def _notes(header: ImageHeader, anatomy: Anatomy) -> Iterator[str]:
    if not anatomy.body_part:
        yield "BodyPartExamined is absent"
    elif anatomy.part is Part.UNKNOWN:
        yield "BodyPartExamined does not name a part"
    if anatomy.view is View.UNKNOWN:
        yield "the view is not said (no usable ViewPosition)"
    elif anatomy.view is View.DECUBITUS:
        yield f"{anatomy.view_source}: the model was made for upright and supine films"
    elif not header.view_position:
        yield f"ViewPosition is absent; {anatomy.view_source}"
    if anatomy.view is View.FRONTAL and runs_front_to_back(header):
        yield f"{anatomy.view_source}, but PatientOrientation runs from front to back"
    spacing = header.spacings["PixelSpacing"] or header.spacings["ImagerPixelSpacing"]
    if len(spacing) != 2 or min(spacing) <= 0:
        yield "PixelSpacing is absent or unusable"
    sides = _sides(header)
    if sides and MIN_SIDE <= min(sides) < _LOW_RESOLUTION_SIDE:
        yield "low resolution"


def _age_notes(age: float | None, rules: Rules) -> Iterator[str]:
    if age is not None and age < _ADULT_YEARS:
        yield f"the patient is younger than {_ADULT_YEARS}; the model is made for adults"
    if age is None and rules.minimum_age_years is not None:
        yield "the patient's age is not said"
