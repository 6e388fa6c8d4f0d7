import copy
import re
import subprocess
from collections.abc import Iterator
from dataclasses import replace
from datetime import datetime, timedelta, timezone
from io import BytesIO
from pathlib import Path
from typing import Any

import highdicom
import pydicom
import pytest
from pydicom.data import get_charset_files
from pydicom.dataset import Dataset
from pydicom.sr.codedict import codes
from pydicom.uid import Comprehensive3DSRStorage

from dicom_io.errors import ObjectError
from dicom_io.objects.codes import (
    ABSENT,
    FINDING_CODES,
    PRESENT,
    PRIVATE_SCHEME,
    VISUAL_EXPLANATION,
)
from dicom_io.objects.encode import to_bytes
from dicom_io.objects.source_header import Identity
from dicom_io.objects.uids import tracking_uid
from dicom_io.read.image_header import ImageHeader
from dicom_io.report.content import ObjectReference, ReportContent, ReportedFinding, ReportedImage
from dicom_io.report.document import build_report
from tests.builders.objects import (
    ALGORITHM,
    LATERAL,
    NOW,
    SHA256,
    STUDY,
    bare_header,
    findings,
    full_header,
    report_content,
    two_image_content,
    written,
)
from tests.tools.installed import require_tool
from tests.tools.validation import OUTLINE, dump, new_errors, validate, warnings

REAL_CHESTS = ["01_", "02_", "03_", "04_", "15_"]

# The other character set files of pydicom contain no study.
CHARACTER_SETS = [name for name in get_charset_files("*.dcm") if "SQEncoding" not in name]


def read_back(content: ReportContent) -> Any:
    return highdicom.sr.srread(BytesIO(to_bytes(build_report(content))))


def texts(ds: Dataset, name: str) -> list[str]:
    return [
        str(item.TextValue)
        for item in ds.ContentSequence
        if item.ValueType == "TEXT" and item.ConceptNameCodeSequence[0].CodeMeaning == name
    ]


@pytest.fixture
def full_content() -> ReportContent:
    """Two images, an outlined finding with heatmap, a predecessor, notes, a skipped object."""
    earlier = ObjectReference(Comprehensive3DSRStorage, f"{STUDY}.7", f"{STUDY}.6", STUDY)
    return two_image_content(predecessor=earlier)


@pytest.mark.parametrize("header", [full_header, bare_header])
def test_dciodvfy_finds_no_error(header: Any, tmp_path: Path) -> None:
    assert validate(written(build_report(report_content(header())), tmp_path)) == []


def test_dciodvfy_finds_no_error_in_a_report_with_everything(
    full_content: ReportContent, tmp_path: Path
) -> None:
    path = written(build_report(full_content), tmp_path)
    assert validate(path) == []
    # No validator knows the private code, and dciodvfy predates DeviceUID in this item.
    expected = re.compile(
        rf"99CXRD|Coding Scheme UID|\(0x0018,0x1002\)|Standard Extended|{PRIVATE_SCHEME}"
    )
    assert [line for line in warnings(path) if not expected.search(line)] == []


@pytest.mark.parametrize("name", REAL_CHESTS)
def test_a_report_on_a_real_film_adds_no_error(
    name: str, data_folder: Path, tmp_path: Path
) -> None:
    [source] = (data_folder / "dicom" / "real").glob(f"{name}*")
    header = pydicom.dcmread(source, force=True, stop_before_pixels=True)
    assert new_errors(written(build_report(report_content(header)), tmp_path), source) == []


@pytest.mark.parametrize("source", CHARACTER_SETS, ids=lambda p: Path(p).stem)
def test_a_name_in_any_character_set_keeps_its_bytes(source: str, tmp_path: Path) -> None:
    header = pydicom.dcmread(source)
    raw = header.get_item("PatientName").value
    path = written(build_report(report_content(header)), tmp_path)
    built = pydicom.dcmread(path)
    assert built.get_item("PatientName").value == raw
    assert built.PatientName == pydicom.dcmread(source).PatientName
    assert validate(path) == []


@pytest.mark.parametrize("source", CHARACTER_SETS, ids=lambda p: Path(p).stem)
def test_a_name_that_was_decoded_before_is_kept(source: str) -> None:
    header = pydicom.dcmread(source)
    header.decode()
    name = pydicom.dcmread(source).PatientName
    assert str(read_back(report_content(header)).PatientName) == str(name).rstrip("= ")


def test_a_multi_byte_character_set_that_stands_alone_is_made_legal(tmp_path: Path) -> None:
    [japanese] = get_charset_files("chrH31.dcm")
    header = pydicom.dcmread(japanese)
    header.SpecificCharacterSet = "ISO 2022 IR 87"
    name = header.get_item("PatientName").value
    path = written(build_report(report_content(header)), tmp_path)
    built = pydicom.dcmread(path)
    assert list(built.SpecificCharacterSet) == ["", "ISO 2022 IR 87"]
    assert built.get_item("PatientName").value == name
    assert str(built.PatientName) == "Yamada^Tarou=山田^太郎=やまだ^たろう"
    assert validate(path) == []


def test_invalid_values_of_the_source_are_kept() -> None:
    header = full_header()
    buffer = BytesIO()
    header.save_as(buffer, implicit_vr=False, little_endian=True)
    odd = buffer.getvalue().replace(b"A-4711", b"A-47\\1").replace(b"20240505", b"2024.5.5")
    header = pydicom.dcmread(BytesIO(odd), force=True)
    built = build_report(report_content(header))
    assert built.get_item("AccessionNumber").value == b"A-47\\1"
    assert built.get_item("StudyDate").value == b"2024.5.5"


def test_a_request_keeps_its_characters_inside_the_sequence() -> None:
    header = full_header()
    header.SpecificCharacterSet = ["", "ISO 2022 IR 87"]
    header.PatientName = "Yamada^Tarou=山田^太郎"
    header.RequestAttributesSequence[0].RequestedProcedureDescription = "胸部"
    buffer = BytesIO()
    header.save_as(buffer, implicit_vr=True, little_endian=True)
    source = pydicom.dcmread(BytesIO(buffer.getvalue()), force=True)
    ds = read_back(report_content(source))
    assert ds.ReferencedRequestSequence[0].RequestedProcedureDescription == "胸部"
    assert ds.PatientName == "Yamada^Tarou=山田^太郎"


def test_the_source_header_is_not_touched() -> None:
    header = bare_header()
    before = copy.deepcopy(header)
    build_report(report_content(header))
    assert header == before
    header = full_header()
    before = copy.deepcopy(header)
    build_report(report_content(header))
    assert header == before


def test_the_same_content_gives_the_same_bytes(full_content: ReportContent) -> None:
    assert to_bytes(build_report(full_content)) == to_bytes(build_report(full_content))


def test_patient_study_and_document_are_described() -> None:
    ds = read_back(report_content(full_header()))
    assert ds.SOPClassUID == Comprehensive3DSRStorage
    assert (ds.Modality, ds.SeriesDescription) == ("SR", "AI findings - research use only")
    assert (ds.StudyInstanceUID, ds.AccessionNumber, ds.PatientID) == (STUDY, "A-4711", "P-17")
    assert str(ds.PatientName) == "Müller^Jürgen"
    assert (ds.CompletionFlag, ds.VerificationFlag) == ("COMPLETE", "UNVERIFIED")
    assert (ds.PreliminaryFlag, ds.ContentQualification) == ("PRELIMINARY", "RESEARCH")
    assert (ds.Manufacturer, ds.ManufacturerModelName) == ("cxrd project", "starter")
    assert (ds.SoftwareVersions, ds.DeviceSerialNumber) == ("1.2.0", SHA256)
    assert ds.AuthorObserverSequence[0].ObserverType == "DEV"
    [equipment] = ds.ContributingEquipmentSequence
    assert equipment.PurposeOfReferenceCodeSequence[0].CodeValue == "109102"
    [request] = ds.ReferencedRequestSequence
    assert (request.RequestedProcedureID, request.AccessionNumber) == ("RP-1", "A-4711")
    assert request.RequestedProcedureDescription == "Röntgen Thorax"
    [scheme] = ds.CodingSchemeIdentificationSequence
    assert scheme.CodingSchemeDesignator == PRIVATE_SCHEME


def test_times_are_in_the_zone_of_the_source() -> None:
    ds = build_report(report_content(full_header()))
    assert (ds.ContentDate, ds.ContentTime) == ("20240506", "090809")
    assert ds.TimezoneOffsetFromUTC == "+0200"


def test_times_are_in_the_zone_of_the_site_where_the_source_names_none() -> None:
    site = timezone(-timedelta(hours=9, minutes=30))
    identity = Identity("2.25.1", "2.25.2", 1, 1, NOW, timezone=site)
    ds = build_report(report_content(bare_header(), identity=identity))
    assert (ds.ContentDate, ds.ContentTime) == ("20240505", "213809")
    assert ds.TimezoneOffsetFromUTC == "-0930"


@pytest.mark.parametrize("offset", ["+2400", "0200", "local"])
def test_an_invalid_offset_is_ignored(offset: str) -> None:
    header = bare_header()
    header.add_new("TimezoneOffsetFromUTC", "SH", offset)
    assert build_report(report_content(header)).TimezoneOffsetFromUTC == "+0000"


def test_every_image_has_a_group_per_finding_with_its_numbers(
    full_content: ReportContent,
) -> None:
    report = read_back(full_content).content
    outlined = report.get_planar_roi_measurement_groups()
    groups = [*outlined, *report.get_image_measurement_groups()]
    assert (len(outlined), len(groups)) == (1, 28)
    by_uid = {group.tracking_uid: group for group in groups}
    assert len(by_uid) == 28
    for image in full_content.sources:
        for finding in image.findings:
            uid = tracking_uid(image.header.uids["SOPInstanceUID"], SHA256, finding.label)
            group = by_uid[uid]
            code = FINDING_CODES[finding.label]
            assert group.finding_type == code.concept.code
            assert [site.value for site in group.finding_sites] == [code.site.code]
            probability, threshold = group.get_measurements()
            assert (probability.name, probability.unit) == (
                codes.DCM.Probability,
                codes.UCUM.NoUnits,
            )
            assert (probability.value, threshold.value) == (
                finding.probability,
                finding.threshold,
            )
            [evaluation] = group.get_qualitative_evaluations()
            assert evaluation.name == code.concept.code
            assert evaluation.value == (PRESENT if finding.present else ABSENT).code
            [source] = named(group[0].ContentSequence, "Source of Measurement")
            assert source.referenced_sop_instance_uid == image.header.uids["SOPInstanceUID"]


def named(content: Any, name: str) -> list[Any]:
    return [item for item in content if item.ConceptNameCodeSequence[0].CodeMeaning == name]


def test_an_outlined_finding_is_a_closed_polyline_on_its_film(
    full_content: ReportContent,
) -> None:
    [group] = read_back(full_content).content.get_planar_roi_measurement_groups()
    assert group.finding_type == FINDING_CODES["Effusion"].concept.code
    assert group.roi.graphic_type.value == "POLYLINE"
    assert group.roi.value.tolist() == [list(point) for point in (*OUTLINE, OUTLINE[0])]
    # Viewers expect the film as the only item below the coordinate.
    [film] = group.roi.ContentSequence
    assert film.ReferencedSOPSequence[0].ReferencedSOPInstanceUID == f"{STUDY}.1.1"
    [picture] = named(group[0].ContentSequence, VISUAL_EXPLANATION.meaning)
    assert picture.ReferencedSOPSequence[0].ReferencedSOPClassUID == "1.2.840.10008.5.1.4.1.1.7"


def test_the_meaning_of_an_outline_is_said_once(full_content: ReportContent) -> None:
    told = [text for text in texts(build_report(full_content), "Comment") if "outline" in text]
    assert len(told) == 1
    assert "It is not a segmentation" in told[0]
    assert not any("outline" in text for text in every_text(report_content(full_header())))


def test_a_finding_without_outline_is_inferred_from_the_whole_film(
    full_content: ReportContent,
) -> None:
    for group in read_back(full_content).content.get_image_measurement_groups():
        probability, threshold = group.get_measurements()
        [film] = probability.referenced_coordinates
        assert film.value.tolist() == [[0, 0], [48, 0], [48, 64], [0, 64], [0, 0]]
        assert threshold.referenced_coordinates == []


def test_findings_that_are_present_come_first(full_content: ReportContent) -> None:
    ds = build_report(full_content)
    [measurements] = named(ds.ContentSequence, "Imaging Measurements")
    labels = [
        str(named(group.ContentSequence, "Tracking Identifier")[0].TextValue)
        for group in measurements.ContentSequence
    ]
    assert labels[:3] == [
        "Image 1: Pleural effusion",
        "Image 1: Atelectasis",
        "Image 1: Cardiomegaly",
    ]
    assert labels[14] == "Image 2: Atelectasis"


def test_the_image_library_describes_each_film() -> None:
    header = full_header()
    header.ViewPosition = "PA"
    [library] = named(build_report(report_content(header)).ContentSequence, "Image Library")
    [entry] = library.ContentSequence[0].ContentSequence
    descriptors = {
        item.ConceptNameCodeSequence[0].CodeMeaning: item.ConceptCodeSequence[0].CodeMeaning
        for item in entry.ContentSequence
        if item.ValueType == "CODE"
    }
    assert descriptors == {
        "Modality": "Digital Radiography",
        "Target Region": "Chest",
        "Image View": "postero-anterior",
    }


def every_text(content: ReportContent) -> list[str]:
    """Return the texts of the whole tree, in order."""
    found: list[str] = []

    def visit(parent: Dataset) -> None:
        for item in parent.get("ContentSequence", ()):
            if item.ValueType == "TEXT":
                found.append(str(item.TextValue))
            visit(item)

    visit(build_report(content))
    return found


def test_an_uncalibrated_model_says_so_beside_its_probabilities() -> None:
    plain = report_content(full_header())
    remarked = replace(plain, algorithm=replace(ALGORITHM, calibrated=False))
    for content, remark in ((plain, ""), (remarked, ", not calibrated")):
        numbers = [text for text in every_text(content) if "probability" in text]
        assert any(f"{remark} (" in text for text in every_text(content))
        assert any(f"absent, with probability{remark}: " in text for text in numbers)
        assert ("not calibrated" in " ".join(every_text(content))) is bool(remark)


def test_operating_point_and_version_of_the_calibration_are_named() -> None:
    algorithm = replace(
        ALGORITHM, operating_point="specificity 0.85", calibration_version="0a1b2c3d4e5f"
    )
    ds = build_report(report_content(full_header(), algorithm=algorithm))
    assert texts(ds, "CAD Operating Point Description") == ["specificity 0.85"]
    assert "Calibration: Platt scaling per label, version 0a1b2c3d4e5f" in texts(ds, "Comment")
    [equipment] = ds.ContributingEquipmentSequence
    assert "version 0a1b2c3d4e5f" in equipment.ContributionDescription


def test_every_group_names_its_algorithm_and_nothing_more_of_it(
    full_content: ReportContent,
) -> None:
    report = read_back(full_content).content
    groups = report.get_image_measurement_groups() + report.get_planar_roi_measurement_groups()
    for group in groups:
        lines = {
            item.ConceptNameCodeSequence[0].CodeMeaning: str(item.TextValue)
            for item in group[0].ContentSequence
            if item.ValueType == "TEXT"
        }
        del lines["Tracking Identifier"]
        assert lines == {"Algorithm Name": "starter", "Algorithm Version": "1.2.0"}


def test_the_parameters_stand_once_as_comments_at_the_root(full_content: ReportContent) -> None:
    comments = texts(build_report(full_content), "Comment")
    everywhere = every_text(full_content)
    for line in (
        "RESEARCH USE ONLY. Not for clinical use: not for diagnosis or treatment.",
        "Intended use: research on frontal chest radiographs of adults",
        "Model: starter 1.2.0 of cxrd project",
        "Calibration: Platt scaling per label",
        f"Model bundle sha256: {SHA256}",
    ):
        assert comments.count(line) == everywhere.count(line) == 1
    assert comments[0].startswith("RESEARCH USE ONLY")


def test_items_are_rendered_one_by_one_with_their_names(
    full_content: ReportContent, tmp_path: Path
) -> None:
    path = written(build_report(full_content), tmp_path)
    command = [require_tool("dsr2html"), str(path), str(tmp_path / "report.html")]
    done = subprocess.run(command, capture_output=True, check=True, timeout=60)
    assert done.stderr == b""
    shown = (tmp_path / "report.html").read_text(encoding="latin-1")
    for name in ("Summary", "Comment", "Probability", "Threshold Value", "Visual explanation"):
        assert f"<b>{name}:</b>" in shown
    assert shown.index("RESEARCH USE ONLY") < shown.index("2 frontal chest radiographs")


def references(sequence: Any) -> Iterator[tuple[str, str, str]]:
    for study in sequence:
        for series in study.ReferencedSeriesSequence:
            for sop in series.ReferencedSOPSequence:
                yield (
                    str(study.StudyInstanceUID),
                    str(series.SeriesInstanceUID),
                    str(sop.ReferencedSOPInstanceUID),
                )


def test_evidence_lists_analysed_images_other_objects_and_heatmaps(
    full_content: ReportContent,
) -> None:
    ds = read_back(full_content)
    heatmap = full_content.sources[0].findings[2].heatmap
    assert heatmap is not None
    assert list(references(ds.CurrentRequestedProcedureEvidenceSequence)) == [
        (STUDY, f"{STUDY}.1", f"{STUDY}.1.1"),
        (STUDY, f"{STUDY}.1", f"{STUDY}.1.2"),
        (STUDY, f"{STUDY}.2", f"{STUDY}.2.9"),
        (STUDY, heatmap.series_instance_uid, heatmap.sop_instance_uid),
    ]
    assert list(references(ds.PredecessorDocumentsSequence)) == [
        (STUDY, f"{STUDY}.6", f"{STUDY}.7")
    ]


def test_the_summary_names_findings_and_objects_not_analysed(
    full_content: ReportContent,
) -> None:
    ds = build_report(full_content)
    assert texts(ds, "Summary") == [
        "2 frontal chest radiographs analysed by AI. Image 1 (series 3, instance 1): 1 of 14 "
        "findings at or above threshold: Pleural effusion. "
        "Image 2 (series 3, instance 2): none of 14 findings reaches its threshold. "
        "1 object of the study not analysed. For research use only; not verified by a physician."
    ]
    notice, skipped, *_ = texts(ds, "Comment")
    assert notice.startswith("RESEARCH USE ONLY")
    assert skipped == (
        f"Not analysed: {STUDY}.2.9: LATERAL_VIEW: A lateral film; the model reads frontal ones. "
        "ViewPosition is LL"
    )


def test_each_image_has_a_section_with_its_positives_and_negatives(
    full_content: ReportContent,
) -> None:
    first, second = named(build_report(full_content).ContentSequence, "Findings")
    [film] = named(first.ContentSequence, "Source")
    assert film.ReferencedSOPSequence[0].ReferencedSOPInstanceUID == f"{STUDY}.1.1"
    title = "Image 1 (series 3, instance 1)"
    positives, negatives = texts(first, "Summary")
    assert positives.startswith(
        f"{title}: 1 of 14 findings at or above threshold: Pleural effusion"
    )
    assert negatives.startswith("Image 1: absent, with probability: Atelectasis 0.12; Cardiom")
    assert negatives.count(";") == 12
    assert texts(first, "Comment") == ["Image 1: PixelSpacing is missing"]
    assert texts(second, "Comment") == []


def test_a_reason_without_explanation_is_still_named() -> None:
    skipped = replace(LATERAL, reason="OF_A_LATER_VERSION", detail="odd")
    ds = build_report(report_content(full_header(), not_analysed=[skipped]))
    assert f"Not analysed: {STUDY}.2.9: OF_A_LATER_VERSION: odd" in texts(ds, "Comment")


def test_statements_on_the_study_stand_below_the_summary() -> None:
    content = report_content(
        full_header(), not_analysed=[LATERAL], statements=["A film was rejected.", "~ is safe"]
    )
    comments = texts(build_report(content), "Comment")
    assert comments[1:3] == ["A film was rejected.", "- is safe"]
    assert comments[3].startswith("Not analysed")


def test_a_later_revision_of_a_film_is_named() -> None:
    image = ReportedImage(ImageHeader.of(full_header()), findings(), ["a note"], revision=2)
    ds = build_report(report_content(full_header(), sources=[image]))
    assert "Image 1 (series 3, instance 1, revision 2): 1 of 14" in texts(ds, "Summary")[0]
    [section] = named(ds.ContentSequence, "Findings")
    revision, note = texts(section, "Comment")
    assert revision.startswith("Image 1: The result rests on revision 2 of this film")
    assert note == "Image 1: a note"


def procedures(ds: Dataset) -> list[str]:
    return [
        item.ConceptCodeSequence[0].CodeValue
        for item in ds.ContentSequence
        if item.ConceptNameCodeSequence[0].CodeValue == "121058"
    ]


def test_the_procedure_reported_is_the_imaging_procedure() -> None:
    assert procedures(build_report(report_content(full_header()))) == ["RPID2503"]
    assert procedures(build_report(report_content(bare_header()))) == ["399208008"]
    twice = [ReportedImage(ImageHeader.of(full_header(n)), findings()) for n in (1, 2)]
    assert procedures(build_report(report_content(full_header(), sources=twice))) == ["RPID2503"]


def test_dsrdump_shows_model_use_and_all_findings(
    full_content: ReportContent, tmp_path: Path
) -> None:
    shown = dump(written(build_report(full_content), tmp_path))
    assert "RESEARCH USE ONLY" in shown
    assert f"Model bundle sha256: {SHA256}" in shown
    assert 'TEXT:(,,"Algorithm Version")="1.2.0"' in shown
    assert 'CODE:(,,"Pleural effusion")=(52101004,SCT,"Present")' in shown
    assert shown.count('(272519000,SCT,"Absent")') == 27
    assert "LATERAL_VIEW" in shown
    assert 'NUM:(,,"Pixel Data Rows")="64" ({pixels}' in shown


def test_text_from_outside_fits_any_character_set(tmp_path: Path) -> None:
    content = report_content(
        full_header(),
        algorithm=replace(ALGORITHM, name="Zürich\\3 ~ 東京", intended_use="étude"),
        not_analysed=[replace(LATERAL, detail="vue «de côté»")],
    )
    path = written(build_report(content), tmp_path)
    assert validate(path) == []
    assert pydicom.dcmread(path).ManufacturerModelName == "Z?rich/3 - ??"


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"sources": []}, "at least one analysed image"),
        ({"sources": [ReportedImage(ImageHeader.of(bare_header()), [])]}, "without any finding"),
        (
            {"identity": Identity("2.25.1", "2.25.2", 1, 1, NOW.replace(tzinfo=None))},
            "no time zone",
        ),
    ],
)
def test_incomplete_content_is_refused(changes: Any, message: str) -> None:
    with pytest.raises(ObjectError, match=message):
        build_report(report_content(bare_header(), **changes))


@pytest.mark.parametrize("value", [-0.1, 1.1, float("nan"), float("inf")])
@pytest.mark.parametrize("field", ["probability", "threshold"])
def test_a_number_outside_0_to_1_is_refused(field: str, value: float) -> None:
    probability, threshold = (value, 0.5) if field == "probability" else (0.5, value)
    header = ImageHeader.of(bare_header())
    broken = [ReportedFinding("Atelectasis", probability, threshold, present=True)]
    with pytest.raises(ObjectError, match=f"{field} of Atelectasis"):
        build_report(report_content(bare_header(), sources=[ReportedImage(header, broken)]))


def test_an_outline_of_two_corners_is_refused() -> None:
    header = ImageHeader.of(bare_header())
    line = [ReportedFinding("Mass", 0.75, 0.5, present=True, outline=OUTLINE[:2])]
    with pytest.raises(ObjectError, match="outline of Mass has 2 corners"):
        build_report(report_content(bare_header(), sources=[ReportedImage(header, line)]))


@pytest.mark.parametrize(
    "keyword", ["StudyInstanceUID", "SeriesInstanceUID", "SOPInstanceUID", "SOPClassUID"]
)
def test_a_source_without_identity_is_refused(keyword: str) -> None:
    header = bare_header()
    content = report_content(header)
    delattr(header, keyword)
    image = ReportedImage(ImageHeader.of(header), findings())
    content = replace(content, sources=[image])
    with pytest.raises(ObjectError, match=keyword):
        build_report(content)


def test_images_of_two_studies_are_refused() -> None:
    other = bare_header(2)
    other.StudyInstanceUID = "1.2.3"
    with pytest.raises(ObjectError, match="one study"):
        build_report(report_content(bare_header(), other))


def test_the_dates_come_from_the_content_and_not_from_a_clock() -> None:
    identity = Identity("2.25.1", "2.25.2", 1, 1, datetime(2031, 1, 1, tzinfo=NOW.tzinfo))
    ds = build_report(report_content(bare_header(), identity=identity))
    assert (ds.InstanceCreationDate, ds.ContentDate) == ("20310101", "20310101")
