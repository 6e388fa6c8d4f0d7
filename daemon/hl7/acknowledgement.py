"""Acknowledgements: the meaning of a received ACK, and the ACK for a received message.

HL7 v2.5.1, 2.9.2 (original mode: AA, AE, AR) and 2.9.3 (enhanced mode: CA, CE, CR).
"""

import hashlib
import re
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum

from daemon.errors import Hl7Error
from daemon.hl7 import charsets
from daemon.hl7.grammar import Field, Message, components, escaped, message, segment

CONDITIONS = {
    "0": "message accepted",
    "100": "segment sequence error",
    "101": "required field missing",
    "102": "data type error",
    "103": "table value not found",
    "200": "unsupported message type",
    "201": "unsupported event code",
    "202": "unsupported processing ID",
    "203": "unsupported version ID",
    "204": "unknown key identifier",
    "205": "duplicate key identifier",
    "206": "application record locked",
    "207": "application internal error",
}
"""HL7 table 0357, message error condition codes."""

_PASSING = frozenset({"206", "207"})
"""Conditions of the receiver, not of the message: the same message may succeed later."""

_NAME = re.compile(r"[A-Z][A-Z0-9]{2}")
_NUMBER = re.compile(r"\d{1,3}")


class Code(StrEnum):
    """MSA-1 (HL7 table 0008)."""

    AA = "AA"
    AE = "AE"
    AR = "AR"
    CA = "CA"
    CE = "CE"
    CR = "CR"

    @property
    def accepts(self) -> bool:
        """True if the receiver has taken responsibility for the message."""
        return self in (Code.AA, Code.CA)


@dataclass(frozen=True, slots=True)
class Acknowledged:
    """A received acknowledgement.

    `reason` has the code of the error, its meaning and its place, not the text of the receiver,
    which may name the patient. `may_pass` is True for an error that is not of the message.
    """

    code: Code
    control_id: str
    reason: str
    may_pass: bool


def read_acknowledgement(data: bytes) -> Acknowledged:
    """Return the meaning of an ACK. Raises Hl7Error if the bytes are none.

    The text of an acknowledgement is not needed, so its character set is not checked.
    """
    found = Message.parsed(data.decode("latin-1").lstrip("\r\n"))
    status = found.first("MSA")
    if status is None:
        raise Hl7Error("the answer has no MSA segment")
    try:
        code = Code(status.value(1).strip())
    except ValueError:
        raise Hl7Error("the answer has an MSA-1 that is not of HL7 table 0008") from None
    conditions = _conditions(found)
    place = _place(found)
    meaning = [f"{one} {CONDITIONS[one]}" for one in conditions]
    reason = ", ".join(meaning) or "no error code of HL7 table 0357"
    if place:
        reason += f" at {place}"
    may_pass = bool(conditions) and set(conditions) <= _PASSING
    return Acknowledged(code, status.value(2).strip(), reason, may_pass)


def _conditions(found: Message) -> list[str]:
    """Return the error codes: ERR-3, before v2.5 the fourth component of ERR-1, or MSA-6."""
    codes = []
    for each in found.segments:
        if each.name == "ERR":
            codes += [each.value(3), *(one.value(4) for one in each.repetitions(1))]
        elif each.name == "MSA":
            codes.append(each.value(6))
    return list(dict.fromkeys(code for code in codes if code in CONDITIONS and code != "0"))


def _place(found: Message) -> str:
    """Return the place of the first error, as PID-3; empty if it names none."""
    error = found.first("ERR")
    if error is None:
        return ""
    for location in (*error.repetitions(2), *error.repetitions(1)):
        return _location(location)
    return ""


def _location(location: Field) -> str:
    # ERL has segment, sequence and field (2.A.28), the older ELD the same three (2.A.27).
    name, field = location.value(1).strip(), location.value(3).strip()
    if not _NAME.fullmatch(name):
        return ""
    return f"{name}-{field}" if _NUMBER.fullmatch(field) else name


@dataclass(frozen=True, slots=True)
class Fault:
    """The reason why a received message is not accepted, for the ERR segment.

    `condition` is a code of table 0357; `segment` and `field` are the place. `text` is for the
    operator of the sender, without a value of the message.
    """

    condition: str
    text: str
    segment: str = ""
    field: int = 0
    number: int = 1


def acknowledgement(
    received: Message | None, code: Code, at: datetime, fault: Fault | None = None, said: str = ""
) -> bytes:
    """Return the ACK for a received message; None for one whose header cannot be read.

    `said` is a remark for a message that is accepted (MSA-3). The control ID of the ACK is derived
    from the message and the code, and its text is ASCII.
    """
    header = received.header if received is not None else None
    control_id = header.value(10) if header is not None else ""
    digest = hashlib.sha256(f"{code}\0{at.isoformat()}\0{control_id}".encode()).hexdigest()

    def field(number: int) -> str:
        return "" if header is None else _copied(header.repetitions(number))

    segments = [
        segment(
            "MSH",
            {
                3: field(5),
                4: field(6),
                5: field(3),
                6: field(4),
                7: f"{at:%Y%m%d%H%M%S%z}"[:19],
                9: components("ACK", header.value(9, 2) if header is not None else "", "ACK"),
                10: digest[:20].upper(),
                11: field(11) or "P",
                12: field(12) or "2.5.1",
            },
        ),
        segment("MSA", {1: code, 2: escaped(control_id), 3: escaped(said)}),
    ]
    if fault is not None:
        place = (fault.segment, str(fault.number), str(fault.field) if fault.field else "")
        segments.append(
            segment(
                "ERR",
                {
                    2: components(*place) if fault.segment else "",
                    3: components(fault.condition, CONDITIONS[fault.condition], "HL70357"),
                    4: "E",
                    8: escaped(fault.text),
                },
            )
        )
    return charsets.encoded_loosely(message(segments))


def _copied(repetitions: tuple[Field, ...]) -> str:
    """Return the first repetition of a field in the delimiters of this software."""
    if not repetitions:
        return ""
    parts = [repetitions[0].value(number) for number in (1, 2, 3)]
    return components(*parts)
