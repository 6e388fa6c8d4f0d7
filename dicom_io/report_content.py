"""The content tree of a report: TID 1500 Measurement Report (PS3.16).

highdicom builds the templates; wrapped here is what it cannot do. Its image library demands
attributes that films often lack (TID 1603), so the library is put together from content items.
The summary, the research notice and the images not analysed are text items at the root, which
TID 1500 allows as an extensible template.
"""

from collections.abc import Iterable, Iterator, Sequence

from highdicom.sr import (
    AlgorithmIdentification,
    CodedConcept,
    ContentItem,
    DeviceObserverIdentifyingAttributes,
    FindingSite,
    ImageContentItem,
    Measurement,
    MeasurementReport,
    MeasurementsAndQualitativeEvaluations,
    ObservationContext,
    ObserverContext,
    QualitativeEvaluation,
    RelationshipTypeValues,
    SourceImageForMeasurementGroup,
    TextContentItem,
    TrackingIdentifier,
)
from pydicom.dataelem import DataElement
from pydicom.dataset import Dataset
from pydicom.sr.codedict import codes

from dicom_io import codes as own_codes
from dicom_io.algorithm import RESEARCH_USE_ONLY, Algorithm, long_string, plain
from dicom_io.codes import ABSENT, CHEST_RADIOGRAPHY, PRESENT, Concept, finding_code
from dicom_io.header import items, text
from dicom_io.image_library import image_library
from dicom_io.report_parts import NotAnalysed, ObjectReference, ReportedFinding, ReportedImage
from dicom_io.uids import device_uid, tracking_uid

_MEANING_LENGTH = 64
_DECIMALS = 6


def measurement_report(
    images: Sequence[ReportedImage], not_analysed: Sequence[NotAnalysed], algorithm: Algorithm
) -> Iterator[DataElement]:
    """Elements of the root content item: SR Document Content (PS3.3 C.17.3)."""
    groups = [
        _group(finding, image, number, algorithm)
        for number, image in enumerate(images, 1)
        for finding in image.findings
    ]
    tree = MeasurementReport(
        observation_context=_observation_context(algorithm),
        procedure_reported=_procedures(image.dataset for image in images),
        imaging_measurements=groups,
    )
    root = tree[0]
    # The measurements come last, so that a person reads the summary before the numbers.
    measurements = root.ContentSequence.pop()
    for comment in _comments(images, not_analysed, algorithm):
        root.ContentSequence.append(comment)
    root.ContentSequence.append(image_library(images))
    root.ContentSequence.append(measurements)
    return iter(root)


def _observation_context(algorithm: Algorithm) -> ObservationContext:
    """TID 1001 with a device as the observer (TID 1004)."""
    device = DeviceObserverIdentifyingAttributes(
        uid=device_uid(algorithm.sha256),
        name=long_string(algorithm.name),
        manufacturer_name=long_string(algorithm.manufacturer),
        model_name=long_string(f"{algorithm.name} {algorithm.version}"),
        serial_number=algorithm.sha256,
    )
    return ObservationContext(
        observer_device_context=ObserverContext(
            observer_type=codes.DCM.Device, observer_identifying_attributes=device
        )
    )


def _procedures(headers: Iterable[Dataset]) -> list[CodedConcept]:
    """The imaging procedures analysed, as the sources name them, else a plain chest X-ray."""
    found: dict[tuple[str, str], CodedConcept] = {}
    for header in headers:
        for item in items(header, "ProcedureCodeSequence"):
            value, scheme = text(item, "CodeValue"), text(item, "CodingSchemeDesignator")
            meaning = text(item, "CodeMeaning")[:_MEANING_LENGTH]
            if value and scheme and meaning:
                version = text(item, "CodingSchemeVersion") or None
                found[value, scheme] = CodedConcept(value, scheme, meaning, version)
    return list(found.values()) or [CodedConcept.from_code(CHEST_RADIOGRAPHY.code)]


def _group(
    finding: ReportedFinding, image: ReportedImage, number: int, algorithm: Algorithm
) -> MeasurementsAndQualitativeEvaluations:
    """One finding on one image: TID 1501, negatives as explicit as positives."""
    coded = finding_code(finding.label)
    reference = image.reference()
    group = MeasurementsAndQualitativeEvaluations(
        tracking_identifier=TrackingIdentifier(
            uid=tracking_uid(reference.sop_instance_uid, algorithm.sha256, finding.label),
            identifier=f"Image {number}: {finding.label}",
        ),
        finding_type=coded.concept.code,
        finding_sites=[FindingSite(coded.site.code)],
        algorithm_id=_algorithm_identification(algorithm),
        measurements=[
            _number(own_codes.PROBABILITY, finding.probability),
            _number(own_codes.THRESHOLD, finding.threshold),
        ],
        qualitative_evaluations=[
            QualitativeEvaluation(
                name=coded.concept.code, value=(PRESENT if finding.present else ABSENT).code
            )
        ],
        source_images=[
            SourceImageForMeasurementGroup(reference.sop_class_uid, reference.sop_instance_uid)
        ],
    )
    if finding.heatmap is not None:
        group[0].ContentSequence.append(_heatmap(finding.heatmap))
    return group


def _algorithm_identification(algorithm: Algorithm) -> AlgorithmIdentification:
    """TID 4019; with it every number says by itself which model, calibration and use it has.

    Without the optional Algorithm Family: highdicom's reader would list that code as one more
    qualitative evaluation, beside Present or Absent.
    """
    return AlgorithmIdentification(
        name=plain(algorithm.name),
        version=plain(algorithm.version),
        manufacturer=plain(algorithm.manufacturer),
        parameters=algorithm.described_parameters(),
    )


def _number(name: Concept, value: float) -> Measurement:
    return Measurement(
        name=name.code, value=round(float(value), _DECIMALS), unit=own_codes.NO_UNITS.code
    )


def _heatmap(reference: ObjectReference) -> ImageContentItem:
    return ImageContentItem(
        name=own_codes.GRAD_CAM.code,
        referenced_sop_class_uid=reference.sop_class_uid,
        referenced_sop_instance_uid=reference.sop_instance_uid,
        relationship_type=RelationshipTypeValues.CONTAINS,
    )


def _comments(
    images: Sequence[ReportedImage], not_analysed: Sequence[NotAnalysed], algorithm: Algorithm
) -> Iterator[ContentItem]:
    yield _text(
        own_codes.COMMENT,
        f"{RESEARCH_USE_ONLY} Findings of {algorithm.name} {algorithm.version}, unverified by a "
        f"physician. Intended use: {algorithm.intended_use}",
    )
    for number, image in enumerate(images, 1):
        title = _title(number, image.dataset)
        yield _text(own_codes.SUMMARY, f"{title}: {_summary(image.findings)}")
        for note in image.notes:
            yield _text(own_codes.COMMENT, f"{title}: {note}")
    for skipped in not_analysed:
        yield _text(
            own_codes.COMMENT,
            f"Not analysed: {skipped.sop_instance_uid}: {skipped.reason!s}: {skipped.detail}",
        )


def _title(number: int, header: Dataset) -> str:
    """The image as the report numbers it, and as a person finds it in the archive."""
    keywords = {"series": "SeriesNumber", "instance": "InstanceNumber"}
    shown = {name: text(header, keyword) for name, keyword in keywords.items()}
    place = ", ".join(f"{name} {value}" for name, value in shown.items() if value)
    return f"Image {number} ({place})" if place else f"Image {number}"


def _summary(findings: Sequence[ReportedFinding]) -> str:
    present = sorted((f for f in findings if f.present), key=lambda f: -f.probability)
    if not present:
        return f"none of {len(findings)} findings reaches its threshold."
    named = "; ".join(
        f"{finding_code(f.label).concept.meaning} (probability {f.probability:.2f})"
        for f in present
    )
    return f"{len(present)} of {len(findings)} findings present: {named}."


def _text(name: Concept, value: str) -> TextContentItem:
    return TextContentItem(
        name=name.code, value=plain(value), relationship_type=RelationshipTypeValues.CONTAINS
    )
