"""Sentences of a report: the conclusion, a section per image, explanations."""

from collections.abc import Iterator, Mapping, Sequence

from highdicom.sr import (
    CompositeContentItem,
    ContainerContentItem,
    ContentItem,
    ContentSequence,
    DateContentItem,
    RelationshipTypeValues,
    TextContentItem,
)

from dicom_io.finding_text import odds_over_threshold, odds_text, probability_text
from dicom_io.objects import codes
from dicom_io.objects.algorithm import RESEARCH_USE_ONLY, plain
from dicom_io.objects.codes import Concept, finding_code
from dicom_io.report.content import (
    PriorReport,
    ReportContent,
    ReportedFinding,
    ReportedImage,
)
from dicom_io.report.image_library import source_image_item
from dicom_io.report.omissions import omissions

_CONTAINS = RelationshipTypeValues.CONTAINS
_OUTLINES = (
    "An outline on a film encloses the part of the Grad-CAM map of its finding that is hottest: "
    "where the model looked. It is not a segmentation and does not measure the finding."
)
_NO_COMPARISON = (
    "Earlier AI reports are named for a person to compare. This report compares nothing with them."
)
_NO_PRIORS = "No AI report on an earlier study of this patient is known here."


def by_rank(findings: Sequence[ReportedFinding]) -> list[ReportedFinding]:
    """Return the findings in the order of a report: present ones first.

    Both kinds are in the order of their odds over those at their threshold, the highest first.
    """

    def rank(finding: ReportedFinding) -> tuple[bool, float]:
        times = odds_over_threshold(finding.probability, finding.threshold)
        return not finding.present, -times

    return sorted(findings, key=rank)


def conclusion(content: ReportContent) -> Iterator[ContentItem]:
    """Yield the research notice, the summary, the statements, and the objects not analysed."""
    yield _text(codes.COMMENT, RESEARCH_USE_ONLY)
    sentences = [f"{_count(len(content.sources), 'frontal chest radiograph')} analysed by AI."]
    sentences += [
        f"{_title(number, image)}: {_names(image.findings)}."
        for number, image in enumerate(content.sources, 1)
    ]
    omitted = len(content.not_analysed)
    if omitted:
        sentences.append(f"{_count(omitted, 'object')} of the study not analysed.")
    sentences.append("For research use only; not verified by a physician.")
    yield _text(codes.SUMMARY, " ".join(sentences))
    for statement in content.statements:
        yield _text(codes.COMMENT, statement)
    for omission in omissions(content.not_analysed):
        yield _text(codes.COMMENT, omission.line())


def sections(content: ReportContent) -> Iterator[ContentItem]:
    """Yield a Findings container per image: the image, findings in words, notes."""
    remark = content.algorithm.remark
    for number, image in enumerate(content.sources, 1):
        section = ContainerContentItem(name=codes.FINDINGS.code, relationship_type=_CONTAINS)
        section.ContentSequence = ContentSequence(
            [
                source_image_item(image),
                _text(
                    codes.SUMMARY, f"{_title(number, image)}: {_positives(image.findings, remark)}."
                ),
                *_negatives(number, image.findings, remark),
                *(_text(codes.COMMENT, f"Image {number}: {note}") for note in _notes(image)),
            ]
        )
        yield section


def previous_findings(content: ReportContent) -> Iterator[ContentItem]:
    """Yield a Previous Findings container per earlier report: its reference, study date, findings.

    Without an earlier report one container says so. Nothing is yielded if `priors` is None.
    """
    if content.priors is None:
        return
    if not content.priors:
        yield _previous([_text(codes.COMMENT, _NO_PRIORS)])
    for prior in content.priors:
        yield _previous([*_named(prior), _text(codes.COMMENT, prior.said)])


def _previous(items: Sequence[ContentItem]) -> ContainerContentItem:
    container = ContainerContentItem(name=codes.PREVIOUS_FINDINGS.code, relationship_type=_CONTAINS)
    container.ContentSequence = ContentSequence(items)
    return container


def _named(prior: PriorReport) -> Iterator[ContentItem]:
    yield CompositeContentItem(
        name=codes.PRIOR_REPORT.code,
        referenced_sop_class_uid=prior.reference.sop_class_uid,
        referenced_sop_instance_uid=prior.reference.sop_instance_uid,
        relationship_type=_CONTAINS,
    )
    if prior.study_date:
        yield DateContentItem(
            name=codes.STUDY_DATE.code, value=prior.study_date, relationship_type=_CONTAINS
        )


def explanations(content: ReportContent) -> Iterator[ContentItem]:
    """Yield operating point, meaning of an outline, places of maps, parameters of the algorithm."""
    if content.priors:
        yield _text(codes.COMMENT, _NO_COMPARISON)
    if content.algorithm.operating_point:
        yield _text(codes.OPERATING_POINT, content.algorithm.operating_point)
    findings = [finding for image in content.sources for finding in image.findings]
    if any(finding.outline is not None for finding in findings):
        yield _text(codes.COMMENT, _OUTLINES)
    for sentence in _locations(findings, content.algorithm.locations):
        yield _text(codes.COMMENT, sentence)
    for parameter in content.algorithm.parameter_lines():
        yield _text(codes.COMMENT, parameter)


def _locations(findings: Sequence[ReportedFinding], locations: Mapping[str, str]) -> Iterator[str]:
    """Yield a sentence per kind of place: the findings present, and how far it can be believed."""
    named: dict[str, list[str]] = {}
    for finding in findings:
        if not finding.present or finding.label not in locations:
            continue
        sentence = locations[finding.label]
        if finding.outline is None and finding.heatmap is None:
            sentence += "; therefore no heatmap and no outline are made"
        names = named.setdefault(sentence, [])
        if _meaning(finding) not in names:
            names.append(_meaning(finding))
    for sentence, names in named.items():
        yield f"{', '.join(names)}: {sentence}."


def _title(number: int, image: ReportedImage) -> str:
    """Return the number of the image in the report, its view, series, instance and revision."""
    shown = {
        "": image.header.view_position,
        "series ": image.header.series_number,
        "instance ": image.header.instance_number,
        "revision ": image.revision if image.revision > 1 else None,
    }
    place = ", ".join(f"{name}{value}" for name, value in shown.items() if value)
    return f"Image {number} ({place})" if place else f"Image {number}"


def _notes(image: ReportedImage) -> Iterator[str]:
    if image.revision > 1:
        yield (
            f"The result rests on revision {image.revision} of this film: other content arrived "
            "under the same SOP Instance UID before."
        )
    yield from image.notes


def _names(findings: Sequence[ReportedFinding]) -> str:
    return _counted(findings, [_meaning(f) for f in by_rank(findings) if f.present], ", ")


def _positives(findings: Sequence[ReportedFinding], remark: str) -> str:
    present = [
        f"{_meaning(f)} {probability_text(f.probability)}{remark} "
        f"({odds_text(f.probability, f.threshold)})"
        for f in by_rank(findings)
        if f.present
    ]
    return _counted(findings, present, "; ")


def _counted(findings: Sequence[ReportedFinding], present: Sequence[str], separator: str) -> str:
    if not present:
        return f"none of {len(findings)} findings reaches its threshold"
    return f"{len(present)} of {len(findings)} findings at or above threshold: " + separator.join(
        present
    )


def _negatives(
    number: int, findings: Sequence[ReportedFinding], remark: str
) -> Iterator[ContentItem]:
    named = "; ".join(
        f"{_meaning(finding)} {probability_text(finding.probability)}"
        for finding in by_rank(findings)
        if not finding.present
    )
    if named:
        yield _text(codes.SUMMARY, f"Image {number}: absent, with probability{remark}: {named}.")


def _meaning(finding: ReportedFinding) -> str:
    return finding_code(finding.label).concept.meaning


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}{'' if number == 1 else 's'}"


def _text(name: Concept, value: str) -> TextContentItem:
    return TextContentItem(name=name.code, value=plain(value), relationship_type=_CONTAINS)
