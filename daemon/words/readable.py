"""Text of peers made readable: names of patients, and characters that do not show.

A header can hold any text. A control character, a mark that turns the direction of writing or a
heap of accents could hide or reorder what stands beside it on a page.
"""

import unicodedata
from dataclasses import dataclass

MOST_SHOWN = 200
"""Characters of a text that a page shows."""

_CONTROL_PICTURES = 0x2400
_DELETE, _DELETE_PICTURE = 0x7F, "\u2421"
# Joiners that scripts of Asia need within a word.
_NEEDED = frozenset("\u200c\u200d")
_NOT_SHOWN = frozenset({"Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp"})
_MARKS = frozenset({"Mn", "Me"})
_MOST_MARKS = 3
_BLANKS = frozenset({"\u115f", "\u1160", "\u3164", "\uffa0", "\u2800"})


def readable(text: str, most: int = MOST_SHOWN) -> str:
    """Return a text with each character that does not show replaced by a visible sign.

    C0 controls become their pictures (`␛`), others their code point (`⟨U+202E⟩`). Of many accents
    on one letter some remain. A text longer than `most` is cut and ends with `…`.
    """
    end = "…" if len(text) > most else ""
    text = text[:most]
    if text.isascii() and text.isprintable():
        return text + end
    shown: list[str] = []
    marks = 0
    for character in text:
        category = unicodedata.category(character)
        marks = marks + 1 if category in _MARKS else 0
        if marks > _MOST_MARKS:
            continue
        is_hidden = category in _NOT_SHOWN and character not in _NEEDED
        shown.append(_sign(character) if is_hidden or character in _BLANKS else character)
    return "".join(shown) + end


def _sign(character: str) -> str:
    code = ord(character)
    if code < 0x20:
        return chr(_CONTROL_PICTURES + code)
    return _DELETE_PICTURE if code == _DELETE else f"⟨U+{code:04X}⟩"


@dataclass(frozen=True, slots=True)
class PersonName:
    """A name for people: the main writing, and the other writings of the same name."""

    main: str
    others: tuple[str, ...] = ()

    def __str__(self) -> str:
        return f"{self.main} ({'; '.join(self.others)})" if self.others else self.main


_GROUPS = 3
_COMPONENTS = 5


def person_name(value: str) -> PersonName:
    """Return the name of a PN value (PS3.5 6.2.1): `Family, Given Middle`, alphabetic group first.

    A prefix and a suffix stand behind the name. A value that is no such name, for example one of
    many components, is shown as it is, with spaces between its parts.
    """
    groups = [_written(group) for group in value.split("=", _GROUPS - 1)]
    named = [group for group in groups if group]
    return PersonName(named[0], tuple(dict.fromkeys(named[1:]))) if named else PersonName("")


def _written(group: str) -> str:
    parts = group.split("^")
    if len(parts) > _COMPONENTS:
        return " ".join(" ".join(parts).split())
    family, given, middle, prefix, suffix = (
        " ".join(part.split()) for part in (*parts, *[""] * (_COMPONENTS - len(parts)))
    )
    first = " ".join(filter(None, (given, middle)))
    titles = ", ".join(filter(None, (prefix, suffix)))
    name = ", ".join(filter(None, (family, first)))
    return f"{name}, {titles}" if name and titles else name or titles
