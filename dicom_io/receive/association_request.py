"""An A-ASSOCIATE-RQ (PS3.8 9.3.2), reduced to what this node uses before pynetdicom decodes it.

A request is decoded before its sender is known, and each item costs as much memory as a UID: the
items are counted. Items and sub-items of other types are skipped (PS3.8 9.3.1), and so are those of
options that this node does not negotiate. Padding is removed. A request is malformed if a length
contradicts the bytes, or a presentation context has an even number.
"""

import re
import struct
from collections.abc import Iterator
from dataclasses import dataclass

from dicom_io.objects.classes import MAX_CONTEXTS
from dicom_io.receive.limits import AbortReason, LimitError

MAX_ITEMS = 8192
"""Items of a request, including those in presentation contexts and user information.

128 contexts with 60 syntaxes each and a role for every class fit.
"""

_FIXED = struct.Struct(">H2x16s16s32x")
_ITEM_HEADER = struct.Struct(">BxH")
_CONTEXT_HEADER_BYTES = 4
_ROLE_BYTES = 2
_MAX_LENGTH_BYTES = 4
_MAX_UID_LENGTH = 64
_ANY_LENGTH = struct.pack(">I", 16384)

_APPLICATION_CONTEXT, _CONTEXT, _USER_INFORMATION = 0x10, 0x20, 0x50
_ABSTRACT_SYNTAX, _TRANSFER_SYNTAX = 0x30, 0x40
_MAX_LENGTH, _CLASS_UID, _ROLE = 0x51, 0x52, 0x54

_VERSION_1 = 0x0001
"""Each bit of the field stands for a version (PS3.8 9.3.2)."""

_UNREADABLE = b"?"
"""Stands for a character that no AE title has, and for an empty AE title."""
_UID = re.compile(rb"(0|[1-9][0-9]*)(\.(0|[1-9][0-9]*))*")
_UNKNOWN_UID = b"0.0"


@dataclass(frozen=True, slots=True)
class AssociationRequest:
    """The body of a request, as pynetdicom decodes it, and its faults.

    `calling_fault` and `called_fault` say why the field holds no AE title (PS3.8 9.3.2, PS3.5 6.2);
    they are empty for an AE title.
    """

    body: bytes
    is_version_1: bool
    calling_fault: str
    called_fault: str


def checked_request(body: bytes) -> AssociationRequest:
    """Return the reduced request.

    Raises LimitError if the body is truncated, its lengths contradict each other, a presentation
    context has an even number, or there are too many items.
    """
    if len(body) < _FIXED.size:
        raise _malformed("it has fewer than 68 bytes")
    _check_number(body[_FIXED.size :])
    version, called, calling = _FIXED.unpack_from(body)
    called_title, called_fault = _title(called)
    calling_title, calling_fault = _title(calling)
    fixed = _FIXED.pack(_VERSION_1, called_title.ljust(16), calling_title.ljust(16))
    return AssociationRequest(
        body=fixed + _reduced_items(body[_FIXED.size :]),
        is_version_1=bool(version & _VERSION_1),
        calling_fault=calling_fault,
        called_fault=called_fault,
    )


def _check_number(data: bytes) -> None:
    """Raise LimitError if the items are too many; count them before any is copied."""
    contexts = users = total = 0
    for kind, value in _items(data):
        contexts += kind == _CONTEXT
        users += kind == _USER_INFORMATION
        total += 1
        if kind in (_CONTEXT, _USER_INFORMATION):
            inner = value[_CONTEXT_HEADER_BYTES:] if kind == _CONTEXT else value
            total += sum(1 for _ in _items(inner, f"item 0x{kind:02X}"))
        if contexts > MAX_CONTEXTS or users > 1 or total > MAX_ITEMS:
            raise LimitError(AbortReason.TOO_LARGE, "A-ASSOCIATE-RQ, too many items")


def _reduced_items(data: bytes) -> bytes:
    kept = []
    user = b""
    for kind, value in _items(data):
        if kind == _APPLICATION_CONTEXT:
            kept.append(_item(kind, _uid(value)))
        elif kind == _CONTEXT:
            kept.append(_item(kind, _reduced_context(value)))
        elif kind == _USER_INFORMATION:
            user = value
    kept.append(_item(_USER_INFORMATION, _reduced_user_information(user)))
    return b"".join(kept)


def _reduced_context(value: bytes) -> bytes:
    """Return a presentation context with its syntaxes alone."""
    if len(value) < _CONTEXT_HEADER_BYTES:
        raise _malformed("a presentation context has fewer than 4 bytes")
    if not value[0] % 2:
        raise _malformed(f"presentation context {value[0]}: the number must be odd")
    names = [(kind, _uid(name)) for kind, name in _items(value[_CONTEXT_HEADER_BYTES:])]
    abstract = [name for kind, name in names if kind == _ABSTRACT_SYNTAX]
    transfer = [name for kind, name in names if kind == _TRANSFER_SYNTAX]
    # A context without a syntax is answered, too.
    kept = [_item(_ABSTRACT_SYNTAX, name) for name in abstract[:1] or [_UNKNOWN_UID]]
    kept += [_item(_TRANSFER_SYNTAX, name) for name in transfer or [_UNKNOWN_UID]]
    return value[:_CONTEXT_HEADER_BYTES] + b"".join(kept)


def _reduced_user_information(value: bytes) -> bytes:
    """Return user information with maximum length, class UID and roles alone.

    The Implementation Version Name is a note for people and decides nothing (PS3.7 D.3.3.2). A
    request without a maximum length gets PDUs that any peer can take.
    """
    kept = []
    lengths = []
    for kind, content in _items(value):
        if kind == _MAX_LENGTH:
            if len(content) != _MAX_LENGTH_BYTES:
                raise _malformed("Maximum Length (0x51) does not have 4 bytes")
            lengths.append(_item(kind, content))
        elif kind == _CLASS_UID:
            kept.append(_item(kind, _uid(content)))
        elif kind == _ROLE:
            kept.append(_item(kind, _reduced_role(content)))
    length = lengths[0] if lengths else _item(_MAX_LENGTH, _ANY_LENGTH)
    return length + b"".join(kept)


def _reduced_role(content: bytes) -> bytes:
    length = int.from_bytes(content[:2], "big")
    if len(content) < 2 or len(content) != 2 + length + _ROLE_BYTES:
        raise _malformed("SCP/SCU Role Selection (0x54): its lengths differ")
    sop_class = _uid(content[2 : 2 + length])
    roles = bytes(role == 1 for role in content[-_ROLE_BYTES:])
    return struct.pack(">H", len(sop_class)) + sop_class + roles


def _items(data: bytes, where: str = "request") -> Iterator[tuple[int, bytes]]:
    offset = 0
    while offset < len(data):
        if len(data) - offset < _ITEM_HEADER.size:
            raise _malformed(f"{where}: the header of an item is cut off")
        kind, length = _ITEM_HEADER.unpack_from(data, offset)
        offset += _ITEM_HEADER.size
        if length > len(data) - offset:
            raise _malformed(f"{where}: item 0x{kind:02X} is longer than what holds it")
        yield kind, data[offset : offset + length]
        offset += length


def _item(kind: int, value: bytes) -> bytes:
    return _ITEM_HEADER.pack(kind, len(value)) + value


def _title(field: bytes) -> tuple[bytes, str]:
    """Return an AE title without padding, readable in a log, and its fault.

    A NUL ends the text: programs in C pad with it, and leave after it what was there before.
    """
    text = _text(field)
    if not text:
        return _UNREADABLE, "is empty"
    readable = bytes(char if _is_of_title(char) else _UNREADABLE[0] for char in text)
    return readable, "" if readable == text else "has characters that no AE title has"


def _uid(value: bytes) -> bytes:
    """Return a UID without padding; one that names nothing for a value that is no UID."""
    text = _text(value)
    return text if len(text) <= _MAX_UID_LENGTH and _UID.fullmatch(text) else _UNKNOWN_UID


def _text(value: bytes) -> bytes:
    return value.partition(b"\0")[0].strip(b" ")


def _is_of_title(char: int) -> bool:
    return 0x20 <= char <= 0x7E and char != ord("\\")


def _malformed(detail: str) -> LimitError:
    return LimitError(AbortReason.MALFORMED, f"A-ASSOCIATE-RQ, {detail}")
