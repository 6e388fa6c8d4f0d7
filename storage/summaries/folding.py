"""Text as the search compares it: without case, accents and the separators of a name."""

import re
import unicodedata

SEPARATOR = "\n"
"""Between the values of several films, and in no value itself."""

_NAME_SEPARATORS = re.compile(r"[\^=,\s]+")


def folded(text: str) -> str:
    """Return a text without case, accents and white space at its ends: `MÜLLER` as `muller`.

    Both databases compare the result byte by byte. Neither SQLite nor a server in the C locale
    folds other letters than ASCII itself.
    """
    letters = unicodedata.normalize("NFKD", text.casefold())
    plain = "".join(letter for letter in letters if not unicodedata.combining(letter))
    return " ".join(plain.casefold().split())


def folded_name(name: str) -> str:
    """Return a person name (PN) folded, its components as words."""
    return " ".join(words_of_name(name))


def words_of_name(name: str) -> list[str]:
    """Return the folded words of a name, however a person writes it: `Müller, Jörg`."""
    return [word for part in _NAME_SEPARATORS.split(name) if (word := folded(part))]
