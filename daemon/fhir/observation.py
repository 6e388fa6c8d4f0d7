"""A finding as Observation (IG: Imaging Qualitative Evaluation).

The IG maps a measurement group to an Observation whose value is the finding, and the evaluation
Present or Absent to a member of it. A reader of the first alone would take every absent finding
for a present one. One Observation therefore holds both: its code is the finding, its value Present
or Absent, and probability and threshold are components.
"""

from collections.abc import Mapping
from dataclasses import dataclass

from daemon.config.partners.fhir_version import FhirVersion
from daemon.fhir.context import ReportContext
from daemon.fhir.datatypes import (
    DCM_SYSTEM,
    Json,
    ai_asserted,
    coded,
    coding,
    concept,
    narrative,
    quantity,
    uid_identifier,
)
from daemon.fhir.identity import Entry, entry
from daemon.fhir.structures import TRACKING_UID
from dicom_io.objects.codes import PROBABILITY, THRESHOLD
from dicom_io.report.reading.read_values import CodedValue, ReadFinding

_CATEGORIES = (
    coding("http://terminology.hl7.org/CodeSystem/observation-category", "imaging", "Imaging"),
    coding("http://terminology.hl7.org/CodeSystem/umls", "C0034375", "Qualitative Evaluations"),
)


@dataclass(frozen=True, slots=True)
class Linked:
    """The entries that the Observation of a finding refers to.

    `shown` are the selections that the finding derives from, and `tracked` is the finding as a
    body structure, both empty where there is none. `sites` are by code; empty in R4B.
    """

    device: Entry
    sites: Mapping[CodedValue, Entry]
    shown: tuple[Entry, ...]
    tracked: Entry | None


def observation(context: ReportContext, finding: ReadFinding, linked: Linked) -> Entry:
    """Return the Observation of a finding; absent findings have one, too."""
    notice = context.report.research_notice
    sentence = (
        f"{finding.code.meaning}: {finding.result.meaning}, probability "
        f"{finding.probability:.4f}, threshold {finding.threshold:.4f}; image "
        f"{finding.image.sop_instance_uid}"
    )
    resource: Json = {
        "resourceType": "Observation",
        "meta": ai_asserted(),
        "text": narrative([notice, sentence]),
        "identifier": [uid_identifier(finding.tracking_uid, TRACKING_UID)],
        **context.based_on(),
        "partOf": [context.study()],
        "status": "final" if context.is_verified else "preliminary",
        "category": [concept(one) for one in _CATEGORIES],
        "code": coded(finding.code),
        "subject": context.subject(),
        **({} if linked.tracked is None else {"focus": [linked.tracked.reference]}),
        **context.effective(),
        **context.issued(),
        "valueCodeableConcept": coded(finding.result),
        "note": [{"text": notice}, {"text": sentence}],
        **_place(context, finding, linked),
        "device": linked.device.reference,
        "derivedFrom": [one.reference for one in linked.shown] or [context.study()],
        "component": [
            _component(PROBABILITY.value, PROBABILITY.meaning, finding.probability),
            _component(THRESHOLD.value, THRESHOLD.meaning, finding.threshold),
        ],
    }
    return entry(context.identity.urn(f"finding {finding.tracking_uid}"), resource)


def _place(context: ReportContext, finding: ReadFinding, linked: Linked) -> Json:
    if context.target.version is FhirVersion.R5:
        return {"bodyStructure": linked.sites[finding.site].reference}
    return {"bodySite": coded(finding.site)}


def _component(code: str, meaning: str, value: float) -> Json:
    return {"code": concept(coding(DCM_SYSTEM, code, meaning)), "valueQuantity": quantity(value)}
