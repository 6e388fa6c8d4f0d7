"""A Structured Report as text: in parts for a page, or as lines."""

from collections.abc import Iterator, Sequence

from pydicom.dataset import Dataset

from dicom_io.objects.codes import COMMENT, PROBABILITY, THRESHOLD
from dicom_io.report.parts import FindingLine, ImagePart, ReportParts
from dicom_io.report.reading.content_items import (
    FINDING,
    SOURCE,
    ReportTree,
    named,
    number,
    texts,
)


def report_parts(ds: Dataset) -> ReportParts:
    """Return the text of a report by its parts.

    The text comes from the content tree only and holds no patient data. `ds` is a built report or
    one read from a file. Raises ObjectError for any other object.
    """
    tree = ReportTree(ds)
    images: dict[str, list[FindingLine]] = {}
    for group in tree.groups:
        items = list(group.ContentSequence)
        source = named(items, SOURCE)[0].ReferencedSOPSequence[0].ReferencedSOPInstanceUID
        images.setdefault(str(source), []).append(_finding_line(items))
    comments = (named(section.ContentSequence, COMMENT.value) for section in tree.sections)
    return ReportParts(
        title=str(ds.get("SeriesDescription") or "Report"),
        written=_moment(ds),
        conclusion=tuple(texts(tree.conclusion)),
        images=tuple(ImagePart(uid, tuple(found)) for uid, found in images.items()),
        notes=tuple(text for items in comments for text in texts(items)),
        explanations=tuple(texts(tree.explanations)),
        priors=tuple(text for one in tree.previous for text in texts(one.ContentSequence)),
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
    yield from parts.priors
    yield from parts.notes
    yield from parts.explanations


def _moment(ds: Dataset) -> str:
    date, time = str(ds.ContentDate), str(ds.ContentTime)
    offset = str(ds.get("TimezoneOffsetFromUTC") or "")
    return f"{date[:4]}-{date[4:6]}-{date[6:]} {time[:2]}:{time[2:4]}:{time[4:6]} {offset}".strip()


def _finding_line(items: Sequence[Dataset]) -> FindingLine:
    finding = named(items, FINDING)[0].ConceptCodeSequence[0]
    result = named(items, finding.CodeValue)[0].ConceptCodeSequence[0].CodeMeaning
    numbers = [number(items, name) for name in (PROBABILITY.value, THRESHOLD.value)]
    return FindingLine(str(finding.CodeMeaning), str(result), numbers[0], numbers[1])
