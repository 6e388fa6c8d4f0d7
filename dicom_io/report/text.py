"""A Structured Report as text: in parts for a page, or as lines."""

from collections.abc import Iterable, Iterator, Sequence

from pydicom.dataset import Dataset

from dicom_io.errors import ObjectError
from dicom_io.objects.codes import COMMENT, FINDINGS, PROBABILITY, THRESHOLD
from dicom_io.report.parts import FindingLine, ImagePart, ReportParts

# Code values of concept names, all of scheme DCM.
_MEASUREMENTS = "126010"
_FINDING = "121071"
_SOURCE = "121112"


def report_parts(ds: Dataset) -> ReportParts:
    """Return the text of a report by its parts.

    The text comes from the content tree only and holds no patient data. `ds` is a built report or
    one read from a file. Raises ObjectError for any other object.
    """
    if "ContentSequence" not in ds or not _named(ds.ContentSequence, _MEASUREMENTS):
        raise ObjectError("this object is not a measurement report (TID 1500)")
    root = list(ds.ContentSequence)
    sections = _named(root, FINDINGS.value)
    middle = root.index(sections[0])
    images: dict[str, list[FindingLine]] = {}
    for group in _named(root, _MEASUREMENTS)[0].ContentSequence:
        items = list(group.ContentSequence)
        source = _named(items, _SOURCE)[0].ReferencedSOPSequence[0].ReferencedSOPInstanceUID
        images.setdefault(str(source), []).append(_finding_line(items))
    comments = (_named(section.ContentSequence, COMMENT.value) for section in sections)
    return ReportParts(
        title=str(ds.get("SeriesDescription") or "Report"),
        written=_moment(ds),
        conclusion=tuple(_texts(root[:middle])),
        images=tuple(ImagePart(uid, tuple(found)) for uid, found in images.items()),
        notes=tuple(text for items in comments for text in _texts(items)),
        explanations=tuple(_texts(root[middle:])),
    )


def report_text(ds: Dataset) -> str:
    """Return a report as plain text: conclusion, 14 lines per image, notes, explanations.

    Raises ObjectError as `report_parts` does.
    """
    return "\n".join(_lines(report_parts(ds))) + "\n"


def _lines(parts: ReportParts) -> Iterator[str]:
    yield parts.title
    yield f"Written {parts.written}"
    yield ""
    yield from parts.conclusion
    for image in parts.images:
        yield ""
        yield f"Image {image.sop_instance_uid}"
        yield f"  {'Finding':<20} {'Result':<8} {'Probability':>11} {'Threshold':>9}"
        for line in image.findings:
            yield (
                f"  {line.finding:<20} {line.result:<8} "
                f"{line.probability:>11.4f} {line.threshold:>9.4f}"
            )
    yield ""
    yield from parts.notes
    yield from parts.explanations


def _moment(ds: Dataset) -> str:
    date, time = str(ds.ContentDate), str(ds.ContentTime)
    offset = str(ds.get("TimezoneOffsetFromUTC") or "")
    return f"{date[:4]}-{date[4:6]}-{date[6:]} {time[:2]}:{time[2:4]}:{time[4:6]} {offset}".strip()


def _finding_line(items: Sequence[Dataset]) -> FindingLine:
    finding = _named(items, _FINDING)[0].ConceptCodeSequence[0]
    result = _named(items, finding.CodeValue)[0].ConceptCodeSequence[0].CodeMeaning
    numbers = [
        float(_named(items, name)[0].MeasuredValueSequence[0].NumericValue)
        for name in (PROBABILITY.value, THRESHOLD.value)
    ]
    return FindingLine(str(finding.CodeMeaning), str(result), numbers[0], numbers[1])


def _named(items: Sequence[Dataset], code_value: str) -> list[Dataset]:
    """Return the content items whose concept name has this code value."""
    return [
        item
        for item in items
        if "ConceptNameCodeSequence" in item
        and item.ConceptNameCodeSequence[0].CodeValue == code_value
    ]


def _texts(items: Iterable[Dataset]) -> Iterator[str]:
    """Yield the texts that the items contain, without those of the observation context."""
    for item in items:
        if item.ValueType == "TEXT" and item.RelationshipType == "CONTAINS":
            yield str(item.TextValue)
