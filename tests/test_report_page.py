"""docs/report.md shows a report as it is built, and names tests that exist."""

import re
from dataclasses import replace

from pydicom.uid import CTImageStorage

from daemon.analyse.operating_point import operating_point_sentence
from dicom_io.objects.codes import FINDING_CODES
from dicom_io.objects.uids import heatmap_uid, series_uid
from dicom_io.read.image_header import ImageHeader
from dicom_io.report.content import (
    NotAnalysed,
    ObjectReference,
    ReportContent,
    ReportedFinding,
    ReportedImage,
)
from dicom_io.report.document import build_report
from dicom_io.report.text import report_text
from tests.builders.objects import ALGORITHM, LATERAL, SHA256, STUDY, full_header, report_content
from tests.tools.paths import ROOT
from tests.tools.validation import OUTLINE

PAGE = (ROOT / "docs" / "report.md").read_text(encoding="utf-8")
PROBABILITIES = {"Effusion": 0.3354, "Fibrosis": 0.2109}
OPERATING_POINT = {
    "max_false_calls": 0.5,
    "likelihood_ratio": 2.94,
    "chosen_on": "validation patients",
}


def example() -> ReportContent:
    """Return two films, the second sent again; a lateral film and a series of CT slices."""
    algorithm = replace(
        ALGORITHM,
        name="cxrd-starter",
        version="2",
        manufacturer="cxrd",
        calibrated=True,
        calibration="per finding (hierarchical Platt)",
        calibration_version="b79708f47a4d",
        operating_point=operating_point_sentence(OPERATING_POINT),
        intended_use="For trying the system, not for reading films.",
        parameters=("Software: cxrd 0.2.0",),
    )
    slices = [
        NotAnalysed(
            CTImageStorage, f"{STUDY}.5.{number}", f"{STUDY}.5", "UNSUPPORTED_SOP_CLASS", ""
        )
        for number in range(300)
    ]
    headers = [full_header(number) for number in (1, 2)]
    for header in headers:
        header.ViewPosition = "PA"
    first, second = map(ImageHeader.of, headers)
    return report_content(
        *headers,
        algorithm=algorithm,
        sources=[
            ReportedImage(first, found(PROBABILITIES), ["PixelSpacing is missing"]),
            ReportedImage(second, found({}), revision=2),
        ],
        not_analysed=[LATERAL, *slices],
    )


def found(present: dict[str, float]) -> list[ReportedFinding]:
    """Return all findings; the named ones present, with their heatmaps and outlines."""
    return [
        ReportedFinding(
            label,
            present.get(label, 0.0125 * number),
            0.0125 * number + 0.02,
            label in present,
            picture(label) if label in present else None,
            OUTLINE if label in present else None,
        )
        for number, label in enumerate(FINDING_CODES, 1)
    ]


def picture(label: str) -> ObjectReference:
    uid = heatmap_uid(f"{STUDY}.1.1", SHA256, label)
    return ObjectReference(
        "1.2.840.10008.5.1.4.1.1.7", uid, series_uid(STUDY, SHA256, "heatmap"), STUDY
    )


def test_the_example_is_a_report_as_it_is_built() -> None:
    [shown] = re.findall(r"^```text\n(.*?)^```", PAGE, re.MULTILINE | re.DOTALL)
    assert shown == report_text(build_report(example()))


def test_the_page_has_each_requirement_with_a_test_that_exists() -> None:
    rows = re.findall(r"^\| (\d) \| .* \| (met|not met)\b.* \| (.*) \|$", PAGE, re.MULTILINE)
    assert [int(number) for number, _, _ in rows] == list(range(1, 9))
    tests = "\n".join(path.read_text(encoding="utf-8") for path in ROOT.glob("tests/**/test_*.py"))
    for _, _, named in rows:
        names = re.findall(r"`(test_\w+)`", named)
        assert names
        assert all(f"def {name}(" in tests for name in names), named
    assert "text not available" in PAGE
