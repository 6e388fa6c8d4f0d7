"""The report itself as DiagnosticReport, with its text for people."""

from collections.abc import Iterator, Sequence

from daemon.config.partners.fhir_version import FhirVersion
from daemon.fhir.context import ReportContext
from daemon.fhir.datatypes import (
    DCM_SYSTEM,
    Json,
    ai_asserted,
    coding,
    concept,
    logical,
    narrative,
    uid_identifier,
)
from daemon.fhir.identity import Entry, entry

_REPLACES = "http://hl7.org/fhir/StructureDefinition/diagnosticReport-replaces"
_RADIOLOGY = coding("http://terminology.hl7.org/CodeSystem/v2-0074", "RAD", "Radiology")
_MEASUREMENT_REPORT = coding(DCM_SYSTEM, "126000", "Imaging Measurement Report")


def diagnostic_report(context: ReportContext, results: Sequence[Entry]) -> Entry:
    """Return the DiagnosticReport; `results` are its Observations."""
    report = context.report
    uid = report.document.sop_instance_uid
    conclusion = list(_conclusion(context))
    details = [sentence for image in report.images for sentence in image.sentences]
    notes = [note for image in report.images for note in image.notes]
    priors = [prior.said for prior in report.priors]
    lines = [*conclusion, *details, *priors, *notes, *report.explanations]
    resource: Json = {
        "resourceType": "DiagnosticReport",
        "meta": ai_asserted(),
        "text": narrative(lines),
        **_predecessor(context),
        "identifier": [uid_identifier(uid)],
        **context.based_on(),
        "status": _status(context),
        "category": [concept(_RADIOLOGY)],
        "code": concept(_MEASUREMENT_REPORT, text=report.document.title),
        "subject": context.subject(),
        **context.effective(),
        **context.issued(),
        "result": [one.reference for one in results],
        "conclusion": "\n".join(conclusion),
    }
    if context.target.version is FhirVersion.R5:
        resource["study"] = [context.study()]
        resource["note"] = [{"text": line} for line in (*priors, *notes, *report.explanations)]
    else:
        resource["imagingStudy"] = [context.study()]
    return entry(context.identity.urn("report"), resource)


def _conclusion(context: ReportContext) -> Iterator[str]:
    report = context.report
    yield report.research_notice
    yield report.summary
    yield from report.statements
    yield from (omission.line for omission in report.not_analysed)


def _status(context: ReportContext) -> str:
    """Return the state: preliminary until a person has verified the report.

    A report that follows another has changed: `amended` if verified. Before that R5 says
    `modified`, for which R4B has no code.
    """
    if context.is_verified:
        return "amended" if context.has_predecessor else "final"
    is_modified = context.has_predecessor and context.target.version is FhirVersion.R5
    return "modified" if is_modified else "preliminary"


def _predecessor(context: ReportContext) -> Json:
    """Return the extension that names the report which this one replaces; empty if it is first."""
    for one in context.report.document.predecessors:
        named = logical("DiagnosticReport", uid_identifier(one.sop_instance_uid))
        return {"extension": [{"url": _REPLACES, "valueReference": named}]}
    return {}
