"""One patient or two: the comparison of the identities in two headers.

A value that is absent, or that stands for an unknown one, matches any value.
"""

import itertools
import re
import unicodedata
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TypeVar

# Compared without case, accents, spaces and punctuation.
_PLACEHOLDERS = frozenset(
    {
        "anon",
        "anonym",
        "anonymised",
        "anonymized",
        "anonymous",
        "bilinmiyor",
        "desconhecido",
        "desconocido",
        "empty",
        "ignoto",
        "inconnu",
        "inconnue",
        "ismeretlen",
        "missing",
        "na",
        "necunoscut",
        "neznamy",
        "nieznany",
        "nil",
        "nn",
        "noid",
        "noname",
        "none",
        "nopatientid",
        "nopid",
        "notavailable",
        "notgiven",
        "notknown",
        "notprovided",
        "notspecified",
        "null",
        "okand",
        "onbekend",
        "sconosciuto",
        "tbd",
        "tuntematon",
        "ukendt",
        "ukjent",
        "unassigned",
        "unbekannt",
        "undefined",
        "unidentified",
        "unk",
        "unknown",
        "unknownpatient",
        "unknownunknown",
        "unspecified",
        "неизвестен",
        "неизвестно",
        "неизвестныи",
        "不明",
        "不详",
        "미상",
    }
)
_ALL_ZEROS_OR_X = re.compile(r"0+|x{3,}")
_UNKNOWN_DATES = frozenset({"19000101", "00010101", "11111111"})
_DIGITS_OF_DATES = (4, 6, 8)
# Accents of Latin, Greek and Cyrillic letters. The marks of kana tell letters apart and stay.
_ACCENTS = re.compile("[\u0300-\u036f]")
_NAME_PARTS = 3
"""Family name, given name and middle name; prefix and suffix (PS3.5 6.2.1.1) are not compared."""
_Item = TypeVar("_Item")


@dataclass(frozen=True, slots=True)
class Patient:
    """The identity of a patient as a header gives it; an absent value is an empty string.

    `name` is a Person Name with its groups and components (PS3.5 6.2.1).
    """

    patient_id: str
    issuer: str = ""
    name: str = ""
    birth_date: str = ""
    sex: str = ""


def is_placeholder(patient_id: str) -> bool:
    """Return True if a Patient ID is absent or stands for an unknown one."""
    return not _known(patient_id)


def is_same_patient(one: Patient, other: Patient) -> bool:
    """Return True unless the two identities are of different patients.

    Two known Patient IDs decide, with their issuers and the birth dates. Otherwise name, birth date
    and sex decide.
    """
    if not _agree(_date(one.birth_date), _date(other.birth_date)):
        return False
    ids = _known(one.patient_id), _known(other.patient_id)
    if all(ids):
        return ids[0] == ids[1] and _equal_or_absent(_known(one.issuer), _known(other.issuer))
    return _is_same_name(one.name, other.name) and _equal_or_absent(_sex(one.sex), _sex(other.sex))


def agree_in_name(one: str, other: str) -> bool:
    """Return True unless two names are of different persons; an absent name matches any."""
    return _is_same_name(one, other)


def agree_in_date(one: str, other: str) -> bool:
    """Return True if one birth date lies in the other, or one is absent."""
    return _agree(_date(one), _date(other))


def says_same_name(one: str, other: str) -> bool:
    """Return True if two names differ at most in case, accents, punctuation, prefix and suffix.

    An absent name says something else than a name. Groups that one of them lacks do not count.
    """
    groups = [(_words(first), _words(second)) for first, second in _groups(one, other)]
    if not any(words for pair in groups for words in pair):
        return True
    shared = [pair for pair in groups if all(pair)]
    return bool(shared) and all(first == second for first, second in shared)


def says_same_date(one: str, other: str) -> bool:
    """Return True if two birth dates have the same digits, or both name no date."""
    return _date(one) == _date(other)


def says_same_sex(one: str, other: str) -> bool:
    """Return True if two values of the sex are the same, or both name none."""
    return _sex(one) == _sex(other)


def by_patient(items: Sequence[tuple[Patient, _Item]]) -> list[list[_Item]]:
    """Return the items in groups: the members of a group all match each other."""
    of_identity: dict[Patient, list[_Item]] = {}
    for patient, item in items:
        of_identity.setdefault(patient, []).append(item)
    groups: list[list[Patient]] = []
    for patient in of_identity:
        for group in groups:
            if all(is_same_patient(patient, member) for member in group):
                group.append(patient)
                break
        else:
            groups.append([patient])
    return [[item for patient in group for item in of_identity[patient]] for group in groups]


def _known(value: str) -> str:
    """Return the value without surrounding spaces; empty if it stands for an unknown one."""
    trimmed = value.strip(" \0\t\r\n")
    word = "".join(char for char in _folded(trimmed) if char.isalnum())
    if not word or word in _PLACEHOLDERS or _ALL_ZEROS_OR_X.fullmatch(word):
        return ""
    return trimmed


def _sex(value: str) -> str:
    letter = value.strip().upper()[:1]
    return letter if letter in ("M", "F", "O") else ""


def _date(value: str) -> str:
    """Return the digits of a date: a year, a month or a day; empty if it names none of them."""
    digits = re.sub(r"[^0-9]", "", value)
    if len(digits) not in _DIGITS_OF_DATES or not digits.strip("0") or digits in _UNKNOWN_DATES:
        return ""
    return digits


def _agree(one: str, other: str) -> bool:
    """Return True if one date lies in the other, or one is absent."""
    return one.startswith(other) or other.startswith(one)


def _equal_or_absent(one: str, other: str) -> bool:
    return not one or not other or one == other


def _is_same_name(one: str, other: str) -> bool:
    """Return True if the names agree in a group that both have, or share no group.

    The groups are alphabetic, ideographic and phonetic.
    """
    shared = [
        (first, second)
        for first, second in zip(one.split("="), other.split("="), strict=False)
        if _known(first) and _known(second)
    ]
    return not shared or any(_is_same_group(first, second) for first, second in shared)


def _is_same_group(one: str, other: str) -> bool:
    first, second = _words(one), _words(other)
    if "^" not in one or "^" not in other:
        # Without carets it is not known which word is the family name.
        return Counter(first) == Counter(second)
    shorter, longer = sorted((first, second), key=len)
    is_prefix = longer[: len(shorter)] == shorter
    # A middle name may be absent. A given name alone is no name.
    return is_prefix and (len(shorter) > 1 or len(longer) == len(shorter))


def _groups(one: str, other: str) -> Iterator[tuple[str, str]]:
    """Yield the alphabetic, ideographic and phonetic groups of two names in pairs."""
    return itertools.zip_longest(one.split("="), other.split("="), fillvalue="")


def _words(group: str) -> list[str]:
    """Return the words of family, given and middle name, without case, accents and punctuation."""
    parts = group.split("^")[:_NAME_PARTS]
    return re.sub(r"[\s,.;'’`-]+", " ", _folded(" ".join(parts))).split()


def _folded(text: str) -> str:
    """Return the text without case and accents."""
    plain = _ACCENTS.sub("", unicodedata.normalize("NFKD", text))
    return unicodedata.normalize("NFKC", plain).casefold()
