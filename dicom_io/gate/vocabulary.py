"""Finds the words of a table in a text of a header, whatever its case, accents and punctuation.

A text is read from left to right. At each place the longest entry counts, so each stretch of the
text has one meaning: "thoracic spine" names the spine and not the chest.
"""

import re
import unicodedata
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from enum import Enum
from typing import Generic, TypeVar

_Meaning = TypeVar("_Meaning", bound=Enum)

Table = Mapping[str, str]
"""Entries by language, separated by commas; `*` at the end of an entry means any ending."""

_UNDECOMPOSED = str.maketrans(
    {"ø": "o", "Ø": "O", "ł": "l", "Ł": "L", "đ": "d", "Đ": "D", "ı": "i", "\ufffd": "?"}
    | {"æ": "ae", "Æ": "AE", "œ": "oe", "Œ": "OE"}
)
_SPELT_OUT = str.maketrans({"ä": "ae", "ö": "oe", "ü": "ue", "ø": "oe", "å": "aa"})

# Scripts without spaces between words: kana, Han, Hangul.
_UNSPACED = r"\u3040-\u30ff\u3400-\u9fff\uac00-\ud7af\uf900-\ufaff"
_LETTERS = rf"(?:(?![{_UNSPACED}])[^\W\d_])+"
# A question mark stands for a letter that a system could not write, or for a question.
_TOKEN = re.compile(rf"[{_UNSPACED}]+|\??{_LETTERS}(?:\?{_LETTERS})*\??")

# The end of a word within "ThoraxLat".
_HUMP = re.compile(r"(?<=[a-z]{3})(?=[A-Z]{2}|[A-Z][a-z])")
_INITIALS = re.compile(r"(?<!\w)(?:P[ ./→-]+A|A[ ./→-]+P|L[ ./-]+L|R→L|L→R|A\.I|D\.V|V\.D)(?!\w)")
_CHESTS = "CHEST|THORAX|TORAX|TORACE|CXR|THX"
_VIEWS = "PA|AP|LAT|LATERAL|LL|RL|OBL|PROFIL|PERFIL"
_CHEST_WITH_VIEW = re.compile(
    rf"(?<![^\W_])(?:({_CHESTS})({_VIEWS})|({_VIEWS})({_CHESTS}))(?![^\W_])"
)

_LEAST_JOINED = 6
_LEAST_LEGIBLE = 3


@dataclass(frozen=True, slots=True)
class Found(Generic[_Meaning]):
    """A word of a text with its meaning; `word` has folded letters and no more of the text."""

    meaning: _Meaning
    word: str


class Vocabulary(Generic[_Meaning]):
    """Words of several meanings, to be found in texts."""

    def __init__(self, tables: Mapping[_Meaning, Sequence[Table]]) -> None:
        """Read the tables. An entry that stands under two meanings has the first."""
        self._entries: dict[str, _Meaning] = {}
        self._stems: dict[str, _Meaning] = {}
        for meaning, sources in tables.items():
            for entry in ",".join(part for table in sources for part in table.values()).split(","):
                known = self._stems if entry.rstrip().endswith("*") else self._entries
                for form in _forms(entry.strip(" *")):
                    known.setdefault(form, meaning)
        self._longest = max(len(form.split()) for form in (*self._entries, *self._stems))

    def find(self, text: str) -> list[Found[_Meaning]]:
        """Return the known words of a text, from left to right."""
        words = list(self._words(text))
        found: list[Found[_Meaning]] = []
        place = 0
        while place < len(words):
            length, meaning = self._match(words[place : place + self._longest])
            if meaning is not None:
                found.append(Found(meaning, " ".join(words[place : place + length])))
            place += length
        return found

    def _words(self, text: str) -> Iterator[str]:
        for token in tokens(text):
            if token[0] > "\u3000" and not token.isspace():
                yield from self._segments(token)
            elif "?" in token and self._meaning(token) is None:
                yield from filter(None, token.split("?"))
            else:
                yield token

    def _segments(self, token: str) -> Iterator[str]:
        """Yield the known words of a text without spaces."""
        place = 0
        while place < len(token):
            end = next(
                (end for end in range(len(token), place, -1) if token[place:end] in self._entries),
                place + 1,
            )
            yield token[place:end]
            place = end

    def _match(self, words: list[str]) -> tuple[int, _Meaning | None]:
        """Return the number of words of the longest entry at the start, and its meaning."""
        for length in range(len(words), 0, -1):
            meaning = self._meaning(" ".join(words[:length]))
            joined = "".join(words[:length])
            if meaning is None and len(joined) >= _LEAST_JOINED:
                meaning = self._entries.get(joined)
            if meaning is not None:
                return length, meaning
        return 1, None

    def _meaning(self, phrase: str) -> _Meaning | None:
        if phrase in self._entries:
            return self._entries[phrase]
        # A stem has as many words as the phrase.
        shortest = phrase.rfind(" ") + 2
        stems = (phrase[:end] for end in range(len(phrase), shortest - 1, -1))
        return next((self._stems[stem] for stem in stems if stem in self._stems), None)


def tokens(text: str) -> list[str]:
    """Return the words of a text in capitals, without accents, punctuation and digits.

    A question mark within a word stands for one or more letters that a system could not write.
    """
    folded = _folded(_HUMP.sub(" ", _repaired(text)))
    folded = _INITIALS.sub(lambda match: re.sub(r"\W", "", match[0]), folded)
    folded = _CHEST_WITH_VIEW.sub(lambda match: " ".join(filter(None, match.groups())), folded)
    return _TOKEN.findall(folded)


def _folded(text: str) -> str:
    """Return a text in capitals, with full-width forms and accents folded (Unicode NFKD)."""
    plain = unicodedata.normalize("NFKD", text.translate(_UNDECOMPOSED))
    bare = "".join(letter for letter in plain if unicodedata.category(letter) != "Mn")
    return re.sub(r"\?+", "?", unicodedata.normalize("NFC", bare).upper())


def _repaired(text: str) -> str:
    """Undo the reading of UTF-8 as Latin-1, as in "TÃ“RAX"."""
    if text.isascii():
        return text
    for wrong in ("latin-1", "cp1252"):
        try:
            return text.encode(wrong).decode("utf-8")
        except UnicodeError:
            continue
    return text


def _forms(entry: str) -> set[str]:
    """Return the spellings of an entry: umlauts spelt out, letters lost, spaces left out."""
    spellings = {entry, entry.translate(_SPELT_OUT)}
    garbled = "".join(letter if letter.isascii() else "?" for letter in entry)
    legible = sum(letter.isalpha() for letter in garbled)
    if "?" in garbled and legible >= _LEAST_LEGIBLE:
        spellings.add(garbled)
    phrases = [tokens(spelling) for spelling in spellings]
    joined = {"".join(words) for words in phrases}
    return {" ".join(words) for words in phrases if words} | {
        word for word in joined if len(word) >= _LEAST_JOINED
    }
