"""May this instance be analysed? Yes, or a named reason why not.

A missing attribute is only noted, since real films lack many; one that contradicts a frontal
chest radiograph is a reason to refuse. A peer's `Rules` may ask for more.
"""

from collections.abc import Iterator
from dataclasses import dataclass

from pydicom import Dataset
from pydicom.uid import (
    ComputedRadiographyImageStorage,
    DigitalXRayImageStorageForPresentation,
    DigitalXRayImageStorageForProcessing,
    SecondaryCaptureImageStorage,
)

from dicom_io.gate.anatomy import Part, View, age_in_years, body_part, runs_front_to_back, view
from dicom_io.gate.pixel_check import LONGEST_ASPECT

# Named here, too, for the code that asks the gate.
from dicom_io.gate.reasons import MIN_SIDE, Reason, Verdict
from dicom_io.read.header import items, number, numbers, text

# Pixels a side; below this the low resolution is noted.
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
    """What one peer's films must meet beyond what the model needs; the default asks nothing more.

    A patient whose age is not said is not refused by `minimum_age_years`, only noted.
    """

    minimum_age_years: int | None = None
    require_body_part: bool = False
    require_view: bool = False
    accept_secondary_capture: bool = True


DEFAULT_RULES = Rules()


def assess(ds: Dataset, rules: Rules = DEFAULT_RULES) -> Verdict:
    """Judge a dataset by its header; pixels are not decoded."""
    part, part_source = body_part(ds)
    seen_view, view_source = view(ds)
    age = age_in_years(ds)
    refusal = (
        _origin_refusal(ds)
        or _kind_refusal(ds, part, seen_view)
        or _content_refusal(part, part_source, seen_view, view_source)
        or _pixel_refusal(ds)
        or _rule_refusal(ds, rules, part, seen_view, age)
    )
    notes = (*_notes(ds, part, seen_view, view_source), *_age_notes(age, rules))
    if refusal is None:
        return Verdict(None, notes=notes)
    return Verdict(refusal[0], refusal[1], notes)


_Refusal = tuple[Reason, str] | None


def _origin_refusal(ds: Dataset) -> _Refusal:
    """Results of this software come back from the PACS; reading them would never end."""
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
    if research and derived and text(ds, "SOPClassUID") == SecondaryCaptureImageStorage:
        return Reason.OWN_RESULT, "a derived Secondary Capture for research"
    return None


def _kind_refusal(ds: Dataset, part: Part, seen_view: View) -> _Refusal:
    sop_class = text(ds, "SOPClassUID")
    modality = text(ds, "Modality").upper()
    if sop_class == DigitalXRayImageStorageForProcessing:
        return Reason.FOR_PROCESSING, "SOP class is DX for processing"
    if sop_class in _RADIOGRAPH_CLASSES:
        if text(ds, "PresentationIntentType").upper() == "FOR PROCESSING":
            return Reason.FOR_PROCESSING, "PresentationIntentType is FOR PROCESSING"
        if modality in _RADIOGRAPH_MODALITIES | _VAGUE_MODALITIES:
            return None
        return Reason.NOT_RADIOGRAPH, f"Modality is {modality[:16]!r}"
    if sop_class != SecondaryCaptureImageStorage:
        return Reason.UNSUPPORTED_SOP_CLASS, f"SOP class {sop_class[:64] or 'is absent'}"
    # Anything at all can be a Secondary Capture, so a vague one needs a sign of being a film.
    marked = part is Part.CHEST or seen_view is not View.UNKNOWN
    if modality in _RADIOGRAPH_MODALITIES or (modality in _VAGUE_MODALITIES and marked):
        return None
    return Reason.NOT_RADIOGRAPH, f"Secondary Capture with Modality {modality[:16]!r}"


def _content_refusal(part: Part, part_source: str, seen_view: View, view_source: str) -> _Refusal:
    if part is Part.OTHER:
        return Reason.NOT_CHEST, part_source
    if seen_view is View.LATERAL:
        return Reason.LATERAL_VIEW, view_source
    if seen_view is View.OBLIQUE:
        return Reason.OBLIQUE_VIEW, view_source
    return None


def _pixel_refusal(ds: Dataset) -> _Refusal:
    if "PixelData" not in ds:
        return Reason.NO_PIXELS, "no PixelData"
    frames = number(ds, "NumberOfFrames")
    if frames is not None and frames > 1:
        return Reason.MULTI_FRAME, f"{frames:.0f} frames"
    sides = [side for side in (number(ds, "Rows"), number(ds, "Columns")) if side is not None]
    if sides and min(sides) < MIN_SIDE:
        return Reason.TOO_SMALL, f"a side of {min(sides):.0f} pixels"
    if sides and max(sides) > 2 * LONGEST_ASPECT * min(sides):
        # Pixels may be up to twice as long as wide; with those the rendered image is judged.
        return Reason.IMPLAUSIBLE_SHAPE, f"{sides[0]:.0f} x {sides[-1]:.0f} pixels"
    return None


def _rule_refusal(
    ds: Dataset, rules: Rules, part: Part, seen_view: View, age: float | None
) -> _Refusal:
    """What only this peer's rules refuse."""
    if not rules.accept_secondary_capture and text(ds, "SOPClassUID") == (
        SecondaryCaptureImageStorage
    ):
        return Reason.SECONDARY_CAPTURE, "accept_secondary_capture is false for this sender"
    if rules.require_body_part and part is Part.UNKNOWN:
        return Reason.BODY_PART_NOT_SAID, "no attribute names the body part"
    if rules.require_view and seen_view is View.UNKNOWN:
        return Reason.VIEW_NOT_SAID, "no attribute names the view"
    youngest = rules.minimum_age_years
    if youngest is not None and age is not None and age < youngest:
        return Reason.PATIENT_TOO_YOUNG, f"younger than {youngest} years"
    return None


def _notes(ds: Dataset, part: Part, seen_view: View, view_source: str) -> list[str]:
    notes = []
    if not text(ds, "BodyPartExamined"):
        notes.append("BodyPartExamined is absent")
    elif part is Part.UNKNOWN:
        notes.append("BodyPartExamined does not name a part")
    if seen_view is View.UNKNOWN:
        notes.append("the view is not said (no usable ViewPosition)")
    elif seen_view is View.DECUBITUS:
        notes.append(f"{view_source}: the model was made for upright and supine films")
    elif not text(ds, "ViewPosition"):
        notes.append(f"ViewPosition is absent; {view_source}")
    if seen_view is View.FRONTAL and runs_front_to_back(ds):
        notes.append(f"{view_source}, but PatientOrientation runs from front to back")
    spacing = numbers(ds, "PixelSpacing") or numbers(ds, "ImagerPixelSpacing")
    if len(spacing) != 2 or min(spacing) <= 0:
        notes.append("PixelSpacing is absent or unusable")
    sides = [side for side in (number(ds, "Rows"), number(ds, "Columns")) if side is not None]
    if sides and MIN_SIDE <= min(sides) < _LOW_RESOLUTION_SIDE:
        notes.append("low resolution")
    return notes


def _age_notes(age: float | None, rules: Rules) -> Iterator[str]:
    if age is not None and age < _ADULT_YEARS:
        yield f"the patient is younger than {_ADULT_YEARS}; the model is made for adults"
    if age is None and rules.minimum_age_years is not None:
        yield "the patient's age is not said"
