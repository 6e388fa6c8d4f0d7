"""Checks of a command set (PS3.7 6.3.1), made before pynetdicom decodes it.

The command set is reduced to the elements that this node uses.
"""

import re
import struct
from dataclasses import dataclass

from dicom_io.read.header import is_uid

_ELEMENT_HEADER = struct.Struct("<HHI")

_STORE, _ECHO, _CANCEL = 0x0001, 0x0030, 0x0FFF
_SERVED_COMMANDS = frozenset(
    {_STORE, _ECHO, 0x0020, 0x0100, 0x0110, 0x0130, 0x0140, _CANCEL, 0x8100}
)
"""C-STORE, C-ECHO, C-FIND, N-EVENT-REPORT, N-GET, N-ACTION and N-CREATE requests, C-CANCEL and
N-EVENT-REPORT responses."""

_COMMANDS_WITHOUT_DATA = frozenset({_ECHO, _CANCEL})
"""C-ECHO and C-CANCEL requests, which never have a data set (PS3.7 9.3.5, 9.3.2.3)."""

_UIDS = frozenset({0x0002, 0x0003, 0x1000, 0x1001})
_NUMBERS = frozenset({0x0100, 0x0110, 0x0120, 0x0800, 0x0900, 0x0903, 0x1002, 0x1008})
_COMMAND_FIELD, _PRIORITY, _DATA_SET_TYPE = 0x0100, 0x0700, 0x0800
_MOVE_ORIGINATOR = 0x1030
_ATTRIBUTE_LIST = 0x1005
_LONGEST_ATTRIBUTE_LIST = 4096
_STORE_UIDS = {0x0002: "SOP Class UID", 0x1000: "SOP Instance UID"}
_NO_DATA_SET = 0x0101
_MEDIUM = b"\0\0"
_TEXT = re.compile(rb"[ -\[\]-~]*")
_TITLE = re.compile(rb"[ -\[\]-~]{1,16}")
_MAX_UID_LENGTH = 64
_ANY_UID = b"0.0 "
"""Stands for the malformed UID of a C-STORE, so that its message can be read and answered."""


@dataclass(frozen=True, slots=True)
class CommandSet:
    """The bytes that pynetdicom decodes.

    `store_fault` names the malformed UID of a C-STORE request, in at most 64 characters; it is
    empty for any other command.
    """

    data: bytes
    store_fault: str = ""


class CommandError(ValueError):
    """The bytes are not a command set, or their command is not served here."""


def checked_command_set(command: bytes) -> CommandSet:
    """Return the command set with only the elements that this node uses, in their order.

    A C-STORE request with a malformed UID is read with another UID, and `store_fault` set. Its
    priority means nothing here. The AE title of the originator of a C-MOVE is left out if it is not
    one.
    Raises CommandError if the bytes are not group 0000 in implicit VR little endian, an element is
    repeated or has another malformed value, or the command is not served.
    """
    found = _elements(command)
    field = _number(found, _COMMAND_FIELD)
    if field not in _SERVED_COMMANDS:
        raise CommandError(f"(0000,0100) Command Field 0x{field:04X} is not served")
    if _number(found, _DATA_SET_TYPE) != _NO_DATA_SET and field in _COMMANDS_WITHOUT_DATA:
        raise CommandError("(0000,0800) announces a data set, and the command has none")
    fault = ""
    if field == _STORE:
        faults = {element: _store_fault(found, element) for element in _STORE_UIDS}
        found |= {element: _ANY_UID for element, text in faults.items() if text}
        found[_PRIORITY] = _MEDIUM
        originator = found.pop(_MOVE_ORIGINATOR, b"")
        if _TITLE.fullmatch(originator):
            found[_MOVE_ORIGINATOR] = originator
        fault = next(filter(None, faults.values()), "")
    known = {
        element: _checked_value(element, value)
        for element, value in found.items()
        if element in _UIDS | _NUMBERS | {_PRIORITY, _MOVE_ORIGINATOR, _ATTRIBUTE_LIST}
    }
    body = b"".join(
        _ELEMENT_HEADER.pack(0, element, len(value)) + value
        for element, value in sorted(known.items())
    )
    data = _ELEMENT_HEADER.pack(0, 0, 4) + struct.pack("<I", len(body)) + body
    return CommandSet(data, fault)


def uid_fault(name: str, tag: str, uid: str) -> str:
    """Return the fault of a UID (PS3.5 9.1) with its name and tag; an empty text if it has none."""
    named = f"{name} ({tag})"
    if not uid:
        return f"{named} is empty"
    if len(uid) > _MAX_UID_LENGTH:
        return f"{named} has {len(uid)} characters"
    return "" if is_uid(uid) else f"{named} has other than digits and dots"


def _elements(command: bytes) -> dict[int, bytes]:
    found: dict[int, bytes] = {}
    offset = 0
    while offset < len(command):
        if len(command) - offset < _ELEMENT_HEADER.size:
            raise CommandError("the header of an element is cut off")
        group, element, length = _ELEMENT_HEADER.unpack_from(command, offset)
        offset += _ELEMENT_HEADER.size
        named = f"({group:04X},{element:04X})"
        if group != 0 or element in found or length > len(command) - offset:
            raise CommandError(f"{named} is of another group, repeated or too long")
        found[element] = command[offset : offset + length]
        offset += length
    return found


def _store_fault(elements: dict[int, bytes], element: int) -> str:
    uid = elements.get(element, b"").rstrip(b" \0").decode("latin-1")
    return uid_fault(_STORE_UIDS[element], f"0000,{element:04X}", uid)


def _checked_value(element: int, value: bytes) -> bytes:
    if element in _UIDS:
        text = value.rstrip(b" \0")
        if len(text) > _MAX_UID_LENGTH or not _TEXT.fullmatch(text):
            raise CommandError(f"(0000,{element:04X}) is too long or has invalid characters")
    elif element == _ATTRIBUTE_LIST:
        if len(value) % 4 or len(value) > _LONGEST_ATTRIBUTE_LIST:
            raise CommandError(f"(0000,{element:04X}) is too long or no list of tags")
    elif element != _MOVE_ORIGINATOR and len(value) != 2:
        raise CommandError(f"(0000,{element:04X}) is not two bytes long")
    return value


def _number(elements: dict[int, bytes], element: int) -> int:
    if element not in elements:
        raise CommandError(f"(0000,{element:04X}) is missing")
    return int.from_bytes(elements[element], "little")
