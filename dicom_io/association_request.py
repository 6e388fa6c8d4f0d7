"""How many items an A-ASSOCIATE-RQ has (PS3.8 9.3.2), counted before anything decodes them.

A request of a stranger is decoded before he can be judged, and each item costs as much as a UID.
"""

import struct
from collections.abc import Iterator

from dicom_io.limits import AbortReason, LimitError

MAX_CONTEXTS = 128
"""Presentation context identifiers are odd numbers of one byte (PS3.8 9.3.2.2)."""
MAX_ITEMS = 8192
"""With those inside presentation contexts and user information: 128 contexts with 60 syntaxes each
and a role for every class."""

_FIXED_BYTES = 68
_CONTEXT, _USER_INFORMATION = 0x20, 0x50
_CONTEXT_START = 4
_HEADER = struct.Struct(">BxH")


def check_items(body: bytes) -> None:
    """Raise LimitError where the body of a request is cut off or has too many items."""
    if len(body) < _FIXED_BYTES:
        raise LimitError(AbortReason.MALFORMED)
    contexts = users = total = 0
    for kind, value in _items(body[_FIXED_BYTES:]):
        contexts += kind == _CONTEXT
        users += kind == _USER_INFORMATION
        total += 1
        if kind in (_CONTEXT, _USER_INFORMATION):
            inner = value[_CONTEXT_START:] if kind == _CONTEXT else value
            total += sum(1 for _ in _items(inner))
        if contexts > MAX_CONTEXTS or users > 1 or total > MAX_ITEMS:
            raise LimitError(AbortReason.TOO_LARGE)


def _items(data: bytes) -> Iterator[tuple[int, bytes]]:
    offset = 0
    while offset < len(data):
        if len(data) - offset < _HEADER.size:
            raise LimitError(AbortReason.MALFORMED)
        kind, length = _HEADER.unpack_from(data, offset)
        offset += _HEADER.size
        if length > len(data) - offset:
            raise LimitError(AbortReason.MALFORMED)
        yield kind, data[offset : offset + length]
        offset += length
