"""Audit messages as XML: the Audit Trail Message Format of PS3.15 A.5.

The schema of PS3.15 A.5.1, which extends RFC 3881, fixes the order of elements and the required
ones. A.5.3 lists the participants of each event.
"""

import base64
import re
from dataclasses import dataclass
from datetime import datetime
from enum import IntEnum, StrEnum
from ipaddress import ip_address
from xml.etree import ElementTree as ET

from dicom_io.audit_codes import AuditCode

# Characters that XML 1.0 cannot hold in any form (section 2.2, Char).
_NOT_XML = re.compile("[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")


class Action(StrEnum):
    """Action of the event (EventActionCode)."""

    CREATE = "C"
    READ = "R"
    UPDATE = "U"
    DELETE = "D"
    EXECUTE = "E"


class Outcome(IntEnum):
    """Outcome of the event (EventOutcomeIndicator)."""

    SUCCESS = 0
    MINOR_FAILURE = 4
    SERIOUS_FAILURE = 8


@dataclass(frozen=True, slots=True)
class Participant:
    """A participant of the event (ActiveParticipant). `host` is a name or an address."""

    user_id: str
    is_requestor: bool
    roles: tuple[AuditCode, ...] = ()
    ae_title: str = ""
    name: str = ""
    host: str = ""
    media_type: AuditCode | None = None


@dataclass(frozen=True, slots=True)
class ParticipantObject:
    """An object of the event (ParticipantObjectIdentification).

    The description names the SOP class if there is one, and the instance if there is one, too.
    With `query` the object is a query (PS3.15 A.5.3.10), which has that text instead of a name.
    """

    object_id: str
    id_type: AuditCode
    name: str
    type_code: int
    role: int | None = None
    sop_class_uid: str = ""
    sop_instance_uid: str = ""
    query: str = ""


@dataclass(frozen=True, slots=True)
class AuditMessage:
    """One event (AuditMessage), with at least one participant."""

    event: AuditCode
    types: tuple[AuditCode, ...]
    action: Action
    at: datetime
    outcome: Outcome
    participants: tuple[Participant, ...]
    source_id: str
    description: str = ""
    objects: tuple[ParticipantObject, ...] = ()


def to_xml(message: AuditMessage) -> str:
    """Return the message on one line. Raises ValueError if the time has no zone (A.5.2.5)."""
    if message.at.tzinfo is None:
        raise ValueError(f"an event's time without a time zone: {message.at}")
    root = ET.Element("AuditMessage")
    event = _add(
        root,
        "EventIdentification",
        EventActionCode=message.action.value,
        EventDateTime=message.at.isoformat(timespec="milliseconds"),
        EventOutcomeIndicator=str(int(message.outcome)),
    )
    _add_code(event, "EventID", message.event)
    for kind in message.types:
        _add_code(event, "EventTypeCode", kind)
    if message.description:
        _add(event, "EventOutcomeDescription").text = _plain(message.description)
    for participant in message.participants:
        _add_participant(root, participant)
    source = _add(root, "AuditSourceIdentification", AuditSourceID=message.source_id)
    # 4: application server process (PS3.15 A.5.1.2.1)
    _add(source, "AuditSourceTypeCode", **{"csd-code": "4"})
    for item in message.objects:
        _add_object(root, item)
    text = ET.tostring(root, encoding="unicode").replace("\r", "&#13;").replace("\n", "&#10;")
    return f'<?xml version="1.0" encoding="UTF-8"?>{text}'


def _add_participant(root: ET.Element, participant: Participant) -> None:
    optional = {
        "AlternativeUserID": f"AETITLES={participant.ae_title}" if participant.ae_title else "",
        "UserName": participant.name,
        "NetworkAccessPointID": participant.host,
        "NetworkAccessPointTypeCode": _access_point_type(participant.host),
    }
    element = _add(
        root,
        "ActiveParticipant",
        UserID=participant.user_id,
        UserIsRequestor=str(participant.is_requestor).lower(),
        **{name: value for name, value in optional.items() if value},
    )
    for role in participant.roles:
        _add_code(element, "RoleIDCode", role)
    if participant.media_type is not None:
        _add_code(_add(element, "MediaIdentifier"), "MediaType", participant.media_type)


def _access_point_type(host: str) -> str:
    """Return "1" for a machine name and "2" for an IP address."""
    if not host:
        return ""
    try:
        ip_address(host.partition("%")[0])
    except ValueError:
        return "1"
    return "2"


def _add_object(root: ET.Element, item: ParticipantObject) -> None:
    role = {} if item.role is None else {"ParticipantObjectTypeCodeRole": str(item.role)}
    element = _add(
        root,
        "ParticipantObjectIdentification",
        ParticipantObjectID=item.object_id,
        ParticipantObjectTypeCode=str(item.type_code),
        **role,
    )
    _add_code(element, "ParticipantObjectIDTypeCode", item.id_type)
    if item.query:
        encoded = base64.b64encode(item.query.encode()).decode()
        _add(element, "ParticipantObjectQuery").text = encoded
    else:
        _add(element, "ParticipantObjectName").text = _plain(item.name)
    if item.sop_class_uid:
        description = _add(element, "ParticipantObjectDescription")
        sop_class = _add(description, "SOPClass", UID=item.sop_class_uid, NumberOfInstances="1")
        if item.sop_instance_uid:
            _add(sop_class, "Instance", UID=item.sop_instance_uid)


def _add_code(parent: ET.Element, name: str, code: AuditCode) -> None:
    _add(
        parent,
        name,
        **{"csd-code": code.value, "codeSystemName": code.scheme, "originalText": code.meaning},
    )


def _add(parent: ET.Element, name: str, **attributes: str) -> ET.Element:
    return ET.SubElement(parent, name, {key: _plain(value) for key, value in attributes.items()})


def _plain(text: str) -> str:
    return _NOT_XML.sub("\ufffd", text)


def hash_uri(digest: str) -> str:
    """Return the URI of a SHA-256 in hexadecimal (RFC 6920)."""
    encoded = base64.urlsafe_b64encode(bytes.fromhex(digest)).decode().rstrip("=")
    return f"ni:///sha-256;{encoded}"
