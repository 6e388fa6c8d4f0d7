"""The algorithm as a Device (IG: DICOM General Equipment, Algorithm Identification)."""

from daemon.config.partners.fhir_version import FhirVersion
from daemon.fhir.context import ReportContext
from daemon.fhir.datatypes import (
    DCM_SYSTEM,
    DICOM_UID_SYSTEM,
    Json,
    ai_asserted,
    coding,
    concept,
    narrative,
    uid_identifier,
)
from daemon.fhir.identity import Entry, by_identifier

_ARTIFICIAL_INTELLIGENCE = concept(coding(DCM_SYSTEM, "123110", "Artificial Intelligence"))


def device(context: ReportContext) -> Entry:
    """Return the Device of the model: one on the server for all its reports, by its Device UID."""
    algorithm = context.report.algorithm
    lines = [
        context.report.research_notice,
        f"{algorithm.name} {algorithm.version} of {algorithm.manufacturer}",
        *(f"Intended use: {use}" for use in (algorithm.intended_use,) if use),
        *(f"Calibration: {method}" for method in (algorithm.calibration,) if method),
        f"Model bundle sha256: {algorithm.sha256}",
    ]
    resource: Json = {
        "resourceType": "Device",
        "meta": ai_asserted(),
        "text": narrative(lines),
        "identifier": [uid_identifier(algorithm.device_uid)],
        "manufacturer": algorithm.manufacturer,
        "serialNumber": algorithm.sha256,
        "modelNumber": algorithm.name,
        "version": [{"value": algorithm.version}],
        "note": [{"text": line} for line in lines],
    }
    if context.target.version is FhirVersion.R5:
        resource["displayName"] = algorithm.name
        resource["type"] = [_ARTIFICIAL_INTELLIGENCE]
    else:
        resource["deviceName"] = [{"name": algorithm.name, "type": "model-name"}]
        resource["type"] = _ARTIFICIAL_INTELLIGENCE
    search = by_identifier(DICOM_UID_SYSTEM, f"urn:oid:{algorithm.device_uid}")
    return Entry(context.identity.urn("device"), resource, search)
