"""Checks of an A-ASSOCIATE-RQ and of a command set, made before pynetdicom decodes them.

The items of an A-ASSOCIATE-RQ (PS3.8 9.3.2) are counted: a request is decoded before its sender is
known, and each item costs as much memory as a UID. A command set (PS3.7 6.3.1) is reduced to the
elements that the served messages have.
"""

import re
import struct
from collections.abc import Iterator

from dicom_io.objects.classes import MAX_CONTEXTS
from dicom_io.receive.limits import AbortReason, LimitError

MAX_ITEMS = 8192
"""Items of a request, including those in presentation contexts and user information.

128 contexts with 60 syntaxes each and a role for every class fit.
"""

_FIXED_BYTES = 68
_CONTEXT, _USER_INFORMATION = 0x20, 0x50
_CONTEXT_HEADER_BYTES = 4

_ITEM_HEADER = struct.Struct(">BxH")

_ELEMENT_HEADER = struct.Struct("<HHI")

_SERVED_COMMANDS = frozenset({0x0001, 0x0030, 0x0100, 0x0130, 0x0FFF, 0x8100})
"""C-STORE, C-ECHO, N-EVENT-REPORT and N-ACTION requests, C-CANCEL, N-EVENT-REPORT responses."""

_COMMANDS_WITHOUT_DATA = frozenset({0x0030, 0x0FFF})
"""C-ECHO and C-CANCEL requests, which never have a data set (PS3.7 9.3.5, 9.3.2.3)."""

_UIDS = frozenset({0x0002, 0x0003, 0x1000, 0x1001})
_NUMBERS = frozenset(
    {0x0100, 0x0110, 0x0120, 0x0700, 0x0800, 0x0900, 0x0903, 0x1002, 0x1008, 0x1031}
)
_AE_TITLES = frozenset({0x1030})
_COMMAND_FIELD, _PRIORITY, _DATA_SET_TYPE = 0x0100, 0x0700, 0x0800
_NO_DATA_SET = 0x0101
_MAX_PRIORITY = 2
_TEXT = re.compile(rb"[ -\[\]-~]*")
_MAX_UID_LENGTH = 64

_MAX_AE_TITLE_LENGTH = 16


class CommandError(ValueError):
    """The bytes are not a command set, or their command is not served here."""


def check_request_items(body: bytes) -> None:
    """Raise LimitError if the body of an A-ASSOCIATE-RQ is truncated or has too many items."""
    if len(body) < _FIXED_BYTES:
        raise LimitError(AbortReason.MALFORMED)
    contexts = users = total = 0
    for kind, value in _items(body[_FIXED_BYTES:]):
        contexts += kind == _CONTEXT
        users += kind == _USER_INFORMATION
        total += 1
        if kind in (_CONTEXT, _USER_INFORMATION):
            inner = value[_CONTEXT_HEADER_BYTES:] if kind == _CONTEXT else value
            total += sum(1 for _ in _items(inner))
        if contexts > MAX_CONTEXTS or users > 1 or total > MAX_ITEMS:
            raise LimitError(AbortReason.TOO_LARGE)


def checked_command_set(command: bytes) -> bytes:
    """Return the command set with only the elements of the served messages, in their order.

    Raises CommandError if the bytes are not group 0000 in implicit VR little endian, an element is
    repeated or has a malformed value, or the command is not served.
    """
    known = {
        element: _checked_value(element, value)
        for element, value in _elements(command).items()
        if element in _UIDS | _NUMBERS | _AE_TITLES
    }
    field = _number(known, _COMMAND_FIELD)
    if field not in _SERVED_COMMANDS:
        raise CommandError("the command is not served")
    if _number(known, _DATA_SET_TYPE) != _NO_DATA_SET and field in _COMMANDS_WITHOUT_DATA:
        raise CommandError("the command has no data set")
    if _PRIORITY in known and _number(known, _PRIORITY) > _MAX_PRIORITY:
        raise CommandError("the priority is not defined")
    body = b"".join(
        _ELEMENT_HEADER.pack(0, element, len(value)) + value
        for element, value in sorted(known.items())
    )
    return _ELEMENT_HEADER.pack(0, 0, 4) + struct.pack("<I", len(body)) + body


def _items(data: bytes) -> Iterator[tuple[int, bytes]]:
    offset = 0
    while offset < len(data):
        if len(data) - offset < _ITEM_HEADER.size:
            raise LimitError(AbortReason.MALFORMED)
        kind, length = _ITEM_HEADER.unpack_from(data, offset)
        offset += _ITEM_HEADER.size
        if length > len(data) - offset:
            raise LimitError(AbortReason.MALFORMED)
        yield kind, data[offset : offset + length]
        offset += length


def _elements(command: bytes) -> dict[int, bytes]:
    found: dict[int, bytes] = {}
    offset = 0
    while offset < len(command):
        if len(command) - offset < _ELEMENT_HEADER.size:
            raise CommandError("an element is truncated")
        group, element, length = _ELEMENT_HEADER.unpack_from(command, offset)
        offset += _ELEMENT_HEADER.size
        if group != 0 or element in found or length > len(command) - offset:
            raise CommandError("an element is of another group, repeated or too long")
        found[element] = command[offset : offset + length]
        offset += length
    return found


def _checked_value(element: int, value: bytes) -> bytes:
    if element in _NUMBERS:
        if len(value) != 2:
            raise CommandError("a number is not two bytes long")
        return value
    longest = _MAX_AE_TITLE_LENGTH if element in _AE_TITLES else _MAX_UID_LENGTH
    text = value.rstrip(b" \0")
    if len(text) > longest or not _TEXT.fullmatch(text):
        raise CommandError("UID or AE title is too long or contains invalid characters")
    return value


def _number(elements: dict[int, bytes], element: int) -> int:
    if element not in elements:
        raise CommandError("a required element is missing")
    return int.from_bytes(elements[element], "little")
