"""A Structured Report as lines of text."""

from collections.abc import Iterable, Iterator, Sequence

from pydicom.dataset import Dataset

from dicom_io.errors import ObjectError
from dicom_io.objects.codes import COMMENT, FINDINGS, PROBABILITY, THRESHOLD

# Code values of concept names, all of scheme DCM.
_MEASUREMENTS = "126010"
_FINDING = "121071"
_SOURCE = "121112"


def report_text(ds: Dataset) -> str:
    """Return a report as plain text: conclusion, 14 lines per image, notes, explanations.

    The text comes from the content tree only and holds no patient data. `ds` is a built report or
    one read from a file. Raises ObjectError for any other object.
    """
    if "ContentSequence" not in ds or not _named(ds.ContentSequence, _MEASUREMENTS):
        raise ObjectError("this object is not a measurement report (TID 1500)")
    return "\n".join(_report_lines(ds)) + "\n"


def _report_lines(ds: Dataset) -> Iterator[str]:
    root = list(ds.ContentSequence)
    sections = _named(root, FINDINGS.value)
    middle = root.index(sections[0])
    yield str(ds.get("SeriesDescription") or "Report")
    yield f"Written {_moment(ds)}"
    yield ""
    yield from _texts(root[:middle])
    image = ""
    for group in _named(root, _MEASUREMENTS)[0].ContentSequence:
        items = list(group.ContentSequence)
        source = _named(items, _SOURCE)[0].ReferencedSOPSequence[0].ReferencedSOPInstanceUID
        if source != image:
            image = source
            yield ""
            yield f"Image {image}"
            yield f"  {'Finding':<20} {'Result':<8} {'Probability':>11} {'Threshold':>9}"
        yield _finding_line(items)
    yield ""
    for section in sections:
        yield from _texts(_named(section.ContentSequence, COMMENT.value))
    yield from _texts(root[middle:])


def _moment(ds: Dataset) -> str:
    date, time = str(ds.ContentDate), str(ds.ContentTime)
    offset = str(ds.get("TimezoneOffsetFromUTC") or "")
    return f"{date[:4]}-{date[4:6]}-{date[6:]} {time[:2]}:{time[2:4]}:{time[4:6]} {offset}".strip()


def _finding_line(items: Sequence[Dataset]) -> str:
    finding = _named(items, _FINDING)[0].ConceptCodeSequence[0]
    result = _named(items, finding.CodeValue)[0].ConceptCodeSequence[0].CodeMeaning
    numbers = [
        float(_named(items, name)[0].MeasuredValueSequence[0].NumericValue)
        for name in (PROBABILITY.value, THRESHOLD.value)
    ]
    return f"  {finding.CodeMeaning:<20} {result:<8} {numbers[0]:>11.4f} {numbers[1]:>9.4f}"


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
