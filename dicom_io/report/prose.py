"""Sentences of a report for its reader: a summary, then a section per image."""

from collections.abc import Iterator, Sequence

from highdicom.sr import (
    ContainerContentItem,
    ContentItem,
    ContentSequence,
    RelationshipTypeValues,
    TextContentItem,
)

from dicom_io.gate.reasons import Reason
from dicom_io.objects import codes
from dicom_io.objects.algorithm import RESEARCH_USE_ONLY, Algorithm, plain
from dicom_io.objects.codes import Concept, finding_code
from dicom_io.read.image_header import ImageHeader
from dicom_io.report.content import NotAnalysed, ReportedFinding, ReportedImage
from dicom_io.report.image_library import source_image_item

_CONTAINS = RelationshipTypeValues.CONTAINS


def summary(
    images: Sequence[ReportedImage], not_analysed: Sequence[NotAnalysed], algorithm: Algorithm
) -> Iterator[ContentItem]:
    """Yield a summary of the study, the research notice and the operating point."""
    sentences = [f"{_count(len(images), 'frontal chest radiograph')} analysed by AI."]
    sentences += [
        f"{_title(number, image.header)}: {_positives(image.findings)}"
        for number, image in enumerate(images, 1)
    ]
    if not_analysed:
        sentences.append(f"{_count(len(not_analysed), 'object')} of the study not analysed.")
    sentences.append("For research use only; not verified by a physician.")
    yield _text(codes.SUMMARY, " ".join(sentences))
    yield _text(
        codes.COMMENT,
        f"{RESEARCH_USE_ONLY} Findings of {algorithm.name} {algorithm.version}. "
        f"Intended use: {algorithm.intended_use}",
    )
    if algorithm.operating_point:
        yield _text(codes.OPERATING_POINT, algorithm.operating_point)


def sections(images: Sequence[ReportedImage]) -> Iterator[ContentItem]:
    """Yield a Findings container per image: the image, findings in words, decoder notes."""
    for number, image in enumerate(images, 1):
        title = _title(number, image.header)
        section = ContainerContentItem(name=codes.FINDINGS.code, relationship_type=_CONTAINS)
        section.ContentSequence = ContentSequence(
            [
                source_image_item(image),
                _text(codes.SUMMARY, f"{title}: {_positives(image.findings)}"),
                *_negatives(title, image.findings),
                *(_text(codes.COMMENT, f"{title}: {note}") for note in image.notes),
            ]
        )
        yield section


def omissions(not_analysed: Sequence[NotAnalysed]) -> Iterator[ContentItem]:
    """Yield a comment per object not analysed, with the code and meaning of its reason."""
    for skipped in not_analysed:
        explained = skipped.reason in Reason.__members__
        meaning = f" {Reason(skipped.reason).explanation}" if explained else ""
        yield _text(
            codes.COMMENT,
            f"Not analysed: {skipped.sop_instance_uid}: {skipped.reason!s}:{meaning} "
            f"{skipped.detail}".rstrip(),
        )


def _title(number: int, header: ImageHeader) -> str:
    """Return the number of the image in the report and its view, series and instance number."""
    shown = {
        "": header.view_position,
        "series ": header.series_number,
        "instance ": header.instance_number,
    }
    place = ", ".join(f"{name}{value}" for name, value in shown.items() if value)
    return f"Image {number} ({place})" if place else f"Image {number}"


def _positives(findings: Sequence[ReportedFinding]) -> str:
    present = _by_probability(findings, present=True)
    if not present:
        return f"none of {len(findings)} findings reaches its threshold."
    named = "; ".join(
        f"{_meaning(f)} (probability {f.probability:.2f}, threshold {f.threshold:.2f})"
        for f in present
    )
    return f"{len(present)} of {len(findings)} findings present: {named}."


def _negatives(title: str, findings: Sequence[ReportedFinding]) -> Iterator[ContentItem]:
    absent = _by_probability(findings, present=False)
    if absent:
        named = "; ".join(f"{_meaning(f)} {f.probability:.2f}" for f in absent)
        yield _text(codes.SUMMARY, f"{title}: absent, with probability: {named}.")


def _by_probability(findings: Sequence[ReportedFinding], *, present: bool) -> list[ReportedFinding]:
    return sorted((f for f in findings if f.present is present), key=lambda f: -f.probability)


def _meaning(finding: ReportedFinding) -> str:
    return finding_code(finding.label).concept.meaning


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}{'' if number == 1 else 's'}"


def _text(name: Concept, value: str) -> TextContentItem:
    return TextContentItem(name=name.code, value=plain(value), relationship_type=_CONTAINS)
