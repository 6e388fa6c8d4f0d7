"""A FHIR server for which resources are made."""

from dataclasses import dataclass

from daemon.config.partners.fhir_version import FhirVersion


@dataclass(frozen=True, slots=True)
class FhirTarget:
    """A server: the name of the destination, its version, and its systems of identifiers.

    With `patient_system` the patient is a conditional reference, which the server resolves to the
    one Patient with the identifier; without it the patient is named by the identifier alone.
    `patient_issuer` is the Issuer of Patient ID (0010,0021) whose numbers are of that system; empty
    for any.
    """

    name: str
    version: FhirVersion = FhirVersion.R5
    patient_system: str = ""
    patient_issuer: str = ""
    accession_system: str = ""
