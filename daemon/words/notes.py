"""The notes of gate, decoder, picture check and model in plain words.

A note says what is special about a film that was analysed all the same. Each kind of note has a
pattern and an explanation; a test reads the notes from the code and finds each of them here.
"""

import re
from dataclasses import dataclass

from cxr_model.finding_text import NOT_CALIBRATED


@dataclass(frozen=True, slots=True)
class NoteKind:
    """A kind of note: the pattern of its text, the explanation, and its weight for the reader.

    `is_doubt` is True if the note puts the result itself in doubt, and a person should look at it.
    """

    pattern: re.Pattern[str]
    explanation: str
    is_doubt: bool = False


@dataclass(frozen=True, slots=True)
class ExplainedNote:
    """A note with its explanation, which is empty for a note of another version."""

    text: str
    explanation: str
    is_doubt: bool


def explained(note: str) -> ExplainedNote:
    """Return a note with the explanation of the first kind that it is of."""
    for kind in KINDS:
        if kind.pattern.search(note):
            return ExplainedNote(note, kind.explanation, kind.is_doubt)
    return ExplainedNote(note, "", False)


def _kind(pattern: str, explanation: str, *, is_doubt: bool = False) -> NoteKind:
    return NoteKind(re.compile(pattern, re.DOTALL), explanation, is_doubt)


_GREY_SCALE = (
    "The header names a grey scale that would show this film white, black or flat. Another way of"
    " showing it was used, by the values of its pixels."
)
_READ_ALL_THE_SAME = (
    "The end of the object is damaged, but no pixel is missing: the film was read as usual."
)
_BITS = (
    "The header describes the numbers of the pixels wrongly. Neighbouring pixels show how they are"
    " meant, and they were read that way."
)
_NO_OBJECT = "This kind of result object cannot be made of this film; the findings stand."
_SIDES = "Compare the side markers on the film."

KINDS: tuple[NoteKind, ...] = (
    # The model.
    _kind(
        rf"^{re.escape(NOT_CALIBRATED)}$",
        "The model's probabilities were not shown to agree with how often a finding was really"
        " there. Use them to rank films, not as chances.",
        is_doubt=True,
    ),
    _kind(r"^no presentation state: ", _NO_OBJECT),
    _kind(r"^no [\w ]+: \w+$", _NO_OBJECT),
    # The picture itself.
    _kind(
        r"^the picture is .*: its findings may mean nothing$",
        "The picture does not look like a frontal chest film, and the sender's rules have it"
        " analysed all the same. The findings may mean nothing.",
        is_doubt=True,
    ),
    _kind(
        r"^the picture is .+: read upright$",
        "The picture lay on its side or head, whatever its header says. It was turned upright for"
        " the model; what is stored is unchanged.",
    ),
    _kind(
        r"^the picture may be turned",
        "The picture may lie on its side or head. It was analysed as its header says, so the"
        " findings are worth less if it does.",
        is_doubt=True,
    ),
    _kind(
        r"^the picture is inverted",
        "Black and white were exchanged in the picture, whatever its header says. It was analysed"
        " with bright bone; what is stored is unchanged.",
    ),
    _kind(
        r"^the picture may be inverted",
        "Black and white may be exchanged in the picture. It was analysed as its header says, so"
        " the findings are worth less if they are.",
        is_doubt=True,
    ),
    _kind(
        r"^the picture looks mirrored",
        f"Left and right may be exchanged, or the heart lies on the right. {_SIDES} The film was"
        " not turned round.",
        is_doubt=True,
    ),
    # Who and how.
    _kind(
        r"^the patient is younger than",
        "The model was trained mostly on adults. In children heart, thymus and bones look"
        " different, so the findings are worth less.",
        is_doubt=True,
    ),
    _kind(
        r"^the patient's age is not said",
        "The sender's rules ask for a minimum age, and the film names neither an age nor a birth"
        " date. It was analysed.",
    ),
    _kind(
        r"^QualityControlImage is BOTH",
        "The film shows a test object beside the patient, which the model may take for a finding.",
    ),
    # Contradictions come before the single statements that they hold.
    _kind(
        r" says .+, but |front to back, but |several views, but ",
        "Two attributes of the header contradict each other. The first one decided; look at the"
        " film if it matters.",
    ),
    # Body part and view.
    _kind(
        r"^BodyPartExamined is absent$",
        "The header does not name the body part, as on many films. The picture itself was checked.",
    ),
    _kind(
        r"^BodyPartExamined .+ names no body part",
        "The header names the body part in a word that is not known here. It counts as not named;"
        " the picture itself was checked.",
    ),
    _kind(
        r": the model was made for upright and supine films$",
        "The film was taken with the patient lying on a side. Fluid and air lie elsewhere then, so"
        " the findings are worth less.",
        is_doubt=True,
    ),
    _kind(
        r"^view not named: ",
        "The header does not say if the film is frontal or lateral. The picture itself was"
        " checked.",
    ),
    _kind(
        r"^ViewPosition .+; ",
        "ViewPosition does not say the view; another attribute says that the film is frontal.",
    ),
    # How the film lies, and its pixels' shape.
    _kind(
        r"^PatientOrientation .+: taken as upright and not mirrored$",
        "The header does not say how the film lies. It counts as upright and not mirrored; the"
        " picture itself was checked.",
    ),
    _kind(
        r"^stored .+ by PatientOrientation",
        "The film is stored mirrored or on its side, as its header says. It was turned upright for"
        " the model; what is stored is unchanged.",
    ),
    _kind(
        r"pixels of .+ to 1 are not believed$",
        "The header says that a pixel is far longer than wide, which no film has. The pixels count"
        " as square.",
    ),
    _kind(
        r"pixels are not square",
        "A pixel of this film is longer than wide. The film was stretched to its true shape for the"
        " model.",
    ),
    _kind(
        r"^PixelSpacing is absent or unusable$",
        "The header does not say how large a pixel is, so lengths cannot be measured. The findings"
        " do not need it.",
    ),
    _kind(
        r"^low resolution$",
        "The film has less than 512 pixels a side, so that small findings, such as nodules, may be"
        " lost.",
        is_doubt=True,
    ),
    # Shutter and collimator.
    _kind(
        r" (cannot be followed|of the image) and was ignored$",
        "The header's frame around the film cannot be right, for example because it would hide"
        " nearly everything. The whole film was analysed.",
    ),
    _kind(
        r"^shutter or collimator: ",
        "The part outside the frame that the header names is black in the picture, and was not"
        " analysed.",
    ),
    # Grey scale.
    _kind(
        r"no other tone shows a picture$",
        "The pixels hold hardly any differences of grey, so that no way of showing them makes a"
        " picture.",
        is_doubt=True,
    ),
    _kind(
        r"scaled by the largest entry$",
        "The table that turns pixels into grey says more bits than it uses, which would show the"
        " film dark. It was scaled to its brightest value.",
    ),
    _kind(r"^(by|as) .+: ignored$", _GREY_SCALE),
    _kind(r"^shown (by|as) ", _GREY_SCALE),
    _kind(r"the Modality LUT(, which covers| makes nearly all pixels) .+: ignored$", _GREY_SCALE),
    _kind(
        r"^no window or VOI LUT: ",
        "The header names no brightness and contrast. The film was shown from its darkest to its"
        " brightest pixel.",
    ),
    _kind(
        r"^RescaleSlope or RescaleIntercept is unusable",
        "The header's conversion of pixel values cannot be used and was left out.",
    ),
    _kind(
        r"^the window is unusable",
        "The header's brightness and contrast cannot be used. The film was shown by the values of"
        " its pixels.",
    ),
    _kind(
        r"^VOILUTFunction .+ is unknown",
        "The header names a curve for brightness and contrast that the standard does not have. A"
        " straight line was used.",
    ),
    _kind(
        r"^MONOCHROME2 with PresentationLUTShape INVERSE",
        "Two attributes say differently what is black. The film was shown inverted once, as the"
        " second one means it.",
    ),
    _kind(
        r" image shown by its luma$",
        "The film is stored in colour and shows grey. Its brightness was analysed.",
    ),
    # Numbers of the pixels.
    _kind(r"^PixelRepresentation says signed", _BITS),
    _kind(r"^BitsStored is .+: all bits are read$", _BITS),
    _kind(r"^HighBit is .+(: read there|HighBit is taken as .+)$", _BITS),
    _kind(
        r"^the compressed image has .+ bits per sample",
        "The compressed picture has fewer grey levels than the header says. It was read as it is.",
    ),
    _kind(
        r"^PlanarConfiguration is ",
        "The header does not say, or says wrongly, how the colours are stored. The usual order was"
        " taken.",
    ),
    # Damage.
    _kind(r"^the compressed image has no end marker", _READ_ALL_THE_SAME),
    _kind(r"sequence delimiter", _READ_ALL_THE_SAME),
    _kind(r"^the last fragment of the pixel data is shorter", _READ_ALL_THE_SAME),
    _kind(r" not DICOM: ignored$", _READ_ALL_THE_SAME),
    _kind(
        r"^the decoder warned about the pixel data$",
        "The decoder of the picture found something unusual. Look at the film: is it whole?",
        is_doubt=True,
    ),
    # The least special pattern.
    _kind(
        r"^\w+ (names several views|says .+)$|^PatientOrientation runs from front to back$",
        "An attribute hints at a view without settling it. The picture itself was checked.",
    ),
)
"""The kinds of notes; the first whose pattern is found counts."""
