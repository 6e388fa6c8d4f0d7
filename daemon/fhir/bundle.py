"""A report as one transaction, by HL7's "DICOM SR to FHIR Resource Mapping" of TID 1500.

R5 names images, regions and heatmaps by ImagingSelection. R4B has no such resource: there the
Observations derive from the ImagingStudy, and outlines and heatmaps stay in the DICOM report.
"""

from daemon.config.partners.fhir_version import FhirVersion
from daemon.fhir.context import ReportContext
from daemon.fhir.datatypes import Json
from daemon.fhir.device import device
from daemon.fhir.diagnostic_report import diagnostic_report
from daemon.fhir.identity import Entry
from daemon.fhir.observation import Linked, observation
from daemon.fhir.selections import heatmap, region, source_image
from daemon.fhir.structures import site, tracked
from daemon.fhir.target import FhirTarget
from dicom_io.report.reading.read_values import ReadReport


def transaction(report: ReadReport, target: FhirTarget) -> Json:
    """Return the transaction Bundle of a report: the same report makes the same bundle.

    Each resource is created only if the server has none with its identifier, so that a repeat
    makes no second one. Raises FhirError if the report has no Patient ID.
    """
    entries = _entries(ReportContext(report, target))
    return {
        "resourceType": "Bundle",
        "type": "transaction",
        "entry": [one.as_json() for one in entries],
    }


def _entries(context: ReportContext) -> list[Entry]:
    is_r5 = context.target.version is FhirVersion.R5
    report = context.report
    equipment = device(context)
    codes = dict.fromkeys(finding.site for finding in report.findings) if is_r5 else {}
    sites = {code: site(context, code) for code in codes}
    others: list[Entry] = [equipment, *sites.values()]
    results: list[Entry] = []
    for image in report.images:
        film = source_image(context, image.reference) if is_r5 else None
        others += [film] if film is not None else []
        for finding in image.findings:
            present = tracked(context, finding) if finding.present else None
            made = (region(context, finding), heatmap(context, finding)) if is_r5 else ()
            shown = tuple(one for one in (film, *made) if one is not None)
            results.append(observation(context, finding, Linked(equipment, sites, shown, present)))
            others += [one for one in (present, *shown) if one is not None and one is not film]
    return [*others, *results, diagnostic_report(context, results)]
