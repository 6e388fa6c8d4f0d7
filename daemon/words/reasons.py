"""The reasons against an analysis or a report in plain words, and what an operator can do.

`docs/gate.md` has the rules behind the reasons, `docs/operations.md` those behind the others.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType

from dicom_io.gate.reasons import Reason, rejection_meaning
from storage.records import HoldReason, StudyStatus

PURGED = "PURGED"
"""The reason of a film whose file was deleted after its retention time."""

NO_RESULT_YET = "NO_RESULT_YET"
"""The reason of a film whose analysis waits for an operator, in a report on the other films."""

REJECTED = "REJECTED"
"""The reason of a film that its archive withdrew by a rejection note."""

SET_ASIDE = "SET_ASIDE"
"""The reason of a film that an operator dropped from its study."""


@dataclass(frozen=True, slots=True)
class Advice:
    """A reason by its code: the plain words for it, and what to do."""

    code: str
    words: str
    action: str


_AT_SOURCE = "correct it at its source and send the film again"
_NOT_A_FILM = "Nothing to do. A rule of the archive that leaves these objects out saves traffic."
_ORDINARY_FILM = (
    "Nothing to do, if the ordinary film of this exposure is sent, too: it is analysed."
)

_GATE: Mapping[Reason, str] = MappingProxyType(
    {
        Reason.UNSUPPORTED_SOP_CLASS: (
            "Nothing to do for objects of other kinds. A chest film has to be sent as CR, as DX for"
            " presentation, or as Secondary Capture."
        ),
        Reason.FOR_PROCESSING: (
            "Let the unit or the archive send the image for presentation of this film, too."
        ),
        Reason.OWN_RESULT: _NOT_A_FILM,
        Reason.AI_RESULT: _NOT_A_FILM,
        Reason.REJECTION_NOTE: (
            "Nothing to do: the films that it names are marked as rejected, and so are their"
            " results."
        ),
        Reason.NOT_RADIOGRAPH: (
            "Nothing to do for CT, MR and the like. If it is a film, its Modality is wrong, or it"
            f" is a Secondary Capture that names neither chest nor view: {_AT_SOURCE}."
        ),
        Reason.SECONDARY_CAPTURE: (
            "Set rules.accept_secondary_capture: true for this sender, restart and send the film"
            " again; or let the unit send it as CR or DX."
        ),
        Reason.SYNTHETIC_DATA: (
            f"Nothing to do. If the mark is wrong, SyntheticData has to be NO: {_AT_SOURCE}."
        ),
        Reason.QUALITY_CONTROL: (
            "Nothing to do for a film of a test object. If it shows a patient, the attribute that"
            f" the detail names is wrong: {_AT_SOURCE}."
        ),
        Reason.ANIMAL: (
            "Nothing to do for a film of an animal. If it shows a person, the attribute that the"
            f" detail names is wrong: {_AT_SOURCE}."
        ),
        Reason.NOT_CHEST: (
            "Nothing to do if the detail is right. If it is a chest film, the attribute that the"
            f" detail names is wrong: {_AT_SOURCE}."
        ),
        Reason.BODY_PART_NOT_SAID: (
            "Let the unit fill BodyPartExamined and send the film again, or set"
            " rules.require_body_part: false for this sender."
        ),
        Reason.BONE_SUPPRESSED: _ORDINARY_FILM,
        Reason.DUAL_ENERGY: _ORDINARY_FILM,
        Reason.LATERAL_VIEW: (
            "Nothing to do for a lateral film. If it is frontal and an attribute decided, the"
            f" attribute is wrong: {_AT_SOURCE}. If the picture decided, set rules.picture_check:"
            " note for this sender and send the film again."
        ),
        Reason.OBLIQUE_VIEW: (
            "Nothing to do for an oblique film. If it is frontal, the attribute that the detail"
            f" names is wrong: {_AT_SOURCE}."
        ),
        Reason.VIEW_NOT_SAID: (
            "Let the unit fill ViewPosition and send the film again, or set rules.require_view:"
            " false for this sender."
        ),
        Reason.PATIENT_TOO_YOUNG: (
            "Nothing to do if the age is right: rules.minimum_age_years of this sender asks for"
            f" it. If PatientAge or the birth date is wrong, {_AT_SOURCE}."
        ),
        Reason.NO_PIXELS: (
            "Look at the film in the archive. If it shows a picture there, let the archive send the"
            " whole object again."
        ),
        Reason.MULTI_FRAME: "Nothing to do for a series of frames. Let the unit send single films.",
        Reason.TOO_SMALL: "Send the film in its full size; this is a preview or a cut-out.",
        Reason.IMPLAUSIBLE_SHAPE: (
            "Look at the film. A strip or a whole leg is not read; a chest film that was cut too"
            " narrow has to be sent whole."
        ),
        Reason.BLANK_IMAGE: (
            "Look at the film in the archive. If it is blank there, too, it is a failed exposure."
            " If it shows a picture there, the notes of the film name what hides it here."
        ),
        Reason.COLOUR_IMAGE: (
            "Nothing to do for a photograph or a coloured drawing. Let the unit send the film in"
            " grey."
        ),
        Reason.NOT_A_FRONTAL_CHEST: (
            "Look at the film. If it is a frontal chest film all the same, set rules.picture_check:"
            " note for this sender, restart and send the film again."
        ),
        Reason.UNDECODABLE_PIXELS: (
            "Look at the film in the archive. If it opens there, let the archive send it again"
            " uncompressed (Explicit VR Little Endian); else it is damaged at its source."
        ),
        Reason.DECODER_FAILED: (
            "The detail names the limit. For a large film raise analyst.decode_seconds or"
            " analyst.decode_memory_mb, restart and analyse it again; a damaged film has to be sent"
            " again."
        ),
        Reason.UNREADABLE_OBJECT: (
            "Let the archive send the film again. If the archive cannot open it either, it is"
            " damaged at its source."
        ),
        Reason.ANALYSIS_FAILED: (
            "Read the log of the analyst, remove the cause, and analyse the film again."
        ),
        Reason.UNSUPPORTED_FILE: (
            "Convert the file to DICOM, PNG or JPEG, or leave it out. Only `cxrd analyse` gives"
            " this reason."
        ),
    }
)

_HOLDS: Mapping[HoldReason, tuple[str, str]] = MappingProxyType(
    {
        HoldReason.TWO_PATIENTS: (
            "The films of this study name two patients, or a film was sent again under another"
            " patient after results had left. No result leaves until it is settled.",
            "Correct the films at their source and send them again, or release the study: set the"
            " films of the wrong patient aside, or confirm that the films sent last are right.",
        ),
        HoldReason.FILM_MOVED: (
            "A film of this study was sent again in another study. No result leaves until it is"
            " settled.",
            "Find out which study is right. Send the film again in that study, or release this"
            " study.",
        ),
    }
)

_STATUSES: Mapping[StudyStatus, tuple[str, str]] = MappingProxyType(
    {
        StudyStatus.REPORTED: ("The report of this study is made.", ""),
        StudyStatus.UNCHANGED: ("The report of this study says what the study holds now.", ""),
        StudyStatus.NO_ELIGIBLE_IMAGE: (
            "No film of this study could be analysed, so there is no report.",
            "Each film below says its reason.",
        ),
        StudyStatus.HELD: (
            "The study is in doubt, and no result of it leaves.",
            "See the reason above.",
        ),
    }
)

_OWN: Mapping[str, tuple[str, str]] = MappingProxyType(
    {
        PURGED: (
            "The film was deleted here after its retention time. Its result is kept; its picture is"
            " not.",
            "Nothing to do. For a new result, or for the picture, let the archive send the film"
            " again.",
        ),
        NO_RESULT_YET: (
            "The film has no result yet: its analysis waits for an operator or was discarded.",
            "See its job, remove the cause, for example a missing file, and retry the job.",
        ),
        REJECTED: (
            "The archive withdrew this film by a rejection note. Its result no longer counts.",
            "Nothing to do. If the film was withdrawn by mistake, undo it in the archive and send"
            " the film again.",
        ),
        SET_ASIDE: (
            "An operator set this film aside when the study was released. No report names it.",
            "Nothing to do. If it belongs to the study, send it again with the right patient.",
        ),
    }
)


def advice_on(reason: str) -> Advice:
    """Return the words and the action for a reason of the gate, the daemon or a hold."""
    if reason in _OWN:
        return Advice(reason, *_OWN[reason])
    if reason in Reason.__members__:
        named = Reason(reason)
        return Advice(reason, named.explanation, _GATE[named])
    if reason in HoldReason.__members__:
        return Advice(reason, *_HOLDS[HoldReason(reason)])
    return Advice(
        reason,
        "A reason of another version of this software.",
        "Read the detail, and analyse the film again with this version.",
    )


def advice_on_status(status: StudyStatus) -> Advice:
    """Return the words and the action for the result of reporting a study."""
    return Advice(status, *_STATUSES[status])


def rejection_words(code: str) -> str:
    """Return the code of a rejection with its meaning: `113001, Rejected for Quality Reasons`."""
    meaning = rejection_meaning(code)
    return f"{code}, {meaning}" if meaning else code
