"""Body sites and tracked findings as BodyStructure (IG: Finding Site, Tracking Identifier)."""

from daemon.config.partners.fhir_version import FhirVersion
from daemon.fhir.context import ReportContext
from daemon.fhir.datatypes import (
    DCM_SYSTEM,
    Json,
    ai_asserted,
    coded,
    coding,
    concept,
    identifier,
    narrative,
    uid_identifier,
)
from daemon.fhir.identity import Entry, entry
from dicom_io.report.reading.read_values import CodedValue, ReadFinding

_TRACKING_IDENTIFIER = concept(coding(DCM_SYSTEM, "112039", "Tracking Identifier"))
TRACKING_UID = concept(coding(DCM_SYSTEM, "112040", "Tracking Unique Identifier"))


def site(context: ReportContext, code: CodedValue) -> Entry:
    """Return the body site of findings."""
    named = f"Finding site: {code.meaning}"
    resource = _structure(context, [named], code)
    return entry(context.identity.urn(f"site {code.scheme} {code.value}"), resource)


def tracked(context: ReportContext, finding: ReadFinding) -> Entry:
    """Return a finding that is present, by its tracking identifiers."""
    named = f"{finding.tracking_identifier}: {finding.result.meaning}"
    resource = _structure(context, [named], finding.site)
    resource["identifier"] = [
        identifier("", finding.tracking_identifier, _TRACKING_IDENTIFIER),
        uid_identifier(finding.tracking_uid, TRACKING_UID),
    ]
    resource["morphology"] = coded(finding.code)
    return entry(context.identity.urn(f"tracked {finding.tracking_uid}"), resource)


def _structure(context: ReportContext, lines: list[str], place: CodedValue) -> Json:
    notice = context.report.research_notice
    resource: Json = {
        "resourceType": "BodyStructure",
        "meta": ai_asserted(),
        "text": narrative([notice, *lines]),
        "description": f"{'; '.join(lines)}. {notice}",
        "patient": context.subject(),
    }
    if context.target.version is FhirVersion.R5:
        resource["includedStructure"] = [{"structure": coded(place)}]
    else:
        resource["location"] = coded(place)
    return resource
