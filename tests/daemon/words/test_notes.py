import ast
import re
from collections.abc import Iterator

import pytest

from cxr_model.finding_text import NOT_CALIBRATED
from daemon.words.notes import KINDS, explained
from tests.tools.paths import ROOT

FOLDERS = ("dicom_io/gate", "dicom_io/read", "daemon/analyse")
PASS_ON = {"reasons.py", "rejection_note.py", "analyse_job.py", "film_file.py", "messages.py"}
"""Files that pass notes on, or name reasons, and have no note of their own."""

NO_NOTES = {
    "of the chest, or of the spine if the text names it",
    "no part or view",
    "AI (heatmap|summary) - research use only",
    "a pair of two energies",
    "bone or soft tissue",
    "bone or soft tissue, if the picture is one of two energies",
    "a result of AI",
    "a result of AI, if the object is a Secondary Capture",
    "a place or a film for animals",
    "PatientSexNeutered has a value",
    "ResponsiblePersonRole is OWNER",
    "0 names an animal",
    "BreedRegistrationSequence has a number",
    "SOP Class UID",
    "SOP Instance UID",
    "0 pixel data cannot be decoded: 0",
    "0; per finding (0)",
    ", not calibrated",
    "Software: cxrd 0",
    "location not validated",
    "0 neighbouring stored values are shown as one",
    "probability 0, threshold 0",
    "a lateral film",
    "decided by the picture, not by a header: 0; to analyse it with a note, set"
    " rules.picture_check: note and send it again (cxrd analyse: --picture-check note)",
}
"""Other texts of some words in the files of the notes."""

PARTS = {
    "0 is not known",
    "0, but 0",
    "0, 0: ignored",
    "WindowCenter 0 and WindowWidth 0",
    "byte after the pixel data is",
    "bytes after the pixel data are",
    "0 of the pixels are 0",
    "0 of the pixels lie outside the Modality LUT, which covers 0 to 0",
    "the Modality LUT makes nearly all pixels 0",
    "pixels from 0 to 0 differ by 0 of 255 grey levels",
    "0 of the pixels, those above BitsStored, do not differ",
    "the VOI LUT",
    "VOI LUT 0",
    "the range of 98% of the pixels",
    "0 entries of 0",
    "0 of the pixels lie beyond its 0",
    "black or white",
    "as 8-bit values are",
    "the smallest and the largest value",
    "by 0, 0 to 0",
    "by the smallest and the largest value",
    "is not usable",
    "not surely a frontal chest film, but 0 with probability 0",
    " after PatientOrientation was applied",
    "the picture is turned by {} degrees clockwise",
    "00: read upright",
}
"""Texts that the code joins to a note; `SAMPLES` has the notes."""

SAMPLES = [
    "BodyPartExamined says 'CHEST', but ProtocolName says 'LAT'",
    "PatientOrientation runs from front to back, but ViewPosition says 'PA'",
    "StudyDescription says 'lateral'",
    "SeriesDescription names several views",
    "ViewPosition is absent; SeriesDescription says 'PA'",
    "ViewPosition says 'LLD': the model was made for upright and supine films",
    "by WindowCenter 2048 and WindowWidth 4096, 96% of the pixels are white: ignored",
    "as 8-bit values are, pixels from 0 to 9 differ by 9 of 255 grey levels: ignored",
    "by the VOI LUT, 30% of the pixels lie beyond its 256 entries of 4096: ignored",
    "by VOI LUT 2, 12% of the pixels, those above BitsStored, do not differ: ignored",
    "20% of the pixels lie outside the Modality LUT, which covers 0 to 255: ignored",
    "the Modality LUT makes nearly all pixels 7: ignored",
    "shown by the smallest and the largest value, 0 to 65535",
    "shown by the range of 98% of the pixels, 10 to 900",
    "by the VOI LUT, 99% of the pixels are black, and no other tone shows a picture",
    "the VOI LUT says 16 bits and its largest entry is 4095: scaled by the largest entry",
    "no presentation state: the image is RGB, not greyscale",
    "no segmentation: ValueError",
    "low resolution",
    "the picture is turned by 90 degrees clockwise: read upright",
    "the picture looks mirrored after PatientOrientation was applied: left and right may be"
    " exchanged, see the markers on the film",
    "1 byte after the pixel data is not DICOM: ignored",
]
"""Notes that the code joins of parts, or of fewer than three words."""


def texts(tree: ast.AST) -> Iterator[tuple[ast.AST, str]]:
    """Yield the texts of a module, with 0 for each value that the code fills in."""
    for node in ast.walk(tree):
        if isinstance(node, ast.JoinedStr):
            parts = (part.value if isinstance(part, ast.Constant) else "0" for part in node.values)
            yield node, "".join(str(part) for part in parts)
        elif isinstance(node, ast.Constant) and isinstance(node.value, str):
            yield node, node.value


def left_out(tree: ast.AST) -> set[ast.AST]:
    """Return the nodes of docstrings, errors, logs and the reasons of refusals."""
    out: set[ast.AST] = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant):
            out.add(node.value)
        elif isinstance(node, ast.Raise) or (
            isinstance(node, ast.Call)
            and getattr(node.func, "attr", getattr(node.func, "id", ""))
            in {"Verdict", "Refusal", "error", "warning", "info", "Thread"}
        ):
            out.update(ast.walk(node))
        elif isinstance(node, ast.JoinedStr):
            out.update(part for part in node.values if isinstance(part, ast.Constant))
        elif (
            isinstance(node, ast.Tuple)
            and node.elts
            and isinstance(node.elts[0], ast.Attribute)
            and getattr(node.elts[0].value, "id", "") == "Reason"
        ):
            out.update(ast.walk(node))
    return out


def sentences() -> dict[str, str]:
    """Return every text of some words in the files of the notes, with the name of its file."""
    found = {}
    for path in (path for folder in FOLDERS for path in (ROOT / folder).rglob("*.py")):
        source = path.read_text(encoding="utf-8")
        if path.name in PASS_ON or not re.search(r"\bnotes\b|_notes?\b", source):
            continue
        tree = ast.parse(source)
        skipped = left_out(tree)
        for node, text in texts(tree):
            if node not in skipped and len(text.split()) >= 3 and not is_list_of_codes(text):
                found[text] = path.name
    return found


def is_list_of_codes(text: str) -> bool:
    return all(any(map(str.isdigit, word)) for word in text.split())


def test_every_note_of_the_code_is_explained() -> None:
    unexplained = {
        text: name
        for text, name in sentences().items()
        if text not in NO_NOTES | PARTS and not explained(text).explanation
    }
    assert unexplained == {}, "explain the note in daemon/words/notes.py"


def test_the_texts_of_this_test_are_in_the_code() -> None:
    assert (NO_NOTES | PARTS) - sentences().keys() == set()


@pytest.mark.parametrize("note", SAMPLES)
def test_a_note_of_several_parts_is_explained(note: str) -> None:
    assert explained(note).explanation


def test_every_kind_of_note_is_one_of_the_code() -> None:
    notes = [*sentences(), *SAMPLES, NOT_CALIBRATED]
    first = {next((k for k in KINDS if k.pattern.search(note)), None) for note in notes}
    assert [kind.pattern.pattern for kind in KINDS if kind not in first] == []


def test_a_note_of_another_version_is_shown_without_explanation() -> None:
    note = explained("some words that no version has")
    assert (note.text, note.explanation) == ("some words that no version has", "")


def test_a_doubtful_note_says_so() -> None:
    assert explained(NOT_CALIBRATED).is_doubt
    assert not explained("BodyPartExamined is absent").is_doubt
