"""The used part of the audit message schema of PS3.15 A.5.1.1 (RELAX NG in the standard).

A rule per element: its children as a regular expression over their names, its required and its
optional attributes, each with the pattern of its value.
"""

import re
from dataclasses import dataclass, field
from xml.etree import ElementTree as ET

CODE = {"csd-code": r"\S.*", "codeSystemName": r"\S.*", "originalText": r"\S.*"}
UID = r"[0-2](\.(0|[1-9][0-9]*))+"


@dataclass(frozen=True)
class Rule:
    """Children and attributes of an element."""

    children: str = ""
    required: dict[str, str] = field(default_factory=dict)
    optional: dict[str, str] = field(default_factory=dict)


CODED = Rule(required=CODE, optional={"displayName": ".*"})

SCHEMA = {
    "AuditMessage": Rule(
        "EventIdentification (ActiveParticipant )+AuditSourceIdentification "
        "(ParticipantObjectIdentification )*"
    ),
    "EventIdentification": Rule(
        "EventID (EventTypeCode )*(EventOutcomeDescription )?",
        required={
            "EventDateTime": r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?(Z|[+-]\d\d:\d\d)",
            "EventOutcomeIndicator": "0|4|8|12",
        },
        optional={"EventActionCode": "[CRUDE]"},
    ),
    "EventID": CODED,
    "EventTypeCode": CODED,
    "EventOutcomeDescription": Rule(),
    "ActiveParticipant": Rule(
        "(RoleIDCode )*(MediaIdentifier )?",
        required={"UserID": ".*", "UserIsRequestor": "true|false"},
        optional={
            "AlternativeUserID": ".*",
            "UserName": ".*",
            "NetworkAccessPointID": ".*",
            "NetworkAccessPointTypeCode": "[1-5]",
        },
    ),
    "RoleIDCode": CODED,
    "MediaIdentifier": Rule("MediaType "),
    "MediaType": CODED,
    "AuditSourceIdentification": Rule(
        "(AuditSourceTypeCode )*",
        required={"AuditSourceID": r"\S.*"},
        optional={"AuditEnterpriseSiteID": ".*"},
    ),
    "AuditSourceTypeCode": Rule(required={"csd-code": "[1-9]"}),
    "ParticipantObjectIdentification": Rule(
        "ParticipantObjectIDTypeCode (ParticipantObjectName |ParticipantObjectQuery )"
        "(ParticipantObjectDetail )*(ParticipantObjectDescription )*",
        required={"ParticipantObjectID": r"\S.*"},
        optional={
            "ParticipantObjectTypeCode": "[1-4]",
            "ParticipantObjectTypeCodeRole": "[1-9]|1[0-9]|2[0-6]",
            "ParticipantObjectDataLifeCycle": "[1-9]|1[0-5]",
            "ParticipantObjectSensitivity": ".*",
        },
    ),
    "ParticipantObjectIDTypeCode": CODED,
    "ParticipantObjectName": Rule(),
    "ParticipantObjectQuery": Rule(),
    "ParticipantObjectDescription": Rule(
        "(MPPS )*(Accession )*(SOPClass )*(ParticipantObjectContainsStudy )?"
        "(Encrypted )?(Anonymized )?"
    ),
    "SOPClass": Rule("(Instance )*", required={"NumberOfInstances": r"\d+"}, optional={"UID": UID}),
    "Instance": Rule(required={"UID": UID}),
}


def validated(xml: str) -> ET.Element:
    """Return the message; fail if it is not well-formed or does not follow the schema."""
    root = ET.fromstring(xml)  # noqa: S314 - made by the code under test
    assert root.tag == "AuditMessage"
    for element in root.iter():
        _check(element)
    return root


def _check(element: ET.Element) -> None:
    rule = SCHEMA[element.tag]
    children = "".join(f"{child.tag} " for child in element)
    assert re.fullmatch(rule.children, children), f"{element.tag} holds {children}"
    missing = rule.required.keys() - element.attrib.keys()
    assert not missing, f"{element.tag} lacks {missing}"
    patterns = rule.required | rule.optional
    for name, value in element.attrib.items():
        assert name in patterns, f"{element.tag} has {name}"
        assert re.fullmatch(patterns[name], value, re.DOTALL), f"{element.tag}/@{name}: {value!r}"
