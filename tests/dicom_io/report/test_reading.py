from collections.abc import Callable
from dataclasses import replace
from datetime import datetime, timedelta, timezone
from typing import Any

import pydicom
import pytest
from pydicom.data import get_charset_files
from pydicom.dataset import Dataset
from pydicom.uid import Comprehensive3DSRStorage, ComprehensiveSRStorage

from dicom_io.errors import ObjectError
from dicom_io.objects.algorithm import RESEARCH_USE_ONLY
from dicom_io.objects.codes import FINDING_CODES
from dicom_io.objects.encode import to_bytes
from dicom_io.objects.secondary_capture import build_capture
from dicom_io.report.content import NotAnalysed, ReportContent
from dicom_io.report.document import build_report
from dicom_io.report.older_classes import as_class
from dicom_io.report.prose import by_rank
from dicom_io.report.reading.read_values import ReadReport
from dicom_io.report.reading.reader import read_report
from tests.builders.objects import (
    ALGORITHM,
    EARLIER_REPORT,
    LATERAL,
    STUDY,
    bare_header,
    capture_content,
    full_header,
    report_content,
    whole_content,
)


@pytest.fixture(scope="module")
def full_read() -> ReadReport:
    return read_back(whole_content())


def read_back(content: ReportContent) -> ReadReport:
    return read_report(to_bytes(build_report(content)))


def test_every_finding_is_read_as_it_was_written(full_read: ReadReport) -> None:
    content, read = whole_content(), full_read
    assert [image.reference for image in read.images] == [
        image.reference() for image in content.sources
    ]
    written = [
        (found.label, found.present, found.probability, found.threshold, found.heatmap)
        for image in content.sources
        for found in by_rank(image.findings)
    ]
    assert [
        (found.label, found.present, found.probability, found.threshold, found.heatmap)
        for found in read.findings
    ] == written
    for image, source in zip(read.images, content.sources, strict=True):
        outlines = {found.label: found.outline for found in image.findings}
        assert outlines == {
            found.label: None if found.outline is None else tuple(found.outline)
            for found in source.findings
        }
        assert all(found.image == image.reference for found in image.findings)
        assert image.notes == tuple(
            f"Image {content.sources.index(source) + 1}: {note}" for note in source.notes
        )


def test_codes_and_identifiers_of_a_finding(full_read: ReadReport) -> None:
    found = full_read.findings[0]
    coded = FINDING_CODES["Effusion"]
    assert (found.code.value, found.code.scheme) == (coded.concept.value, coded.concept.scheme)
    assert (found.code.meaning, found.site.meaning) == ("Pleural effusion", "Pleura")
    assert (found.result.meaning, found.present) == ("Present", True)
    assert found.tracking_identifier == "Image 1: Pleural effusion"
    ds = build_report(whole_content())
    group = ds.ContentSequence[-1].ContentSequence[0].ContentSequence
    assert found.tracking_uid in [item.get("UID") for item in group]


def test_every_label_comes_back(full_read: ReadReport) -> None:
    assert {found.label for found in full_read.findings} == set(FINDING_CODES)


def test_patient_study_and_order() -> None:
    header = full_header()
    header.IssuerOfPatientID = "HOSPITAL"
    request = header.RequestAttributesSequence[0]
    request.PlacerOrderNumberImagingServiceRequest = "PL-1"
    request.FillerOrderNumberImagingServiceRequest = "FI-2"
    read = read_back(report_content(header))
    patient = read.patient
    assert (patient.patient_id, patient.issuer) == ("P-17", "HOSPITAL")
    assert (patient.name, patient.birth_date, patient.sex) == ("Müller^Jürgen", "19500102", "M")
    study = read.study
    assert (study.study_instance_uid, study.study_id) == (STUDY, "S1")
    assert (study.date, study.time, study.description) == ("20240505", "101112", "Thorax p.a.")
    assert (study.accession_number, study.referring_physician) == ("A-4711", "House^Gregory")
    [order] = read.orders
    assert (order.accession_number, order.requested_procedure_id) == ("A-4711", "RP-1")
    assert (order.placer_order_number, order.filler_order_number) == ("PL-1", "FI-2")
    assert (order.description, order.procedure) == ("Röntgen Thorax", None)
    assert [(one.value, one.scheme) for one in read.procedures] == [("RPID2503", "RADLEX")]


def test_the_issuer_of_an_accession_number_is_read() -> None:
    ds = build_report(report_content(full_header()))
    issuer = Dataset()
    issuer.UniversalEntityID = "1.2.3.4"
    issuer.UniversalEntityIDType = "ISO"
    ds.IssuerOfAccessionNumberSequence = [issuer]
    assert read_report(to_bytes(ds)).study.accession_issuer == "1.2.3.4"
    issuer.LocalNamespaceEntityID = "RIS"
    assert read_report(to_bytes(ds)).study.accession_issuer == "RIS"


def test_the_document_and_its_predecessor(full_read: ReadReport) -> None:
    document, identity = full_read.document, whole_content().identity
    assert document.sop_class_uid == Comprehensive3DSRStorage
    assert document.sop_instance_uid == identity.sop_instance_uid
    assert document.series_instance_uid == identity.series_instance_uid
    assert document.written == identity.content_datetime
    assert document.written.utcoffset() == timedelta(hours=2)
    states = document.completion, document.verification, document.preliminary
    assert states == ("COMPLETE", "UNVERIFIED", "PRELIMINARY")
    assert document.predecessors == (EARLIER_REPORT,)


def test_a_time_without_an_offset_is_naive() -> None:
    ds = build_report(report_content(full_header()))
    del ds.TimezoneOffsetFromUTC
    assert read_report(to_bytes(ds)).document.written == datetime(2024, 5, 6, 9, 8, 9)  # noqa: DTZ001
    ds.TimezoneOffsetFromUTC = "-0330"
    zone = timezone(-timedelta(hours=3, minutes=30))
    assert read_report(to_bytes(ds)).document.written == datetime(2024, 5, 6, 9, 8, 9, tzinfo=zone)


def test_the_algorithm_and_the_texts(full_read: ReadReport) -> None:
    content, read = whole_content(), full_read
    algorithm = read.algorithm
    assert (algorithm.name, algorithm.version) == (ALGORITHM.model_name, "1.2.0")
    assert (algorithm.manufacturer, algorithm.sha256) == ("cxrd project", ALGORITHM.sha256)
    assert algorithm.device_uid == ALGORITHM.device_uid
    assert algorithm.intended_use == ALGORITHM.intended_use
    assert algorithm.calibration == "Platt scaling per label"
    assert read.research_notice == RESEARCH_USE_ONLY
    assert read.summary.startswith("2 frontal chest radiographs analysed by AI. Image 1")
    assert read.statements == tuple(content.statements)
    assert read.explanations[0] == "one false call per film"
    assert read.images[0].sentences[0].startswith("Image 1 (series 3, instance 1): 1 of 14")


def _skipped(number: int, reason: str) -> NotAnalysed:
    return replace(LATERAL, sop_instance_uid=f"{STUDY}.2.{number}", reason=reason)


def test_objects_not_analysed() -> None:
    many = [_skipped(number, "NOT_CHEST") for number in range(20, 24)]
    content = replace(whole_content(), not_analysed=[LATERAL, *many])
    lateral, slices = read_back(content).not_analysed
    assert lateral.reason == "LATERAL_VIEW"
    assert [one.sop_instance_uid for one in lateral.objects] == [LATERAL.sop_instance_uid]
    assert lateral.line.endswith("ViewPosition is LL")
    assert (slices.reason, slices.objects) == ("NOT_CHEST", ())


def test_a_bare_film_leaves_texts_empty() -> None:
    read = read_back(report_content(bare_header()))
    assert read.patient.patient_id == read.patient.name == read.study.accession_number == ""
    assert not read.orders
    assert not read.document.predecessors


def test_names_in_other_character_sets() -> None:
    for path in (*get_charset_files("chrGreek.dcm"), *get_charset_files("chrH31.dcm")):
        header = pydicom.dcmread(path)
        name = str(pydicom.dcmread(path).PatientName)
        assert read_back(report_content(header)).patient.name == name.strip()


def test_a_report_in_an_older_class_reads_the_same(full_read: ReadReport) -> None:
    report = build_report(whole_content())
    older = read_report(to_bytes(as_class(report, ComprehensiveSRStorage)))
    assert older.findings == full_read.findings
    assert older.document.sop_class_uid == ComprehensiveSRStorage
    assert older.document.predecessors[0].sop_class_uid == ComprehensiveSRStorage


def _without_findings(ds: Any) -> None:
    del ds.ContentSequence[-1].ContentSequence[0].ContentSequence[2:]


def _without_evidence(ds: Any) -> None:
    del ds.CurrentRequestedProcedureEvidenceSequence


def _without_comments(ds: Any) -> None:
    ds.ContentSequence = [item for item in ds.ContentSequence if item.ValueType != "TEXT"]


@pytest.mark.parametrize("damage", [_without_findings, _without_evidence, _without_comments])
def test_a_damaged_report_is_refused(damage: Callable[[Any], None]) -> None:
    ds = build_report(whole_content())
    damage(ds)
    with pytest.raises(ObjectError, match="report"):
        read_report(to_bytes(ds))


def test_other_objects_are_refused() -> None:
    with pytest.raises(ObjectError, match="not a measurement report"):
        read_report(to_bytes(build_capture(capture_content(full_header()))))
    with pytest.raises(ObjectError, match="cannot be read"):
        read_report(b"no DICOM" * 100)
