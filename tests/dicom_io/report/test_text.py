from io import BytesIO

import pydicom
import pytest

from dicom_io.errors import ObjectError
from dicom_io.objects.encode import to_bytes
from dicom_io.objects.secondary_capture import build_capture
from dicom_io.read.image_header import ImageHeader
from dicom_io.report.content import ReportedImage
from dicom_io.report.document import build_report
from dicom_io.report.text import report_text
from tests.builders.objects import (
    LATERAL,
    SHA256,
    STUDY,
    capture_content,
    findings,
    full_header,
    report_content,
)


def test_a_report_reads_as_text_without_the_patient() -> None:
    content = report_content(
        full_header(),
        sources=[
            ReportedImage(ImageHeader.of(full_header(1)), findings(), ["PixelSpacing is missing"]),
            ReportedImage(ImageHeader.of(full_header(2)), findings(())),
        ],
        not_analysed=[LATERAL],
    )
    ds = build_report(content)
    text = report_text(ds)
    lines = text.splitlines()
    assert lines[:3] == [
        "AI findings - research use only",
        "Written 2024-05-06 09:08:09 +0200",
        "",
    ]
    assert lines[3].startswith("RESEARCH USE ONLY")
    assert lines[4].startswith("2 frontal chest radiographs analysed by AI. Image 1")
    assert "Model: starter 1.2.0 of cxrd project" in lines
    assert f"Model bundle sha256: {SHA256}" in lines
    assert "Image 1: PixelSpacing is missing" in lines
    assert f"Image {STUDY}.1.2" in lines
    assert "  Pleural effusion     Present       0.7500    0.5000" in lines
    assert sum("Absent " in line for line in lines) == 27
    assert text.count("RESEARCH USE ONLY") == 1
    assert any(line.startswith(f"Not analysed: {STUDY}.2.9: LATERAL_VIEW") for line in lines)
    for private in ("ller", "P-17", "A-4711", "House"):
        assert private not in text


def test_text_is_the_same_after_reading_back() -> None:
    ds = build_report(report_content(full_header()))
    assert report_text(pydicom.dcmread(BytesIO(to_bytes(ds)))) == report_text(ds)


def test_an_object_that_is_not_a_report_has_no_text() -> None:
    with pytest.raises(ObjectError, match="not a measurement report"):
        report_text(build_capture(capture_content(full_header())))
