"""The check of the picture itself: refuses what is no frontal chest film, and puts films right.

Header and file name say how a film should look; only the picture says how it looks. A turned or
inverted picture is put right where the picture is certain, and looks right afterwards. A mirrored
one is only noted, because the heart of some patients lies on the right.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Protocol

from cxr_model.check.appearance import Appearance, View
from daemon.analyse.reader.film import GreyImage, Refusal
from daemon.analyse.reader.gate_and_decode import DecodedFilm
from dicom_io.gate.reasons import Reason
from dicom_io.gate.rules import PictureRule

_ROUNDS = 2
"""Steps by which a picture is put right: its polarity may show only when it is upright."""

_QUARTERS = (90, 180, 270)
_TURNED = "the picture is turned by {} degrees clockwise"
_INVERTED = "the picture is inverted, bone dark and air bright: read with bright bone"

_REASONS = {View.LATERAL: Reason.LATERAL_VIEW, View.OTHER: Reason.NOT_A_FRONTAL_CHEST}
_NAMES = {View.LATERAL: "a lateral film", View.OTHER: "something else"}


@dataclass(frozen=True, slots=True)
class PutRight:
    """The way in which a picture lay, by its notes: degrees clockwise, and its polarity."""

    turned: int = 0
    inverted: bool = False

    @classmethod
    def by(cls, notes: Sequence[str]) -> "PutRight":
        """Return what `check_picture` put right of a film with these notes."""
        degrees = [
            turned
            for turned in _QUARTERS
            if any(note.startswith(_TURNED.format(turned)) for note in notes)
        ]
        return cls(degrees[0] if degrees else 0, _INVERTED in notes)


class Examiner(Protocol):
    """Judges a picture; `cxr_model.check.picture_check.PictureCheck` in service."""

    def examine(self, image: GreyImage) -> Appearance:
        """Return the view of a display-true image (rows, cols), and how it is shown."""


def check_picture(
    film: DecodedFilm, examiner: Examiner, rule: PictureRule
) -> DecodedFilm | Refusal:
    """Return the film, put right where needed and with notes, or its refusal by the rule."""
    if rule is PictureRule.OFF:
        return film
    first = _examine(film, examiner)
    better, now = _put_right(film, first, examiner)
    if now.view is not View.FRONTAL:
        return _not_frontal(film, now, rule)
    if now.turned or now.inverted:
        # The picture does not look right after the steps either, so none of them is kept.
        if first.view is not View.FRONTAL:
            return _not_frontal(film, first, rule)
        notes = _doubts(first)
        better, now = film, first
    else:
        notes = _changes(film, better)
    if now.mirrored:
        notes.append(
            f"the picture looks mirrored{_placed(film)}: left and right may be exchanged, "
            "see the markers on the film"
        )
    return replace(better, notes=(*film.notes, *notes))


def _examine(film: DecodedFilm, examiner: Examiner) -> Appearance:
    return examiner.examine(film.pose.to_display(film.pixels))


def _put_right(
    film: DecodedFilm, seen: Appearance, examiner: Examiner
) -> tuple[DecodedFilm, Appearance]:
    """Undo what the picture is certain of. Returns the film and its appearance then."""
    for _ in range(_ROUNDS):
        degrees = seen.turned if seen.turned_certain else 0
        is_inverted = seen.inverted and seen.inverted_certain
        if not degrees and not is_inverted:
            break
        film = replace(film, pose=film.pose.turned_back(degrees))
        if is_inverted:
            film = _inverted(film)
        seen = _examine(film, examiner)
    return film, seen


def _inverted(film: DecodedFilm) -> DecodedFilm:
    pixels = 255 - film.pixels
    hidden = film.hidden()
    if hidden is not None:
        pixels[hidden] = 0
    return replace(film, pixels=pixels, tone=replace(film.tone, inverted=not film.tone.inverted))


def _changes(film: DecodedFilm, better: DecodedFilm) -> list[str]:
    """Return the notes on a film that was put right."""
    notes = []
    for degrees in _QUARTERS:
        if better.pose == film.pose.turned_back(degrees):
            notes.append(f"{_TURNED.format(degrees)}{_placed(film)}: read upright")
    if better.tone != film.tone:
        notes.append(_INVERTED)
    return notes


def _doubts(seen: Appearance) -> list[str]:
    """Return the notes on a film that is analysed as it is, although it may not be right."""
    notes = []
    if seen.turned:
        notes.append(
            f"the picture may be turned by {seen.turned} degrees clockwise: not turned back"
        )
    if seen.inverted:
        notes.append("the picture may be inverted: is its polarity right?")
    return notes


def _placed(film: DecodedFilm) -> str:
    return " after PatientOrientation was applied" if film.pose.is_turned else ""


def _not_frontal(film: DecodedFilm, seen: Appearance, rule: PictureRule) -> DecodedFilm | Refusal:
    # The probability can be small: a frontal chest film has to be more than the likeliest view.
    shown = (
        "not surely a frontal chest film, but "
        f"{_NAMES[seen.view]} with probability {seen.view_probability:.2f}"
    )
    if rule is PictureRule.NOTE:
        return replace(
            film, notes=(*film.notes, f"the picture is {shown}: its findings may mean nothing")
        )
    detail = (
        f"decided by the picture, not by a header: {shown}; to analyse it with a note, set "
        "rules.picture_check: note and send it again (cxrd analyse: --picture-check note)"
    )
    return Refusal(_REASONS[seen.view], detail, film.notes)
