from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from pydicom.uid import Comprehensive3DSRStorage, ComprehensiveSRStorage

from dicom_io.objects.encode import to_bytes
from dicom_io.report.content import ObjectReference, PriorReport
from dicom_io.report.document import build_report
from dicom_io.report.older_classes import as_class, fallback_uid
from dicom_io.report.reading.priors import prior_report
from dicom_io.report.reading.reader import read_report
from dicom_io.report.text import report_parts, report_text
from tests.builders.objects import (
    STUDY,
    full_header,
    report_content,
    whole_content,
    written,
)
from tests.tools.validation import dump, validate

EARLIER_STUDY = "1.2.826.0.1.3680043.8.498.5"


def prior(study: str, date: str, said: str) -> PriorReport:
    reference = ObjectReference(Comprehensive3DSRStorage, f"{study}.3.1", f"{study}.3", study)
    return PriorReport(reference, date, said)


PRIORS = [
    prior(
        EARLIER_STUDY,
        "20230102",
        "Study of 2023-01-02, starter 1.1.0: Image 1: none of 14 findings reaches its threshold.",
    ),
    prior(
        f"{EARLIER_STUDY}1",
        "",
        "Study of unknown date, starter 1.1.0: Image 1: 1 of 14 findings at or above threshold.",
    ),
]


def previous(ds: Any) -> list[Any]:
    return [
        item
        for item in ds.ContentSequence
        if item.ConceptNameCodeSequence[0].CodeMeaning == "Previous Findings"
    ]


@pytest.fixture(scope="module")
def report() -> Any:
    return build_report(whole_content(priors=PRIORS))


def test_a_report_that_names_priors_is_valid(report: Any, tmp_path: Path) -> None:
    path = written(report, tmp_path)
    assert validate(path) == []
    shown = dump(path)
    assert "Prior report for current patient" in shown
    assert "Study of 2023-01-02" in shown


def test_priors_are_in_the_evidence_of_other_studies(report: Any) -> None:
    named = {
        study.StudyInstanceUID: study.ReferencedSeriesSequence[0].ReferencedSOPSequence[0]
        for study in report.PertinentOtherEvidenceSequence
    }
    assert {uid: item.ReferencedSOPInstanceUID for uid, item in named.items()} == {
        prior.reference.study_instance_uid: prior.reference.sop_instance_uid for prior in PRIORS
    }


def test_priors_come_back(report: Any) -> None:
    read = read_report(to_bytes(report))
    assert read.priors == tuple(PRIORS)
    assert any("compares nothing" in line for line in read.explanations)
    assert len(read.findings) == 28
    parts = report_parts(report)
    assert parts.priors == tuple(prior.said for prior in PRIORS)
    assert PRIORS[0].said in report_text(report).splitlines()


def test_no_prior_is_said(tmp_path: Path) -> None:
    ds = build_report(report_content(full_header(), priors=[]))
    assert validate(written(ds, tmp_path)) == []
    assert "PertinentOtherEvidenceSequence" not in ds
    assert read_report(to_bytes(ds)).priors == ()
    [line] = report_parts(ds).priors
    assert line.startswith("No AI report on an earlier study")


def test_a_report_without_comparison_is_as_before() -> None:
    ds = build_report(report_content(full_header()))
    assert previous(ds) == []
    assert "PertinentOtherEvidenceSequence" not in ds
    assert "compare" not in report_text(ds)


def test_an_older_class_names_the_fallback_of_the_priors(report: Any, tmp_path: Path) -> None:
    older = as_class(report, ComprehensiveSRStorage)
    assert validate(written(older, tmp_path)) == []
    read = read_report(to_bytes(older))
    for found, prior in zip(read.priors, PRIORS, strict=True):
        uid = fallback_uid(prior.reference.sop_instance_uid, ComprehensiveSRStorage)
        assert found.reference == replace(
            prior.reference, sop_class_uid=ComprehensiveSRStorage, sop_instance_uid=uid
        )
    assert read_report(to_bytes(report)).priors == tuple(PRIORS)


@pytest.mark.parametrize(
    ("study_date", "day"),
    [("20230102", "2023-01-02"), ("20230230", ""), ("2023.1.2", ""), ("", "")],
)
def test_a_report_as_a_prior(study_date: str, day: str) -> None:
    built = build_report(whole_content())
    read = read_report(to_bytes(built))
    prior = prior_report(replace(read, study=replace(read.study, date=study_date)))
    assert prior.study_date == day.replace("-", "")
    assert prior.said == (
        f"Study of {day or 'unknown date'}, starter 1.2.0: "
        "Image 1 (series 3, instance 1): 1 of 14 findings at or above threshold: Pleural effusion "
        "0.75 (3.0 times the odds of its threshold 0.50). Image 2 (series 3, instance 2): none of "
        "14 findings reaches its threshold."
    )
    assert prior.reference == ObjectReference(
        built.SOPClassUID, built.SOPInstanceUID, built.SeriesInstanceUID, STUDY
    )
    assert "ller" not in prior.said
