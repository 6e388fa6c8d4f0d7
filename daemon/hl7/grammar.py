"""The encoding of HL7 v2 messages: delimiters, escapes, segments (HL7 v2.5.1, 2.5 to 2.7).

A message is made with the delimiters of `DEFAULT`; a received one names its own in MSH-1 and MSH-2.
Both directions work on text: `charsets` turns it into bytes and back.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Self

from daemon.errors import Hl7Error

SEGMENT_END = "\r"
MOST_SEGMENTS = 2000
"""Segments of a received message; a patient update or a merge has about ten."""

_NAME = re.compile(r"[A-Z][A-Z0-9]{2}")
_HEX = re.compile(r"X((?:[0-9A-Fa-f]{2})+)")
_LINE_BREAKS = re.compile(r"\r\n|\r|\n")
_CONTROL = re.compile(r"[\x00-\x1f\x7f\u0085\u2028\u2029]")
_LINE_BREAK = "\\.br\\"


@dataclass(frozen=True, slots=True)
class Delimiters:
    """The separators of a message (HL7 v2.5.1, 2.5.4): MSH-1, then MSH-2 in its order."""

    field: str = "|"
    component: str = "^"
    repetition: str = "~"
    escape: str = "\\"
    subcomponent: str = "&"

    @classmethod
    def of(cls, message: str) -> Self:
        """Return the delimiters that a message names. Raises Hl7Error if it has no usable MSH."""
        if not message.startswith("MSH") or len(message) < 8:
            raise Hl7Error("the message does not begin with an MSH segment")
        field = message[3]
        encoding, _, _ = message[4:].partition(field)
        # A message without subcomponents may leave out the last delimiters (2.5.4).
        named = field + encoding[:4] + "^~\\&"[len(encoding) :]
        unusable = [one for one in named if one.isalnum() or one.isspace()]
        if len(set(named)) != len(named) or unusable or len(encoding) < 1:
            raise Hl7Error("MSH-1 and MSH-2 do not name five different delimiters")
        return cls(*named)


DEFAULT = Delimiters()
_ESCAPES = str.maketrans(
    {
        DEFAULT.field: "\\F\\",
        DEFAULT.component: "\\S\\",
        DEFAULT.repetition: "\\R\\",
        DEFAULT.escape: "\\E\\",
        DEFAULT.subcomponent: "\\T\\",
    }
)


def escaped(text: str) -> str:
    """Return a text with its delimiters escaped, its line breaks as `.br`, no control character."""
    lines = _LINE_BREAKS.split(text)
    return _LINE_BREAK.join(_CONTROL.sub(" ", line).translate(_ESCAPES) for line in lines)


def components(*texts: str) -> str:
    """Return a field of these components, escaped, without empty ones at its end."""
    return "^".join(escaped(text) for text in texts).rstrip("^")


def subcomponents(*texts: str) -> str:
    """Return a component of these subcomponents, escaped, without empty ones at its end."""
    return "&".join(escaped(text) for text in texts).rstrip("&")


def segment(name: str, fields: Mapping[int, str]) -> str:
    """Return a segment of fields that are encoded already, by their numbers from 1.

    MSH-1 and MSH-2 are written by themselves.
    """
    last = max((number for number, field in fields.items() if field), default=0)
    values = [fields.get(number, "") for number in range(1, last + 1)]
    if name == "MSH":
        values = ["^~\\&", *values[2:]]
    return "|".join((name, *values))


def message(segments: list[str]) -> str:
    """Return the segments as a message; each ends with a carriage return (2.6)."""
    return "".join(one + SEGMENT_END for one in segments)


@dataclass(frozen=True, slots=True)
class Field:
    """One repetition of a field of a received message, still encoded."""

    encoded: str
    delimiters: Delimiters

    def value(self, component: int = 1, subcomponent: int = 1) -> str:
        """Return the text of a subcomponent, numbered from 1; empty if it is absent.

        The null value `""`, which deletes a value (2.5.3), is returned as it is.
        """
        found = _part(self.encoded, self.delimiters.component, component)
        return unescaped(_part(found, self.delimiters.subcomponent, subcomponent), self.delimiters)


@dataclass(frozen=True, slots=True)
class Segment:
    """A segment of a received message. `number` counts the segments of its name from 1."""

    name: str
    number: int
    fields: tuple[str, ...]
    delimiters: Delimiters

    def encoded(self, number: int) -> str:
        """Return a field as it was sent; empty if it is absent."""
        return self.fields[number - 1] if number <= len(self.fields) else ""

    def repetitions(self, number: int) -> tuple[Field, ...]:
        """Return the repetitions of a field that are not empty."""
        parts = self.encoded(number).split(self.delimiters.repetition)
        return tuple(Field(part, self.delimiters) for part in parts if part)

    def value(self, number: int, component: int = 1, subcomponent: int = 1) -> str:
        """Return the text of the first repetition of a field; empty if it is absent."""
        first = _part(self.encoded(number), self.delimiters.repetition, 1)
        return Field(first, self.delimiters).value(component, subcomponent)


@dataclass(frozen=True, slots=True)
class Message:
    """A received message. The first of its segments is MSH."""

    segments: tuple[Segment, ...]

    @classmethod
    def parsed(cls, text: str) -> Self:
        """Return a message from its text. Raises Hl7Error if it is not one."""
        delimiters = Delimiters.of(text)
        lines = [line for line in _LINE_BREAKS.split(text) if line]
        if len(lines) > MOST_SEGMENTS:
            raise Hl7Error(f"the message has more than {MOST_SEGMENTS} segments")
        counts: dict[str, int] = {}
        segments = []
        for position, line in enumerate(lines, 1):
            name, *fields = line.split(delimiters.field)
            if not _NAME.fullmatch(name):
                raise Hl7Error(f"segment {position} of the message has no name")
            if name == "MSH":
                fields = [delimiters.field, *fields]
            counts[name] = counts.get(name, 0) + 1
            segments.append(Segment(name, counts[name], tuple(fields), delimiters))
        return cls(tuple(segments))

    @property
    def header(self) -> Segment:
        """The MSH segment."""
        return self.segments[0]

    def first(self, name: str) -> Segment | None:
        """Return the first segment of a name, None without one."""
        return next((one for one in self.segments if one.name == name), None)


def unescaped(text: str, delimiters: Delimiters) -> str:
    """Return a text without its escapes; what an unknown escape stands for is left out.

    `Xhh` stands for characters of ISO 8859-1; other uses of it are a matter of the site (2.7.6).
    """
    if delimiters.escape not in text:
        return text
    parts = text.split(delimiters.escape)
    # An odd number of escape characters: the last one stands for itself.
    tail = delimiters.escape + parts.pop() if len(parts) % 2 == 0 else ""
    plain = [
        part if index % 2 == 0 else _meaning(part, delimiters) for index, part in enumerate(parts)
    ]
    return "".join(plain) + tail


def _meaning(sequence: str, delimiters: Delimiters) -> str:
    known = {
        "F": delimiters.field,
        "S": delimiters.component,
        "T": delimiters.subcomponent,
        "R": delimiters.repetition,
        "E": delimiters.escape,
        ".br": "\n",
    }
    if sequence in known:
        return known[sequence]
    found = _HEX.fullmatch(sequence)
    return bytes.fromhex(found[1]).decode("latin-1") if found else ""


def _part(text: str, separator: str, number: int) -> str:
    parts = text.split(separator, number)
    return parts[number - 1] if number <= len(parts) else ""
