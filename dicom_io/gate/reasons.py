"""The named reasons against an analysis, those of an archive against a film, and the verdict."""

from dataclasses import dataclass
from enum import StrEnum

MIN_SIDE = 128
"""Pixels per side of the smallest film that is analysed."""


class Reason(StrEnum):
    """A reason against an analysis; `explanation` is a sentence for people."""

    UNSUPPORTED_SOP_CLASS = "UNSUPPORTED_SOP_CLASS"
    FOR_PROCESSING = "FOR_PROCESSING"
    OWN_RESULT = "OWN_RESULT"
    AI_RESULT = "AI_RESULT"
    REJECTION_NOTE = "REJECTION_NOTE"
    NOT_RADIOGRAPH = "NOT_RADIOGRAPH"
    SECONDARY_CAPTURE = "SECONDARY_CAPTURE"
    SYNTHETIC_DATA = "SYNTHETIC_DATA"
    QUALITY_CONTROL = "QUALITY_CONTROL"
    ANIMAL = "ANIMAL"
    NOT_CHEST = "NOT_CHEST"
    BODY_PART_NOT_SAID = "BODY_PART_NOT_SAID"
    BONE_SUPPRESSED = "BONE_SUPPRESSED"
    DUAL_ENERGY = "DUAL_ENERGY"
    LATERAL_VIEW = "LATERAL_VIEW"
    OBLIQUE_VIEW = "OBLIQUE_VIEW"
    VIEW_NOT_SAID = "VIEW_NOT_SAID"
    PATIENT_TOO_YOUNG = "PATIENT_TOO_YOUNG"
    NO_PIXELS = "NO_PIXELS"
    MULTI_FRAME = "MULTI_FRAME"
    TOO_SMALL = "TOO_SMALL"
    IMPLAUSIBLE_SHAPE = "IMPLAUSIBLE_SHAPE"
    BLANK_IMAGE = "BLANK_IMAGE"
    COLOUR_IMAGE = "COLOUR_IMAGE"
    NOT_A_FRONTAL_CHEST = "NOT_A_FRONTAL_CHEST"
    UNDECODABLE_PIXELS = "UNDECODABLE_PIXELS"
    DECODER_FAILED = "DECODER_FAILED"
    UNREADABLE_OBJECT = "UNREADABLE_OBJECT"
    ANALYSIS_FAILED = "ANALYSIS_FAILED"
    UNSUPPORTED_FILE = "UNSUPPORTED_FILE"

    @property
    def explanation(self) -> str:
        """One sentence for the readers of a report or a list."""
        return _EXPLANATIONS[self]


RESULTS = frozenset({Reason.OWN_RESULT, Reason.AI_RESULT})
"""Reasons of results, which arrive because of a film and are not part of a report on it."""

FAILURES = frozenset({Reason.DECODER_FAILED, Reason.ANALYSIS_FAILED})
"""Reasons that do not judge the image: another attempt at the same bytes may succeed."""

BY_RULE = frozenset(
    {
        Reason.SECONDARY_CAPTURE,
        Reason.BODY_PART_NOT_SAID,
        Reason.VIEW_NOT_SAID,
        Reason.PATIENT_TOO_YOUNG,
        Reason.LATERAL_VIEW,
        Reason.NOT_A_FRONTAL_CHEST,
    }
)
"""Reasons that another rule of the sender may lift: a film that is sent again is judged again."""

_EXPLANATIONS = {
    Reason.UNSUPPORTED_SOP_CLASS: "Only CR, DX for presentation and Secondary Capture are read.",
    Reason.FOR_PROCESSING: "A detector's raw image; the one for presentation is read instead.",
    Reason.OWN_RESULT: "A result of this software, not a film.",
    Reason.AI_RESULT: "A result of another AI analysis, not a film.",
    Reason.REJECTION_NOTE: "A note by which the archive withdraws images; no film.",
    Reason.NOT_RADIOGRAPH: "The object is not marked as a radiograph.",
    Reason.SECONDARY_CAPTURE: "Secondary Captures of this sender are not read.",
    Reason.SYNTHETIC_DATA: "The picture is made by a program, not by X-rays.",
    Reason.QUALITY_CONTROL: "A film of a test object, for quality control.",
    Reason.ANIMAL: "The patient is an animal; the model is made for people.",
    Reason.NOT_CHEST: "The film shows another part of the body.",
    Reason.BODY_PART_NOT_SAID: "The body part is not said, and this sender has to say it.",
    Reason.BONE_SUPPRESSED: "A copy without the bones; the original film is read instead.",
    Reason.DUAL_ENERGY: "A bone or soft-tissue image of two energies; the ordinary film is read.",
    Reason.LATERAL_VIEW: "A lateral film; the model reads frontal ones.",
    Reason.OBLIQUE_VIEW: "An oblique film; the model reads frontal ones.",
    Reason.VIEW_NOT_SAID: "The view is not said, and this sender has to say it.",
    Reason.PATIENT_TOO_YOUNG: "The patient is younger than this sender's films may be.",
    Reason.NO_PIXELS: "The object has no pixel data.",
    Reason.MULTI_FRAME: "The object has several frames; a film has one.",
    Reason.TOO_SMALL: f"The image is smaller than {MIN_SIDE} pixels.",
    Reason.IMPLAUSIBLE_SHAPE: "The image is far longer than wide, or wider than long.",
    Reason.BLANK_IMAGE: "The image is empty or nearly of one grey.",
    Reason.COLOUR_IMAGE: "The image is in colour; a film is grey.",
    Reason.NOT_A_FRONTAL_CHEST: "The picture itself shows no frontal chest film.",
    Reason.UNDECODABLE_PIXELS: "The pixel data is damaged or in a form that is not read here.",
    Reason.DECODER_FAILED: "Reading it crashed, took too long or took too much memory.",
    Reason.UNREADABLE_OBJECT: "The file is damaged or is not a DICOM object.",
    Reason.ANALYSIS_FAILED: "The analysis itself failed; the log says why.",
    Reason.UNSUPPORTED_FILE: "The file is neither a DICOM object nor a picture that is read.",
}


# The titles of rejection notes: PS3.16 CID 7011, scheme DCM.
_REJECTIONS = {
    "113001": "Rejected for Quality Reasons",
    "113037": "Rejected for Patient Safety Reasons",
    "113038": "Incorrect Modality Worklist Entry",
    "113039": "Data Retention Policy Expired",
}


def rejection_meaning(code: str) -> str:
    """Return the meaning of a rejection code, or an empty text for another code."""
    return _REJECTIONS.get(code, "")


@dataclass(frozen=True, slots=True)
class Verdict:
    """Outcome of a check; `reason` is None if the image may be analysed."""

    reason: Reason | None
    detail: str = ""
    notes: tuple[str, ...] = ()

    @property
    def is_eligible(self) -> bool:
        """True if the image may be analysed."""
        return self.reason is None
