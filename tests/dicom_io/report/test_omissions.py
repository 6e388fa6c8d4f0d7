"""Objects not analysed take a line per series and reason, whatever their number."""

from collections.abc import Sequence

from pydicom.uid import CTImageStorage, MRImageStorage

from dicom_io.report.content import NotAnalysed
from dicom_io.report.document import build_report
from dicom_io.report.omissions import omissions
from tests.builders.objects import LATERAL, STUDY, full_header, report_content

CT = "Only CR, DX for presentation and Secondary Capture are read."


def objects(
    count: int, series: int = 5, reason: str = "UNSUPPORTED_SOP_CLASS", detail: str = ""
) -> list[NotAnalysed]:
    """Return CT slices of a series; their UIDs are STUDY.series.number, from 1."""
    return [
        NotAnalysed(
            CTImageStorage, f"{STUDY}.{series}.{number}", f"{STUDY}.{series}", reason, detail
        )
        for number in range(1, count + 1)
    ]


def lines(not_analysed: Sequence[NotAnalysed]) -> list[str]:
    return [omission.line() for omission in omissions(not_analysed)]


def test_hundreds_of_slices_are_one_line_and_no_evidence() -> None:
    ds = build_report(report_content(full_header(), not_analysed=[*objects(300), LATERAL]))
    told = [
        str(item.TextValue)
        for item in ds.ContentSequence
        if str(item.get("TextValue", "")).startswith("Not analysed")
    ]
    assert told == [
        f"Not analysed: 300 objects (CT Image) of series {STUDY}.5: UNSUPPORTED_SOP_CLASS: {CT}",
        f"Not analysed: {STUDY}.2.9: LATERAL_VIEW: A lateral film; the model reads frontal ones. "
        "ViewPosition is LL",
    ]
    [study] = ds.CurrentRequestedProcedureEvidenceSequence
    named = [
        str(sop.ReferencedSOPInstanceUID)
        for series in study.ReferencedSeriesSequence
        for sop in series.ReferencedSOPSequence
    ]
    assert named == [f"{STUDY}.1.1", f"{STUDY}.2.9"]
    texts = [str(item.get("TextValue", "")) for item in ds.ContentSequence]
    assert any("301 objects of the study not analysed." in text for text in texts)


def test_few_objects_are_named() -> None:
    assert lines(objects(2)) == [
        f"Not analysed: 2 objects (CT Image) of series {STUDY}.5: {STUDY}.5.1, {STUDY}.5.2: "
        f"UNSUPPORTED_SOP_CLASS: {CT}"
    ]


def test_each_series_and_each_reason_has_a_line() -> None:
    found = lines([*objects(4), *objects(5, series=6), *objects(6, reason="MULTI_FRAME")])
    assert [line.split(":")[1].split()[0] for line in found] == ["4", "5", "6"]


def test_a_reason_of_many_series_has_one_line() -> None:
    scattered = [skipped for series in range(10, 310) for skipped in objects(1, series)]
    assert lines([*scattered, *objects(4, reason="MULTI_FRAME")])[0] == (
        f"Not analysed: 300 objects (CT Image) of 300 series: UNSUPPORTED_SOP_CLASS: {CT}"
    )
    assert len(omissions(scattered)) == 1
    assert omissions(scattered)[0].named == ()
    assert len(lines(scattered[:10])) == 10


def test_differing_details_and_classes_are_told_shortly() -> None:
    mixed = [skipped for n in range(5) for skipped in objects(2, detail=f"detail {n}")]
    mixed.append(NotAnalysed(MRImageStorage, "2.25.1", f"{STUDY}.5", "UNSUPPORTED_SOP_CLASS", ""))
    [line] = lines(mixed)
    assert line.startswith(f"Not analysed: 11 objects of series {STUDY}.5: ")
    assert line.endswith(f"{CT} detail 0; detail 1; detail 2; ...")
