"""Attributes of DICOM JSON objects (PS3.18 Annex F), read without trust in their form.

An object is what a JSON parser returns: attributes by their tag, eight upper case hexadecimal
digits. A malformed attribute counts as absent. XML (PS3.19 A.1) is read into the same form.
"""

import json
import re
from collections.abc import Mapping
from typing import Any
from xml.parsers import expat

from dicom_io.errors import DicomwebError

JsonObject = Mapping[str, Any]

_TAG = re.compile(r"[0-9A-Fa-f]{8}")
_DEEPEST = 24
_LARGEST = 2**31 - 1
"""The largest number of a column of the store; statuses and counts are smaller."""


def objects_of_json(body: bytes, where: str) -> list[JsonObject]:
    """Return the objects of a JSON text: those of its array, or its one. Raises DicomwebError."""
    if not body.strip():
        return []
    try:
        parsed = json.loads(body)
    except (ValueError, RecursionError):
        raise DicomwebError(
            f"{where} sent an answer that is not JSON or was cut short", retryable=True
        ) from None
    found = parsed if isinstance(parsed, list) else [parsed]
    if not all(isinstance(each, dict) for each in found):
        raise DicomwebError(f"{where} sent JSON that is not DICOM JSON", retryable=True)
    return found


def object_of_xml(body: bytes, where: str) -> JsonObject:
    """Return the object of a Native DICOM Model. Raises DicomwebError."""
    reader = _NativeModel()
    try:
        reader.parse(body)
    except (expat.ExpatError, ValueError):
        raise DicomwebError(
            f"{where} sent an answer that is not XML or was cut short", retryable=True
        ) from None
    return reader.root


def values_of(item: JsonObject, tag: str) -> list[Any]:
    """Return the values of an attribute, none if it is absent or malformed."""
    attribute = item.get(tag)
    values = attribute.get("Value") if isinstance(attribute, dict) else None
    return values if isinstance(values, list) else []


def text_of(item: JsonObject, tag: str) -> str:
    """Return the first value of an attribute as text, or an empty text."""
    values = values_of(item, tag)
    return values[0].strip(" \0") if values and isinstance(values[0], str) else ""


def number_of(item: JsonObject, tag: str) -> int | None:
    """Return the first value of an attribute as a whole number of 31 bits, or None."""
    values = values_of(item, tag)
    value = values[0] if values else None
    if isinstance(value, str) and value.strip().isdecimal() and len(value) < 12:
        value = int(value)
    if not isinstance(value, int) or isinstance(value, bool):
        return None
    return value if 0 <= value <= _LARGEST else None


def items_of(item: JsonObject, tag: str) -> list[JsonObject]:
    """Return the items of a sequence."""
    return [value for value in values_of(item, tag) if isinstance(value, dict)]


class _NativeModel:
    """Reads attributes, values and items; declarations of entities are refused."""

    def __init__(self) -> None:
        self.root: dict[str, Any] = {}
        self._items: list[dict[str, Any]] = [self.root]
        self._attributes: list[dict[str, Any]] = []
        self._text: list[str] | None = None
        self._parser = expat.ParserCreate()
        self._parser.StartElementHandler = self._start
        self._parser.EndElementHandler = self._end
        self._parser.CharacterDataHandler = self._characters
        self._parser.StartDoctypeDeclHandler = self._refuse

    def parse(self, body: bytes) -> None:
        self._parser.Parse(body, True)

    def _refuse(self, *_: Any) -> None:
        raise ValueError("a document type declaration")

    def _start(self, name: str, attributes: dict[str, str]) -> None:
        match name.rpartition(":")[2]:
            case "DicomAttribute":
                tag = attributes.get("tag", "")
                if not _TAG.fullmatch(tag) or len(self._items) > _DEEPEST:
                    raise ValueError("a malformed attribute")
                attribute = {"vr": attributes.get("vr", ""), "Value": []}
                self._items[-1][tag.upper()] = attribute
                self._attributes.append(attribute)
            case "Item" if self._attributes:
                item: dict[str, Any] = {}
                self._attributes[-1]["Value"].append(item)
                self._items.append(item)
            case "Value" if self._attributes:
                self._text = []

    def _end(self, name: str) -> None:
        match name.rpartition(":")[2]:
            case "DicomAttribute":
                self._attributes.pop()
            case "Item" if len(self._items) > 1:
                self._items.pop()
            case "Value" if self._text is not None:
                self._attributes[-1]["Value"].append("".join(self._text))
                self._text = None

    def _characters(self, text: str) -> None:
        if self._text is not None:
            self._text.append(text)
