"""Decides by the header if an image may be analysed.

A missing attribute is only noted, since real films lack many. An attribute that contradicts a
frontal chest radiograph is a reason to refuse. A peer's `Rules` may demand more.
"""

from collections.abc import Iterator

from pydicom.uid import (
    ComputedRadiographyImageStorage,
    DigitalXRayImageStorageForPresentation,
    DigitalXRayImageStorageForProcessing,
)

from dicom_io.gate.anatomy import Anatomy, Part, View, anatomy_of
from dicom_io.gate.kind import (
    Refusal,
    changed_tissue,
    is_secondary_capture,
    kind_notes,
    no_patient,
    other_ai_result,
    own_result,
)
from dicom_io.gate.pixel_check import LONGEST_ASPECT
from dicom_io.gate.reasons import MIN_SIDE, Reason, Verdict
from dicom_io.gate.rules import DEFAULT_RULES, Rules
from dicom_io.read.header import number, text
from dicom_io.read.image_header import ImageHeader

# Pixels per side below which low resolution is noted.
_LOW_RESOLUTION_SIDE = 512
_ADULT_YEARS = 16

_RADIOGRAPH_CLASSES = frozenset(
    {str(ComputedRadiographyImageStorage), str(DigitalXRayImageStorageForPresentation)}
)
_RADIOGRAPH_MODALITIES = frozenset({"CR", "DX", "RG", "DR", "XR"})
_VAGUE_MODALITIES = frozenset({"", "OT"})


def assess(header: ImageHeader, rules: Rules = DEFAULT_RULES) -> Verdict:
    """Judge an image by its header; pixels are not decoded."""
    anatomy = anatomy_of(header)
    refusal = (
        own_result(header)
        or _class_refusal(header)
        or other_ai_result(header)
        or _modality_refusal(header, anatomy)
        or no_patient(header)
        or _part_refusal(anatomy)
        or changed_tissue(header)
        or _view_refusal(anatomy)
        or _pixel_refusal(header)
        or _rule_refusal(header, rules, anatomy)
    )
    notes = (*_notes(header, anatomy), *_age_notes(anatomy.age, rules))
    if refusal is None:
        return Verdict(None, notes=notes)
    return Verdict(refusal[0], refusal[1], notes)


def _class_refusal(header: ImageHeader) -> Refusal | None:
    sop_class = header.uids["SOPClassUID"]
    if sop_class == DigitalXRayImageStorageForProcessing:
        return Reason.FOR_PROCESSING, "SOP class is DX for processing"
    if sop_class not in _RADIOGRAPH_CLASSES and not is_secondary_capture(header):
        return Reason.UNSUPPORTED_SOP_CLASS, f"SOP class {sop_class[:64] or 'is absent'}"
    return None


def _modality_refusal(header: ImageHeader, anatomy: Anatomy) -> Refusal | None:
    modality = header.modality.upper()
    if not is_secondary_capture(header):
        if text(header.dataset, "PresentationIntentType").upper() == "FOR PROCESSING":
            return Reason.FOR_PROCESSING, "PresentationIntentType is FOR PROCESSING"
        if modality in _RADIOGRAPH_MODALITIES | _VAGUE_MODALITIES:
            return None
        return Reason.NOT_RADIOGRAPH, f"Modality is {modality[:16]!r}"
    # A Secondary Capture can be any picture, so a vague one needs a sign of being a film.
    coded_chest = anatomy.part is Part.CHEST and anatomy.part_is_coded
    marked = coded_chest or anatomy.view is not View.UNKNOWN
    if modality in _RADIOGRAPH_MODALITIES or (modality in _VAGUE_MODALITIES and marked):
        return None
    return Reason.NOT_RADIOGRAPH, f"Secondary Capture with Modality {modality[:16]!r}"


def _part_refusal(anatomy: Anatomy) -> Refusal | None:
    return (Reason.NOT_CHEST, anatomy.part_source) if anatomy.part is Part.OTHER else None


def _view_refusal(anatomy: Anatomy) -> Refusal | None:
    if anatomy.view is View.LATERAL:
        return Reason.LATERAL_VIEW, anatomy.view_source
    if anatomy.view is View.OBLIQUE:
        return Reason.OBLIQUE_VIEW, anatomy.view_source
    return None


def _pixel_refusal(header: ImageHeader) -> Refusal | None:
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


def _rule_refusal(header: ImageHeader, rules: Rules, anatomy: Anatomy) -> Refusal | None:
    """Refuse an image that only the rules of its sender refuse."""
    if not rules.accept_secondary_capture and is_secondary_capture(header):
        return Reason.SECONDARY_CAPTURE, "accept_secondary_capture is false for this sender"
    if rules.require_body_part and anatomy.part is Part.UNKNOWN:
        return (
            Reason.BODY_PART_NOT_SAID,
            "no attribute of the film names a body part that is known here",
        )
    if rules.require_view and anatomy.view is View.UNKNOWN:
        return Reason.VIEW_NOT_SAID, "no attribute of the film names its view"
    youngest = rules.minimum_age_years
    if youngest is not None and anatomy.age is not None and anatomy.age < youngest:
        return Reason.PATIENT_TOO_YOUNG, f"younger than {youngest} years"
    return None


def _notes(header: ImageHeader, anatomy: Anatomy) -> Iterator[str]:
    yield from anatomy.notes
    yield from kind_notes(header)
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
