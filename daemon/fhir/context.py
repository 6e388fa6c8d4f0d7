"""References that all resources of a report share: patient, study, order, times, state."""

import re
from dataclasses import dataclass
from urllib.parse import quote

from daemon.errors import FhirError
from daemon.fhir.datatypes import (
    DCM_SYSTEM,
    IDENTIFIER_TYPES,
    Json,
    coding,
    concept,
    date_time,
    identifier,
    instant,
    logical,
    uid_identifier,
)
from daemon.fhir.identity import Identity, by_identifier
from daemon.fhir.target import FhirTarget
from dicom_io.report.reading.read_values import ReadOrder, ReadReport

_STUDY_UID = concept(coding(DCM_SYSTEM, "110180", "Study Instance UID"))
_ORDER_NUMBERS = (
    ("ACSN", "Accession ID", "accession_number"),
    ("PLAC", "Placer Identifier", "placer_order_number"),
    ("FILL", "Filler Identifier", "filler_order_number"),
)


@dataclass(frozen=True, slots=True)
class ReportContext:
    """A report for one server; makes the references that its resources share.

    Patient, ImagingStudy and ServiceRequest are never created: other systems own them.
    """

    report: ReadReport
    target: FhirTarget

    @property
    def identity(self) -> Identity:
        """Return the source of the identifiers of the report's resources."""
        return Identity(self.target.name, self.report.document.sop_instance_uid)

    def subject(self) -> Json:
        """Return the patient.

        Raises FhirError if the report has no Patient ID, or one of another issuer than the server's
        patients.
        """
        patient = self.report.patient
        if not patient.patient_id:
            raise FhirError("the report has no Patient ID, so no Patient of FHIR can be named")
        if patient.issuer and self.target.patient_issuer not in ("", patient.issuer):
            raise FhirError(
                "the Patient ID of the report is of another issuer than patient_issuer, so the same"
                " number may be another patient there"
            )
        if self.target.patient_system:
            search = by_identifier(self.target.patient_system, patient.patient_id)
            return {"reference": f"Patient?{search}", "type": "Patient"}
        kind = concept(coding(IDENTIFIER_TYPES, "MR", "Medical record number"))
        named = identifier("", patient.patient_id, kind)
        if patient.issuer:
            named["assigner"] = {"display": patient.issuer}
        return logical("Patient", named)

    def study(self) -> Json:
        """Return the ImagingStudy, by its Study Instance UID."""
        uid = self.report.study.study_instance_uid
        return logical("ImagingStudy", uid_identifier(uid, _STUDY_UID))

    def orders(self) -> list[Json]:
        """Return the ServiceRequests, each by its accession number, else by an order number."""
        found = [_number_of(order) for order in self.report.orders]
        study = self.report.study
        if study.accession_number:
            found.append(("ACSN", "Accession ID", study.accession_number, study.accession_issuer))
        references = []
        for code, display, number, issuer in dict.fromkeys(one for one in found if one[2]):
            system = self.target.accession_system if code == "ACSN" else ""
            named = identifier(system, number, concept(coding(IDENTIFIER_TYPES, code, display)))
            if issuer:
                named["assigner"] = {"display": issuer}
            references.append(logical("ServiceRequest", named))
        return references

    def based_on(self) -> Json:
        """Return the orders as an element; empty if the report names none."""
        orders = self.orders()
        return {"basedOn": orders} if orders else {}

    def issued(self) -> Json:
        """Return the time at which the report was written as an element."""
        moment = instant(self.report.document.written)
        return {"issued": moment} if moment else {}

    def effective(self) -> Json:
        """Return the time of the study as an element; empty if it is malformed."""
        study = self.report.study
        moment = date_time(study.date, study.time, self.report.document.written)
        return {"effectiveDateTime": moment} if moment else {}

    @property
    def is_verified(self) -> bool:
        """Return True if a person has verified the report."""
        return self.report.document.verification == "VERIFIED"

    @property
    def has_predecessor(self) -> bool:
        """Return True if the report follows an earlier one on the study."""
        return bool(self.report.document.predecessors)


def private_values(report: ReadReport) -> frozenset[str]:
    """Return the values of a report that name its patient or order, in every form of a bundle."""
    patient, study = report.patient, report.study
    values = {
        patient.patient_id,
        patient.name,
        *re.split(r"[\^= ]+", patient.name),
        patient.birth_date,
        study.study_id,
        study.accession_number,
        *re.split(r"[\^= ]+", study.referring_physician),
    }
    for order in report.orders:
        values |= {getattr(order, name) for _, _, name in _ORDER_NUMBERS}
        values.add(order.requested_procedure_id)
    return frozenset(values | {quote(one) for one in values}) - {""}


def _number_of(order: ReadOrder) -> tuple[str, str, str, str]:
    for code, display, name in _ORDER_NUMBERS:
        number: str = getattr(order, name)
        if number:
            return code, display, number, order.accession_issuer if code == "ACSN" else ""
    return "", "", "", ""
