"""The media types that a caller accepts, and the transfer syntaxes among them (PS3.18 8.7)."""

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from dicom_io.dicomweb.multipart import DICOM_FILE, DICOM_JSON, RELATED, MediaType, media_type

EXPLICIT = "1.2.840.10008.1.2.1"
"""Explicit VR Little Endian: the transfer syntax of a caller that names none (PS3.18 8.7.3.5.2)."""
ANY = "*"
_MOST_CHOICES = 50
_ITEMS = re.compile(r'(?:[^,"]|"(?:[^"\\]|\\.)*")+')
_JSON = frozenset({DICOM_JSON, "application/json", "application/*", "*/*"})


@dataclass(frozen=True, slots=True)
class Wanted:
    """The form in which a caller wants DICOM files.

    `syntaxes` are transfer syntaxes, ANY among them for any. `is_single` is True if the caller
    wants the file itself, not a multipart body with it.
    """

    syntaxes: frozenset[str]
    is_single: bool = False


def choices(accept: str) -> tuple[MediaType, ...]:
    """Return the media types of an Accept header, the preferred first; `*/*` for an empty one."""
    found = [media_type(text.strip()) for text in _ITEMS.findall(accept)[:_MOST_CHOICES]]
    usable = [one for one in found if one.name and _quality(one) > 0]
    if not found:
        usable = [media_type("*/*")]
    return tuple(sorted(usable, key=_quality, reverse=True))


def takes_json(accept: str) -> bool:
    """Return True if a caller takes DICOM JSON, which old callers name application/json."""
    return any(one.name in _JSON for one in choices(accept))


def wanted_files(accept: str, *, one_instance: bool) -> Wanted | None:
    """Return the form of DICOM files that a caller wants; None if it wants none.

    A single part is for `one_instance` only.
    """
    syntaxes: set[str] = set()
    is_single: bool | None = None
    for choice in choices(accept):
        single = choice.name == DICOM_FILE and one_instance
        if not single and not _is_multipart_of(choice, (DICOM_FILE,)):
            continue
        is_single = single if is_single is None else is_single
        if is_single == single:
            syntaxes.add(_syntax(choice))
    return None if is_single is None else Wanted(frozenset(syntaxes), is_single)


def wanted_bytes(accept: str, types: Iterable[str]) -> str | None:
    """Return the first of these media types that a caller accepts within a multipart body."""
    for choice in choices(accept):
        for one in types:
            if _is_multipart_of(choice, (one,)):
                return one
    return None


def wanted_picture(accept: str, types: Sequence[str]) -> str | None:
    """Return the first of these picture types that a caller accepts."""
    for choice in choices(accept):
        for one in types:
            if choice.name in (one, "image/*", "*/*"):
                return one
    return None


def _is_multipart_of(choice: MediaType, types: Sequence[str]) -> bool:
    if choice.name in ("*/*", "multipart/*"):
        return True
    asked = choice.parameters.get("type", types[0]).lower()
    return choice.name == RELATED and (asked in types or asked == "*/*")


def _syntax(choice: MediaType) -> str:
    if choice.name == "*/*":
        return choice.parameters.get("transfer-syntax", ANY)
    return choice.parameters.get("transfer-syntax", EXPLICIT)


def _quality(choice: MediaType) -> float:
    try:
        return min(max(float(choice.parameters.get("q", "1")), 0.0), 1.0)
    except ValueError:
        return 0.0
