"""Data types of FHIR as JSON: codes, identifiers, references, times, narratives."""

from collections.abc import Iterable
from datetime import datetime
from typing import Any
from xml.sax.saxutils import escape

from dicom_io.objects.codes import PRIVATE_SCHEME, PRIVATE_SCHEME_UID
from dicom_io.report.reading.read_values import CodedValue

Json = dict[str, Any]
"""A resource, or a part of one."""

DICOM_UID_SYSTEM = "urn:dicom:uid"
URI_SYSTEM = "urn:ietf:rfc:3986"
DCM_SYSTEM = "http://dicom.nema.org/resources/ontology/DCM"
IDENTIFIER_TYPES = "http://terminology.hl7.org/CodeSystem/v2-0203"

# Coding scheme designators of PS3.16 section 8, and their systems in FHIR.
_SYSTEMS = {
    "SCT": "http://snomed.info/sct",
    "DCM": DCM_SYSTEM,
    "LN": "http://loinc.org",
    "RADLEX": "http://radlex.org",
    "UCUM": "http://unitsofmeasure.org",
    "UMLS": "http://terminology.hl7.org/CodeSystem/umls",
    PRIVATE_SCHEME: f"urn:oid:{PRIVATE_SCHEME_UID}",
}
_AI_ASSERTED = {
    "system": "http://terminology.hl7.org/CodeSystem/v3-ObservationValue",
    "code": "AIAST",
    "display": "Artificial Intelligence asserted",
}
_XHTML = "http://www.w3.org/1999/xhtml"


def ai_asserted() -> Json:
    """Return the `meta` of a resource that an algorithm has asserted (HL7 AI Transparency)."""
    return {"security": [dict(_AI_ASSERTED)]}


def coding(system: str, code: str, display: str) -> Json:
    """Return a Coding."""
    return {"system": system, "code": code, "display": display}


def concept(*codings: Json, text: str = "") -> Json:
    """Return a CodeableConcept of these codings; its text is that of the first by default."""
    return {"coding": list(codings), "text": text or codings[0]["display"]}


def coded(value: CodedValue) -> Json:
    """Return a code of the report as CodeableConcept.

    A local coding scheme has no system; its meaning is then the text.
    """
    system = _SYSTEMS.get(value.scheme)
    if system is None:
        return {"text": value.meaning}
    return concept(coding(system, value.value, value.meaning))


def identifier(system: str, value: str, kind: Json | None = None) -> Json:
    """Return an Identifier; without a system if that is empty."""
    made: Json = {"system": system, "value": value} if system else {"value": value}
    return made if kind is None else {"type": kind, **made}


def uid_identifier(uid: str, kind: Json | None = None) -> Json:
    """Return a DICOM UID as Identifier (FHIR, ImagingStudy)."""
    return identifier(DICOM_UID_SYSTEM, f"urn:oid:{uid}", kind)


def logical(kind: str, named: Json, display: str = "") -> Json:
    """Return a reference to a resource of another system by its identifier alone."""
    made: Json = {"type": kind, "identifier": named}
    return {**made, "display": display} if display else made


def quantity(value: float) -> Json:
    """Return a number from 0 to 1 as Quantity; its unit is the UCUM code 1."""
    return {"value": value, "unit": "1", "system": _SYSTEMS["UCUM"], "code": "1"}


def instant(moment: datetime) -> str | None:
    """Return a time as `instant`; None if it names no offset from UTC."""
    return moment.isoformat(timespec="seconds") if moment.tzinfo is not None else None


def date_time(date: str, time: str, zone: datetime) -> str | None:
    """Return DICOM date and time as `dateTime` in the offset of `zone`; None if malformed.

    A malformed time leaves the date alone, because FHIR takes a time with its offset only.
    """
    try:
        day = datetime.strptime(date, "%Y%m%d").date()  # noqa: DTZ007
    except ValueError:
        return None
    try:
        moment = datetime.strptime(date + time[:6], "%Y%m%d%H%M%S")  # noqa: DTZ007
    except ValueError:
        return day.isoformat()
    return instant(moment.replace(tzinfo=zone.tzinfo)) or day.isoformat()


def narrative(lines: Iterable[str]) -> Json:
    """Return the text of a resource for people: a paragraph per line."""
    paragraphs = "".join(f"<p>{escape(line)}</p>" for line in lines)
    return {"status": "generated", "div": f'<div xmlns="{_XHTML}">{paragraphs}</div>'}
