"""May this instance be analysed? Yes, or a named reason why not.

A missing attribute is only noted, since real films lack many; one that contradicts a frontal
chest radiograph is a reason to refuse.
"""

from dataclasses import dataclass
from enum import StrEnum

import numpy as np
from numpy.typing import NDArray
from pydicom import Dataset
from pydicom.uid import (
    ComputedRadiographyImageStorage,
    DigitalXRayImageStorageForPresentation,
    DigitalXRayImageStorageForProcessing,
    SecondaryCaptureImageStorage,
)

from dicom_io.anatomy import Part, View, body_part, view
from dicom_io.header import items, number, numbers, text

# Sides in pixels: below the first there is no film to read, below the second it is noted.
MIN_SIDE = 128
_LOW_RESOLUTION_SIDE = 512
_LONGEST_ASPECT = 3.0
# Grey levels between the 1st and the 99th percentile that an image has at least.
_LEAST_CONTRAST = 8.0
_ADULT_YEARS = 16

_RADIOGRAPH_CLASSES = frozenset(
    {str(ComputedRadiographyImageStorage), str(DigitalXRayImageStorageForPresentation)}
)
_RADIOGRAPH_MODALITIES = frozenset({"CR", "DX", "RG", "DR", "XR"})
_VAGUE_MODALITIES = frozenset({"", "OT"})
# Visual explanations of AI results (PS3.16 CID 217).
_EXPLANATION_CODES = frozenset({"130401", "130402", "130403", "130404"})
_OWN_NAME = "CXRD"


class Reason(StrEnum):
    """Why an instance is not analysed; `explanation` says it in a sentence."""

    UNSUPPORTED_SOP_CLASS = "UNSUPPORTED_SOP_CLASS"
    FOR_PROCESSING = "FOR_PROCESSING"
    OWN_RESULT = "OWN_RESULT"
    NOT_RADIOGRAPH = "NOT_RADIOGRAPH"
    NOT_CHEST = "NOT_CHEST"
    LATERAL_VIEW = "LATERAL_VIEW"
    OBLIQUE_VIEW = "OBLIQUE_VIEW"
    NO_PIXELS = "NO_PIXELS"
    MULTI_FRAME = "MULTI_FRAME"
    TOO_SMALL = "TOO_SMALL"
    IMPLAUSIBLE_SHAPE = "IMPLAUSIBLE_SHAPE"
    BLANK_IMAGE = "BLANK_IMAGE"
    UNDECODABLE_PIXELS = "UNDECODABLE_PIXELS"
    UNREADABLE_OBJECT = "UNREADABLE_OBJECT"
    ANALYSIS_FAILED = "ANALYSIS_FAILED"

    @property
    def explanation(self) -> str:
        """One sentence for people who read a report or a list."""
        return _EXPLANATIONS[self]


_EXPLANATIONS = {
    Reason.UNSUPPORTED_SOP_CLASS: "Only CR, DX for presentation and Secondary Capture are read.",
    Reason.FOR_PROCESSING: "A detector's raw image; the one for presentation is read instead.",
    Reason.OWN_RESULT: "A result of an AI analysis, not a film.",
    Reason.NOT_RADIOGRAPH: "The object is not marked as a radiograph.",
    Reason.NOT_CHEST: "The film shows another part of the body.",
    Reason.LATERAL_VIEW: "A lateral film; the model reads frontal ones.",
    Reason.OBLIQUE_VIEW: "An oblique film; the model reads frontal ones.",
    Reason.NO_PIXELS: "The object has no pixel data.",
    Reason.MULTI_FRAME: "The object has several frames; a film has one.",
    Reason.TOO_SMALL: f"The image is smaller than {MIN_SIDE} pixels.",
    Reason.IMPLAUSIBLE_SHAPE: "The image is far longer than wide, or wider than long.",
    Reason.BLANK_IMAGE: "The image is empty or nearly of one grey.",
    Reason.UNDECODABLE_PIXELS: "The pixel data is damaged or in a form that is not read here.",
    Reason.UNREADABLE_OBJECT: "The file is damaged or is not a DICOM object.",
    Reason.ANALYSIS_FAILED: "The analysis itself failed; the log says why.",
}


@dataclass(frozen=True, slots=True)
class Verdict:
    """Outcome of a check; `reason` is None where the image may be analysed."""

    reason: Reason | None
    detail: str = ""
    notes: tuple[str, ...] = ()

    @property
    def is_eligible(self) -> bool:
        """Whether nothing speaks against the analysis."""
        return self.reason is None


def assess(ds: Dataset) -> Verdict:
    """Judge a dataset by its header; pixels are not decoded."""
    part, part_source = body_part(ds)
    seen_view, view_source = view(ds)
    refusal = (
        _origin_refusal(ds)
        or _kind_refusal(ds, part, seen_view)
        or _content_refusal(part, part_source, seen_view, view_source)
        or _pixel_refusal(ds)
    )
    notes = tuple(_notes(ds, part, seen_view, view_source))
    if refusal is None:
        return Verdict(None, notes=notes)
    return Verdict(refusal[0], refusal[1], notes)


def assess_pixels(array: NDArray[np.uint8]) -> Verdict:
    """Judge a displayed image, uint8 (rows, columns), by its content."""
    rows, columns = array.shape
    if min(rows, columns) < MIN_SIDE:
        return Verdict(Reason.TOO_SMALL, f"{rows} x {columns} pixels")
    if max(rows, columns) > _LONGEST_ASPECT * min(rows, columns):
        return Verdict(Reason.IMPLAUSIBLE_SHAPE, f"{rows} x {columns} pixels")
    dark, bright = np.percentile(array, [1, 99])
    if bright - dark < _LEAST_CONTRAST:
        return Verdict(Reason.BLANK_IMAGE, f"{bright - dark:.0f} grey levels of contrast")
    if looks_inverted(array):
        return Verdict(None, notes=("the image looks inverted; is its polarity right?",))
    return Verdict(None)


def looks_inverted(array: NDArray[np.uint8]) -> bool:
    """Whether lungs are clearly brighter than both mediastinum and abdomen.

    Measured on the 2,471 images of ChestX-ray14 at hand: true for 1 of them as they are, and for
    94.5 % when inverted.
    """
    rows, columns = array.shape
    scaled = array.astype(np.float32) / 255.0

    def mean(top: float, bottom: float, left: float, right: float) -> float:
        part = scaled[
            int(top * rows) : int(bottom * rows), int(left * columns) : int(right * columns)
        ]
        return float(part.mean())

    lungs = (mean(0.25, 0.69, 0.19, 0.375) + mean(0.25, 0.69, 0.625, 0.81)) / 2
    mediastinum = mean(0.25, 0.75, 0.44, 0.56)
    abdomen = mean(0.81, 1.0, 0.31, 0.69)
    return max(mediastinum, abdomen) < lungs - 0.05


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
    sides = (number(ds, "Rows"), number(ds, "Columns"))
    known = [side for side in sides if side is not None]
    if known and min(known) < MIN_SIDE:
        return Reason.TOO_SMALL, f"a side of {min(known):.0f} pixels"
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
    spacing = numbers(ds, "PixelSpacing") or numbers(ds, "ImagerPixelSpacing")
    if len(spacing) != 2 or min(spacing) <= 0:
        notes.append("PixelSpacing is absent or unusable")
    sides = [side for side in (number(ds, "Rows"), number(ds, "Columns")) if side is not None]
    if sides and MIN_SIDE <= min(sides) < _LOW_RESOLUTION_SIDE:
        notes.append("low resolution")
    if _is_child(text(ds, "PatientAge")):
        notes.append(f"the patient is younger than {_ADULT_YEARS}; the model is made for adults")
    return notes


def _is_child(age: str) -> bool:
    """Age String of PS3.5 6.2: three digits and a unit."""
    digits, unit = age[:3], age[3:].upper()
    if not digits.isdecimal():
        return False
    return unit in {"D", "W", "M"} or (unit == "Y" and int(digits) < _ADULT_YEARS)
