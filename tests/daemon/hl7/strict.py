"""The verdict of hl7apy on a message: structure, segments, fields and data types of its version."""

from typing import Any

from hl7apy.consts import VALIDATION_LEVEL
from hl7apy.parser import parse_message

_LONGEST_ST = 199


def strictly_parsed(message: bytes) -> Any:
    """Return a message as hl7apy reads it; raises its errors for a message that is not valid.

    hl7apy reads OBX-5 as ST whatever OBX-2 says, and an ST is limited to 199 characters: a longer
    TX is shortened for it.
    """
    lines = [_short(line) for line in message.decode("utf-8").split("\r") if line]
    parsed = parse_message(
        "\r".join(lines), validation_level=VALIDATION_LEVEL.STRICT, find_groups=True
    )
    assert parsed.validate()
    return parsed


def _short(line: str) -> str:
    fields = line.split("|")
    if fields[0] == "OBX" and fields[2] == "TX":
        fields[5] = fields[5][:_LONGEST_ST]
    return "|".join(fields)
