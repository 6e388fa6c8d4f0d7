"""Audit messages follow PS3.15 A.5, with any text in them."""

from dataclasses import replace
from datetime import UTC, datetime
from typing import Any
from xml.etree import ElementTree as ET

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydicom.sr._concepts_dict import concepts

from dicom_io import audit_codes
from dicom_io.audit_codes import AuditCode
from dicom_io.audit_message import (
    Action,
    AuditMessage,
    Outcome,
    Participant,
    ParticipantObject,
    hash_uri,
    to_xml,
)
from tests.tools.audit_schema import validated

AT = datetime(2026, 3, 1, 12, 0, 0, 250_000, tzinfo=UTC)
SOP_CLASS = "1.2.840.10008.5.1.4.1.1.1.1"


def message(text: str = "x") -> AuditMessage:
    """A message with every element, and with `text` in each element that holds free text."""
    return AuditMessage(
        event=audit_codes.INSTANCES_TRANSFERRED,
        types=(audit_codes.private_code("instance_received"),),
        action=Action.CREATE,
        at=AT,
        outcome=Outcome.MINOR_FAILURE,
        description=text,
        participants=(
            Participant(text, True, (audit_codes.SOURCE,), text, text, "10.0.0.7"),
            Participant(
                text,
                False,
                (audit_codes.DESTINATION_MEDIA,),
                media_type=audit_codes.MEDIA_URI,
                host="node.example",
            ),
        ),
        source_id="CXRD@node",
        objects=(
            ParticipantObject("1.2.3", audit_codes.STUDY_UID, text, 2, 3, SOP_CLASS, "1.2.3.4"),
            ParticipantObject("10.0.0.7", audit_codes.NODE_ID, text, 2),
        ),
    )


def test_a_message_follows_the_schema() -> None:
    root = validated(to_xml(message()))

    event = root.find("EventIdentification")
    assert event is not None
    assert event.attrib == {
        "EventActionCode": "C",
        "EventDateTime": "2026-03-01T12:00:00.250+00:00",
        "EventOutcomeIndicator": "4",
    }
    event_id = event.find("EventID")
    assert event_id is not None
    assert event_id.attrib == {
        "csd-code": "110104",
        "codeSystemName": "DCM",
        "originalText": "DICOM Instances Transferred",
    }
    first, second = root.findall("ActiveParticipant")
    assert first.get("AlternativeUserID") == "AETITLES=x"
    assert first.get("NetworkAccessPointTypeCode") == "2"
    assert second.get("NetworkAccessPointTypeCode") == "1"
    study, _ = root.findall("ParticipantObjectIdentification")
    sop_class = study.find("ParticipantObjectDescription/SOPClass")
    assert sop_class is not None
    assert sop_class.attrib == {"UID": SOP_CLASS, "NumberOfInstances": "1"}
    assert [instance.get("UID") for instance in sop_class] == ["1.2.3.4"]


@given(st.text(min_size=1))
@pytest.mark.parametrize("prefix", ["", "]]><a b='", '"/>&#0;\x01\ud800\ufffe\r\n'])
def test_no_text_breaks_a_message_or_its_line(prefix: str, text: str) -> None:
    xml = to_xml(message(prefix + text))
    assert "\n" not in xml
    xml.encode()
    first, _ = validated(xml).findall("ActiveParticipant")
    assert len(first.get("UserID", "")) == len(prefix + text)


def test_a_time_without_a_zone_is_refused() -> None:
    naive = replace(message(), at=AT.replace(tzinfo=None))
    with pytest.raises(ValueError, match="time zone"):
        to_xml(naive)


def test_codes_are_those_of_the_standard() -> None:
    entries: list[Any] = list(concepts["DCM"].values())
    known = {value: found[0] for entry in entries for value, found in entry.items()}
    ours = [code for code in vars(audit_codes).values() if isinstance(code, AuditCode)]
    assert len(ours) > 20
    for code in ours:
        if code.scheme == "DCM":
            assert known[code.value] == code.meaning


def test_the_uri_of_a_hash_is_that_of_rfc_6920() -> None:
    # The example of RFC 6920 section 8.1: "Hello World!"
    digest = "7f83b1657ff1fc53b92dc18148a1d65dfc2d4b1fa3d677284addd200126d9069"
    assert hash_uri(digest) == "ni:///sha-256;f4OxZX_x_FO5LcGBSKHWXfwtSx-j1ncoSt3SABJtkGk"


def test_the_schema_check_finds_a_violation() -> None:
    whole = to_xml(message())
    for old, new in (
        (' UserIsRequestor="true"', ""),
        ("<EventID ", "<EventIDs "),
        ('EventOutcomeIndicator="4"', 'EventOutcomeIndicator="5"'),
        ("<AuditSourceTypeCode ", "<AuditMessage/><AuditSourceTypeCode "),
    ):
        assert old in whole
        with pytest.raises((AssertionError, KeyError, ET.ParseError)):
            validated(whole.replace(old, new))
