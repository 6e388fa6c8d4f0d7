"""docs/fhir.md shows a bundle as it is made, and names keys and statuses that exist."""

import json
import re
from dataclasses import replace
from typing import Any

import pytest
from fhir.resources.bundle import Bundle

from daemon.config.partners.destination import DestinationConfig
from daemon.config.partners.fhir_version import FhirVersion
from daemon.fhir.bundle import transaction
from daemon.fhir.target import FhirTarget
from dicom_io.objects.encode import to_bytes
from dicom_io.read.image_header import ImageHeader
from dicom_io.report.content import ReportedFinding, ReportedImage
from dicom_io.report.document import build_report
from dicom_io.report.reading.reader import read_report
from tests.builders.objects import full_header, report_content
from tests.test_report_page import picture
from tests.tools.paths import ROOT
from tests.tools.validation import OUTLINE

PAGE = (ROOT / "docs" / "fhir.md").read_text(encoding="utf-8")
TARGET = FhirTarget("ehr", FhirVersion.R5, "https://example.org/mrn")


def example() -> dict[str, Any]:
    """Return the bundle of one film with two findings, the first present."""
    present, absent = (
        ReportedFinding("Effusion", 0.3354, 0.0575, True, picture("Effusion"), OUTLINE),
        ReportedFinding("Pneumothorax", 0.1, 0.12, False),
    )
    film = ReportedImage(ImageHeader.of(full_header()), [present, absent])
    report = build_report(report_content(full_header(), sources=[film]))
    return transaction(read_report(to_bytes(report)), TARGET)


def pretty(value: Any, indent: str = "", width: int = 118) -> str:
    """Return JSON that is in one line wherever a line is long enough."""
    line = json.dumps(value, ensure_ascii=False)
    if not isinstance(value, dict | list) or len(indent) + len(line) <= width:
        return line
    deeper = indent + "  "
    if isinstance(value, dict):
        parts = [f"{json.dumps(name)}: {pretty(one, deeper)}" for name, one in value.items()]
        return "{\n" + ",\n".join(deeper + part for part in parts) + f"\n{indent}}}"
    return "[\n" + ",\n".join(deeper + pretty(one, deeper) for one in value) + f"\n{indent}]"


def test_the_example_is_a_bundle_as_it_is_made() -> None:
    [shown] = re.findall(r"^```json\n(.*?)^```", PAGE, re.MULTILINE | re.DOTALL)
    bundle = example()
    Bundle.model_validate(bundle)
    assert shown == pretty(bundle) + "\n"


def test_the_page_has_the_keys_of_the_destination() -> None:
    [shown] = re.findall(r"^```yaml\n(.*?)^```", PAGE, re.MULTILINE | re.DOTALL)
    keys = set(re.findall(r"^ +(?:- )?(\w+):", shown, re.MULTILINE))
    assert keys <= set(DestinationConfig.model_fields)
    assert {"version", "patient_system", "accession_system", "token_file"} <= keys


@pytest.mark.parametrize("version", FhirVersion)
def test_the_page_has_the_states(version: FhirVersion) -> None:
    report = read_report(to_bytes(build_report(report_content(full_header()))))
    target = replace(TARGET, version=version)
    states = {
        one["resource"]["status"]
        for one in transaction(report, target)["entry"]
        if one["resource"]["resourceType"] in ("Observation", "DiagnosticReport")
    }
    assert all(f"`{state}`" in PAGE for state in states)
