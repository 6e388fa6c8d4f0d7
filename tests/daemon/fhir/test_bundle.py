import json
from collections import Counter
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import pytest
from fhir.resources.bundle import Bundle
from fhir.resources.R4B.bundle import Bundle as R4BBundle

from daemon.config.partners.fhir_version import FhirVersion
from daemon.errors import FhirError
from daemon.fhir.bundle import transaction
from daemon.fhir.target import FhirTarget
from dicom_io.objects.algorithm import RESEARCH_USE_ONLY
from dicom_io.report.content import PriorReport
from dicom_io.report.reading.read_values import CodedValue, ReadReport
from tests.builders.objects import ALGORITHM, EARLIER_REPORT, STUDY
from tests.tools.validation import OUTLINE

R5 = FhirTarget("ehr", FhirVersion.R5)
R4B_SERVER = FhirTarget("ehr", FhirVersion.R4B)
MODELS: dict[FhirVersion, Any] = {FhirVersion.R5: Bundle, FhirVersion.R4B: R4BBundle}


def resources(bundle: dict[str, Any], kind: str) -> list[dict[str, Any]]:
    return [one["resource"] for one in bundle["entry"] if one["resource"]["resourceType"] == kind]


def observation(bundle: dict[str, Any], meaning: str) -> dict[str, Any]:
    """Return the first Observation of a finding."""
    return next(one for one in resources(bundle, "Observation") if one["code"]["text"] == meaning)


def references(part: Any) -> Iterator[str]:
    if isinstance(part, dict):
        yield from [part["reference"]] if isinstance(part.get("reference"), str) else []
        part = list(part.values())
    if isinstance(part, list):
        for one in part:
            yield from references(one)


@pytest.mark.parametrize("target", [R5, R4B_SERVER], ids=["R5", "R4B"])
def test_every_resource_is_valid_and_loses_nothing(report: ReadReport, target: FhirTarget) -> None:
    bundle = transaction(report, target)
    validated = MODELS[target.version].model_validate(bundle)
    assert json.loads(validated.model_dump_json()) == bundle


def test_the_resources_of_r5(report: ReadReport) -> None:
    kinds = Counter(one["resource"]["resourceType"] for one in transaction(report, R5)["entry"])
    # Four sites and one finding present; two images, one region, one heatmap.
    assert kinds == {
        "Device": 1,
        "BodyStructure": 5,
        "ImagingSelection": 4,
        "Observation": 28,
        "DiagnosticReport": 1,
    }


def test_the_resources_of_r4b(report: ReadReport) -> None:
    bundle = transaction(report, R4B_SERVER)
    kinds = Counter(one["resource"]["resourceType"] for one in bundle["entry"])
    assert kinds == {"Device": 1, "BodyStructure": 1, "Observation": 28, "DiagnosticReport": 1}
    effusion = observation(bundle, "Pleural effusion")
    assert effusion["bodySite"]["text"] == "Pleura"
    [study] = effusion["derivedFrom"]
    assert (study["type"], study["identifier"]["value"]) == ("ImagingStudy", f"urn:oid:{STUDY}")
    assert resources(bundle, "BodyStructure")[0]["location"]["text"] == "Pleura"
    assert resources(bundle, "Device")[0]["deviceName"][0]["name"] == "starter"
    assert resources(bundle, "DiagnosticReport")[0]["imagingStudy"] == [study]


def test_an_absent_finding_reads_as_absent(report: ReadReport) -> None:
    bundle = transaction(report, R5)
    absent = observation(bundle, "Pneumothorax")
    coding = absent["valueCodeableConcept"]["coding"][0]
    assert (coding["system"], coding["code"]) == ("http://snomed.info/sct", "272519000")
    assert absent["code"]["coding"][0]["code"] == "36118008"
    assert "focus" not in absent


def test_a_finding_says_what_the_report_says(report: ReadReport) -> None:
    bundle = transaction(report, R5)
    found = report.findings[0]
    effusion = observation(bundle, "Pleural effusion")
    assert effusion["valueCodeableConcept"]["coding"][0]["code"] == "52101004"
    values = {
        one["code"]["coding"][0]["code"]: one["valueQuantity"] for one in effusion["component"]
    }
    unit = {"unit": "1", "system": "http://unitsofmeasure.org", "code": "1"}
    assert values == {
        "122157": {"value": found.probability, **unit},
        "122411": {"value": found.threshold, **unit},
    }
    assert effusion["identifier"][1]["value"] == f"urn:oid:{found.tracking_uid}"
    assert effusion["status"] == "preliminary"
    assert effusion["effectiveDateTime"] == "2024-05-05T10:11:12+02:00"
    assert effusion["issued"] == "2024-05-06T09:08:09+02:00"


def test_region_and_heatmap_are_those_of_the_report(report: ReadReport) -> None:
    bundle = transaction(report, R5)
    by_url = {one["fullUrl"]: one["resource"] for one in bundle["entry"]}
    effusion = observation(bundle, "Pleural effusion")
    image, region, heatmap = (by_url[one["reference"]] for one in effusion["derivedFrom"])
    [outline] = region["instance"][0]["imageRegion2D"]
    corners = [value for corner in [*OUTLINE, OUTLINE[0]] for value in corner]
    assert outline == {"regionType": "polyline", "coordinate": corners}
    found = report.findings[0]
    assert found.heatmap is not None
    for selection, shown in ((image, found.image), (region, found.image), (heatmap, found.heatmap)):
        assert selection["seriesUid"] == shown.series_instance_uid
        assert selection["instance"][0]["uid"] == shown.sop_instance_uid
        assert selection["instance"][0]["sopClass"]["code"] == f"urn:oid:{shown.sop_class_uid}"
    assert (
        by_url[effusion["bodyStructure"]["reference"]]["includedStructure"][0]["structure"][
            "coding"
        ][0]["code"]
        == "3120008"
    )


@pytest.mark.parametrize("target", [R5, R4B_SERVER], ids=["R5", "R4B"])
def test_a_person_reads_in_each_resource_that_it_is_research(
    report: ReadReport, target: FhirTarget
) -> None:
    for one in transaction(report, target)["entry"]:
        assert f"<p>{RESEARCH_USE_ONLY}</p>" in one["resource"]["text"]["div"]
        assert one["resource"]["meta"]["security"][0]["code"] == "AIAST"


def test_the_report_of_the_bundle(report: ReadReport) -> None:
    [found] = resources(transaction(report, R5), "DiagnosticReport")
    assert found["identifier"][1]["value"] == f"urn:oid:{report.document.sop_instance_uid}"
    assert len(found["result"]) == 28
    assert found["conclusion"].startswith(f"{RESEARCH_USE_ONLY}\n2 frontal chest radiographs")
    assert "LATERAL_VIEW" in found["conclusion"]
    [replaced] = found["extension"]
    assert replaced["valueReference"]["identifier"]["value"] == (
        f"urn:oid:{EARLIER_REPORT.sop_instance_uid}"
    )


def test_earlier_reports_are_in_the_text(report: ReadReport) -> None:
    prior = PriorReport(EARLIER_REPORT, "20230102", "Study of 2023-01-02, starter 1.1.0: none.")
    bundle = transaction(replace(report, priors=(prior,)), R5)
    Bundle.model_validate(bundle)
    [found] = resources(bundle, "DiagnosticReport")
    assert f"<p>{prior.said}</p>" in found["text"]["div"]
    assert {"text": prior.said} in found["note"]


def test_the_state_follows_verification_and_predecessor(report: ReadReport) -> None:
    def state(verification: str, target: FhirTarget, *, first: bool) -> tuple[str, str]:
        document = replace(
            report.document,
            verification=verification,
            predecessors=() if first else report.document.predecessors,
        )
        bundle = transaction(replace(report, document=document), target)
        kinds = "DiagnosticReport", "Observation"
        one, other = (resources(bundle, kind)[0]["status"] for kind in kinds)
        return one, other

    assert state("UNVERIFIED", R5, first=True) == ("preliminary", "preliminary")
    assert state("UNVERIFIED", R5, first=False) == ("modified", "preliminary")
    assert state("UNVERIFIED", R4B_SERVER, first=False) == ("preliminary", "preliminary")
    assert state("VERIFIED", R5, first=True) == ("final", "final")
    assert state("VERIFIED", R4B_SERVER, first=False) == ("amended", "final")


def test_the_model_is_one_device_for_all_reports(report: ReadReport) -> None:
    [first] = [
        one
        for one in transaction(report, R5)["entry"]
        if one["resource"]["resourceType"] == "Device"
    ]
    uid = f"urn:oid:{ALGORITHM.device_uid}"
    assert first["request"]["ifNoneExist"] == f"identifier=urn:dicom:uid|{uid}"
    device = first["resource"]
    assert device["version"] == [{"value": "1.2.0"}]
    assert device["serialNumber"] == ALGORITHM.sha256
    assert (device["displayName"], device["manufacturer"]) == ("starter", "cxrd project")


def test_a_repeat_is_the_same_and_another_destination_is_not(report: ReadReport) -> None:
    first = transaction(report, R5)
    assert json.dumps(first) == json.dumps(transaction(report, R5))
    other = transaction(report, replace(R5, name="other"))
    urls = {one["fullUrl"] for one in first["entry"]}
    assert len(urls) == len(first["entry"])
    assert urls.isdisjoint(one["fullUrl"] for one in other["entry"])
    for one in first["entry"]:
        assert one["request"]["method"] == "POST"
        assert one["request"]["url"] == one["resource"]["resourceType"]
        system, value = one["request"]["ifNoneExist"].removeprefix("identifier=").split("|")
        named = {(known.get("system"), known["value"]) for known in one["resource"]["identifier"]}
        assert (system, value) in named


def test_every_reference_within_the_bundle_resolves(report: ReadReport) -> None:
    bundle = transaction(report, R5)
    urls = {one["fullUrl"] for one in bundle["entry"]}
    named = set(references(bundle))
    assert named <= urls
    [report_url] = [
        one["fullUrl"]
        for one in bundle["entry"]
        if one["resource"]["resourceType"] == "DiagnosticReport"
    ]
    assert urls - named == {report_url}


def test_patient_study_and_order_are_named_and_never_made(report: ReadReport) -> None:
    bundle = transaction(report, R5)
    effusion = observation(bundle, "Pleural effusion")
    assert effusion["subject"]["identifier"]["value"] == "P-17"
    assert "reference" not in effusion["subject"]
    [order] = effusion["basedOn"]
    assert order["identifier"]["value"] == "A-4711"
    assert order["identifier"]["type"]["coding"][0]["code"] == "ACSN"
    assert effusion["partOf"][0]["identifier"]["value"] == f"urn:oid:{STUDY}"
    for kind in ("Patient", "ImagingStudy", "ServiceRequest"):
        assert resources(bundle, kind) == []


def test_a_patient_system_makes_a_conditional_reference(report: ReadReport) -> None:
    patient = replace(report.patient, patient_id="A|1,ü 2")
    target = replace(R5, patient_system="https://hospital.example/mrn", accession_system="urn:ris")
    bundle = transaction(replace(report, patient=patient), target)
    Bundle.model_validate(bundle)
    effusion = observation(bundle, "Pleural effusion")
    assert effusion["subject"]["reference"] == (
        "Patient?identifier=https://hospital.example/mrn|A%5C%7C1%5C%2C%C3%BC%202"
    )
    assert effusion["basedOn"][0]["identifier"]["system"] == "urn:ris"


@pytest.mark.parametrize(("issuer", "expected"), [("HOSPITAL", True), ("", True), ("CITY", False)])
def test_a_patient_of_another_issuer_is_not_looked_up(
    report: ReadReport, issuer: str, expected: bool
) -> None:
    patient = replace(report.patient, patient_id="4711", issuer=issuer)
    target = replace(R5, patient_system="urn:hospital", patient_issuer="HOSPITAL")
    if expected:
        bundle = transaction(replace(report, patient=patient), target)
        reference = observation(bundle, "Pleural effusion")["subject"]["reference"]
        assert reference == "Patient?identifier=urn:hospital|4711"
        return
    with pytest.raises(FhirError, match="another issuer than patient_issuer"):
        transaction(replace(report, patient=patient), target)


def test_issuers_are_named(report: ReadReport) -> None:
    study = replace(report.study, accession_issuer="RIS")
    patient = replace(report.patient, issuer="HOSPITAL")
    bundle = transaction(replace(report, patient=patient, study=study, orders=()), R5)
    effusion = observation(bundle, "Pleural effusion")
    assert effusion["subject"]["identifier"]["assigner"] == {"display": "HOSPITAL"}
    assert effusion["basedOn"][0]["identifier"]["assigner"] == {"display": "RIS"}


def test_an_order_without_accession_number_is_named_by_another_number(report: ReadReport) -> None:
    order = replace(report.orders[0], accession_number="", filler_order_number="F-1")
    study = replace(report.study, accession_number="")
    bundle = transaction(replace(report, orders=(order,), study=study), R5)
    [named] = observation(bundle, "Pleural effusion")["basedOn"]
    assert named["identifier"]["value"] == "F-1"
    assert named["identifier"]["type"]["coding"][0]["code"] == "FILL"
    bundle = transaction(replace(report, orders=(), study=study), R5)
    assert "basedOn" not in observation(bundle, "Pleural effusion")


def test_a_report_without_patient_id_is_refused(report: ReadReport) -> None:
    with pytest.raises(FhirError, match="no Patient ID"):
        transaction(replace(report, patient=replace(report.patient, patient_id="")), R5)


@pytest.mark.parametrize(
    ("date", "time", "expected"),
    [
        ("20240505", "101112.123456", "2024-05-05T10:11:12+02:00"),
        ("20240505", "", "2024-05-05"),
        ("2024.5.5", "101112", None),
        ("", "", None),
    ],
)
def test_a_malformed_study_date_is_left_out(
    report: ReadReport, date: str, time: str, expected: str | None
) -> None:
    study = replace(report.study, date=date, time=time)
    bundle = transaction(replace(report, study=study), R5)
    assert observation(bundle, "Pleural effusion").get("effectiveDateTime") == expected


def test_a_time_without_offset_is_left_out(report: ReadReport) -> None:
    document = replace(report.document, written=report.document.written.replace(tzinfo=None))
    bundle = transaction(replace(report, document=document), R5)
    effusion = observation(bundle, "Pleural effusion")
    assert "issued" not in effusion
    assert effusion["effectiveDateTime"] == "2024-05-05"


def test_texts_are_escaped_and_codes_of_unknown_schemes_keep_their_meaning(
    report: ReadReport,
) -> None:
    site = CodedValue("1", "99LOCAL", "Lung <left> & right")
    images = [
        replace(one, findings=tuple(replace(found, site=site) for found in one.findings))
        for one in report.images
    ]
    bundle = transaction(replace(report, images=tuple(images)), R5)
    Bundle.model_validate(bundle)
    place = resources(bundle, "BodyStructure")[0]
    assert place["includedStructure"] == [{"structure": {"text": "Lung <left> & right"}}]
    assert "Lung &lt;left&gt; &amp; right" in place["text"]["div"]


def test_the_private_code_names_its_scheme(report: ReadReport) -> None:
    code = observation(transaction(report, R5), "Pleural thickening")["code"]["coding"][0]
    assert code["system"].startswith("urn:oid:2.25.")
    assert code["code"] == "PLEURALTHICKEN"
