"""ADT messages as changes of patients: A08 and A31 update, A40 merges (HL7 v2.5.1, chapter 3).

IHE calls them Patient Update (RAD-12) and Patient Identity Management (ITI-30). A message has one
PID and, for a merge, one MRG.
"""

import hashlib
import re
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta, timezone

from daemon.errors import Hl7Error
from daemon.hl7.acknowledgement import Code, Fault
from daemon.hl7.grammar import Field, Message, Segment
from daemon.hl7.values import date
from storage.patients.records import ChangeKind, PatientChange

FOLLOWED = {"A08": ChangeKind.UPDATE, "A31": ChangeKind.UPDATE, "A40": ChangeKind.MERGE}
"""Trigger events that change a patient here."""

NOT_FOLLOWED = frozenset(
    ["A18", "A30", "A34", "A35", "A36", "A39", *(f"A{number}" for number in range(41, 52))]
)
"""Trigger events that change identities in ways that are not followed here; they are refused.

The answer to any other event of ADT, such as an admission, says that it has no effect here.
"""

DELETED = '""'
"""The null value: the sender deletes the value (2.5.3)."""

_LONGEST_CONTROL_ID = 199
"""Characters of MSH-10 (HL7 v2.6, chapter 2.14.9); 20 in v2.5.1."""
_LONGEST_ID = 64
_LONGEST_GROUP = 64
_TIME = re.compile(r"(\d{4}(?:\d{2}){0,5})(?:\.\d{1,4})?([+-]\d{4})?")
_NOT_IN_NAMES = re.compile(r"[\\=^\x00-\x1f\x7f]")
_NOT_IN_IDS = re.compile(r"[\\\x00-\x1f\x7f]")
_SEXES = {"M": "M", "F": "F", "O": "O", "A": "O", "N": "O", DELETED: ""}
_OF_PATIENTS = ("", "PI", "MR", "PT")
"""Identifier types (HL7 table 0203) that a Patient ID can have, unlike that of a passport."""
_NAMES = ("", "L", "D")
"""Name types (HL7 table 0200): legal, display; not an alias or a maiden name."""
_GROUPS = {"A": 0, "": 0, "I": 1, "P": 2}


class MessageRefusedError(Hl7Error):
    """A message cannot be followed; `code` and `fault` are the answer to it."""

    def __init__(self, fault: Fault, code: Code = Code.AE) -> None:
        super().__init__(fault.text)
        self.code = code
        self.fault = fault


@dataclass(frozen=True, slots=True)
class Origin:
    """The sender of a message by the configuration, and its address.

    `issuer_of_films` is the assigning authority of the Patient IDs of films that name no issuer.
    """

    name: str
    host: str
    sources: tuple[str, ...]
    issuer_of_films: str | None = None


def patient_change(message: Message, data: bytes, origin: Origin) -> PatientChange | None:
    """Return the change that a message tells; None if its event has no effect here.

    `data` is the message as it was received. Raises MessageRefusedError.
    """
    header = message.header
    event = header.value(9, 2) or _event_of(message)
    if event in NOT_FOLLOWED:
        raise MessageRefusedError(
            Fault("201", "this node follows A08, A31 and A40 only", "MSH", 9), Code.AR
        )
    kind = FOLLOWED.get(event)
    if kind is None:
        return None
    control_id = header.value(10)
    if not control_id:
        raise MessageRefusedError(Fault("101", "MSH-10 is empty", "MSH", 10), Code.AR)
    if len(control_id) > _LONGEST_CONTROL_ID:
        text = f"MSH-10 is longer than {_LONGEST_CONTROL_ID} characters"
        raise MessageRefusedError(Fault("102", text, "MSH", 10), Code.AR)
    person = _only(message, "PID")
    merged = _only(message, "MRG") if kind is ChangeKind.MERGE else None
    shared = [_issuer(one) for one in merged.repetitions(1)] if merged is not None else []
    patient_id, issuer = _identifier(person, 3, origin.issuer_of_films, shared)
    prior_id = prior_issuer = ""
    if merged is not None:
        prior_id, prior_issuer = _identifier(merged, 1, issuer)
        if (prior_id, prior_issuer) == (patient_id, issuer):
            raise MessageRefusedError(
                Fault("204", "MRG-1 and PID-3 are the same patient", "MRG", 1)
            )
    return PatientChange(
        kind=kind,
        event=event,
        sender=origin.name,
        control_id=control_id,
        sha256=hashlib.sha256(data).hexdigest(),
        sources=origin.sources,
        event_time=_event_time(message),
        patient_id=patient_id,
        issuer=issuer,
        name=_name(person),
        birth_date=_birth_date(person),
        sex=_SEXES.get(person.value(8).upper()),
        prior_patient_id=prior_id,
        prior_issuer=prior_issuer,
        with_unissued=bool(issuer) and issuer == origin.issuer_of_films,
        host=origin.host,
    )


def _event_of(message: Message) -> str:
    """Return EVN-1, which older senders fill instead of MSH-9.2."""
    event = message.first("EVN")
    return event.value(1) if event is not None else ""


def _only(message: Message, name: str) -> Segment:
    found = [segment for segment in message.segments if segment.name == name]
    if not found:
        raise MessageRefusedError(Fault("100", f"the message has no {name} segment", name))
    if len(found) > 1:
        fault = Fault("100", f"one {name} segment in a message is followed here", name, 0, 2)
        raise MessageRefusedError(fault)
    return found[0]


def _identifier(
    segment: Segment, number: int, preferred_issuer: str | None, shared: Sequence[str] = ()
) -> tuple[str, str]:
    """Return the identifier of an issuer, else the first that can be a Patient ID, and its issuer.

    An authority gives numbers of other types, too, such as that of an account: one of a patient
    goes first. With `shared`, an identifier of one of these issuers is taken if there is one: a
    merge is of two numbers of one authority.
    """
    found = [one for one in segment.repetitions(number) if _number(one) not in ("", DELETED)]
    if not found:
        text = f"{segment.name}-{number} has no identifier"
        raise MessageRefusedError(Fault("101", text, segment.name, number))
    found = [one for one in found if _issuer(one) and _issuer(one) in shared] or found
    found.sort(key=lambda one: one.value(5) not in _OF_PATIENTS)
    of_issuer = [one for one in found if preferred_issuer and _issuer(one) == preferred_issuer]
    chosen = (of_issuer or found)[0]
    for value in (_number(chosen), _issuer(chosen)):
        if len(value) > _LONGEST_ID or _NOT_IN_IDS.search(value):
            text = f"{segment.name}-{number} is no Patient ID of DICOM (PS3.5 6.2, LO)"
            raise MessageRefusedError(Fault("102", text, segment.name, number))
    return _number(chosen), _issuer(chosen)


def _number(identifier: Field) -> str:
    """Return CX.1. Spaces around it are no part of a Patient ID (PS3.5 6.2, LO)."""
    return identifier.value(1).strip(" ")


def _issuer(identifier: Field) -> str:
    """Return the assigning authority by its name, else by its universal identifier (CX.4)."""
    return (identifier.value(4, 1) or identifier.value(4, 2)).strip(" ")


def _name(person: Segment) -> str | None:
    """Return PID-5 as a PN: one group for each representation; None if it tells no name."""
    groups = ["", "", ""]
    for one in person.repetitions(5):
        if one.value(1) == DELETED:
            return ""
        position = _GROUPS.get(one.value(8))
        if position is None or one.value(7) not in _NAMES or groups[position]:
            continue
        groups[position] = _group(one)
    name = "=".join(groups).rstrip("=")
    if any(len(group) > _LONGEST_GROUP for group in groups):
        raise MessageRefusedError(Fault("102", "PID-5 is longer than a name of DICOM", "PID", 5))
    return name or None


def _group(name: Field) -> str:
    parts = [name.value(number) for number in range(1, 6)]
    family, given, middle, suffix, prefix = (
        "" if part == DELETED else _NOT_IN_NAMES.sub(" ", part).strip() for part in parts
    )
    return "^".join((family, given, middle, prefix, suffix)).rstrip("^")


def _birth_date(person: Segment) -> str | None:
    value = person.value(7)
    if value == DELETED:
        return ""
    return date(value[:8]) or None


def _event_time(message: Message) -> datetime:
    """Return EVN-6, else EVN-2, else MSH-7. A time without an offset is of this site."""
    event = message.first("EVN")
    places = [(event, 6), (event, 2)] if event is not None else []
    for segment, number in (*places, (message.header, 7)):
        value = segment.value(number) if segment is not None else ""
        if value:
            found = _moment(value)
            if found is None or segment is None:
                name = segment.name if segment is not None else "MSH"
                text = f"{name}-{number} is no time"
                raise MessageRefusedError(Fault("102", text, name, number))
            return found
    raise MessageRefusedError(Fault("101", "MSH-7 is empty", "MSH", 7))


def _moment(value: str) -> datetime | None:
    found = _TIME.fullmatch(value)
    if found is None:
        return None
    digits = found[1] + "00000101000000"[len(found[1]) :]
    try:
        moment = datetime.strptime(digits, "%Y%m%d%H%M%S")  # noqa: DTZ007 - made aware below
        if found[2] is not None:
            offset = timedelta(hours=int(found[2][1:3]), minutes=int(found[2][3:]))
            moment = moment.replace(tzinfo=timezone(-offset if found[2][0] == "-" else offset))
        return moment.astimezone(UTC)
    except (ValueError, OverflowError):
        # No date, no offset, or a year that no other time zone has.
        return None
