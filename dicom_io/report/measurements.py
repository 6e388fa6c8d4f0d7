"""One finding on one image as a measurement group of a report (PS3.16).

A finding with an outline is a TID 1410 Planar ROI group, which viewers draw; any other is a
TID 1501 group. Both hold the same items, negatives as explicit as positives.

The probability of a finding without an outline is said to be inferred from the whole film, as a
coordinate (TID 320). That is what it is; and OHIF (3.13) opens no report in which a group has no
coordinate at all.
"""

from collections.abc import Iterator
from typing import Any

import numpy as np
from highdicom.sr import (
    AlgorithmIdentification,
    ContentItem,
    CoordinatesForMeasurement,
    FindingSite,
    GraphicTypeValues,
    ImageContentItem,
    ImageRegion,
    Measurement,
    MeasurementsAndQualitativeEvaluations,
    PlanarROIMeasurementsAndQualitativeEvaluations,
    QualitativeEvaluation,
    RelationshipTypeValues,
    SourceImageForMeasurementGroup,
    SourceImageForRegion,
    TextContentItem,
    TrackingIdentifier,
)
from numpy.typing import NDArray

from dicom_io.objects import codes
from dicom_io.objects.algorithm import Algorithm, plain
from dicom_io.objects.codes import Concept, FindingCode, finding_code
from dicom_io.objects.uids import tracking_uid
from dicom_io.read.header import number
from dicom_io.report.content import ObjectReference, Outline, ReportedFinding, ReportedImage

_DECIMALS = 6

_OUTLINE_MEANING = (
    "The outline encloses the part of the Grad-CAM map of {} that is hottest: where the model "
    "looked. It is not a segmentation and does not measure the finding."
)

Group = MeasurementsAndQualitativeEvaluations | PlanarROIMeasurementsAndQualitativeEvaluations


def measurement_group(
    finding: ReportedFinding, image: ReportedImage, image_number: int, algorithm: Algorithm
) -> Group:
    """The group of a finding on the report's image of that number, from 1."""
    coded = finding_code(finding.label)
    reference = image.reference()
    source = SourceImageForMeasurementGroup(reference.sop_class_uid, reference.sop_instance_uid)
    whole_film = None if finding.outline is not None else _border(image)
    content: dict[str, Any] = {
        "tracking_identifier": TrackingIdentifier(
            uid=tracking_uid(reference.sop_instance_uid, algorithm.sha256, finding.label),
            identifier=f"Image {image_number}: {coded.concept.meaning}",
        ),
        "finding_type": coded.concept.code,
        "finding_sites": [FindingSite(coded.site.code)],
        "algorithm_id": _algorithm_identification(algorithm),
        "measurements": [
            _number(codes.PROBABILITY, finding.probability, whole_film),
            _number(codes.THRESHOLD, finding.threshold),
        ],
        "qualitative_evaluations": [
            QualitativeEvaluation(
                name=coded.concept.code,
                value=(codes.PRESENT if finding.present else codes.ABSENT).code,
            )
        ],
    }
    group: Group
    if finding.outline is None:
        group = MeasurementsAndQualitativeEvaluations(**content, source_images=[source])
    else:
        region = _region(finding.outline, reference)
        group = PlanarROIMeasurementsAndQualitativeEvaluations(**content, referenced_region=region)
        group[0].ContentSequence.append(source)
    for item in _map_items(finding, coded):
        group[0].ContentSequence.append(item)
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


def _number(
    name: Concept, value: float, source: CoordinatesForMeasurement | None = None
) -> Measurement:
    return Measurement(
        name=name.code,
        value=round(float(value), _DECIMALS),
        unit=codes.NO_UNITS.code,
        referenced_coordinates=None if source is None else [source],
    )


def _border(image: ReportedImage) -> CoordinatesForMeasurement | None:
    rows, columns = number(image.dataset, "Rows"), number(image.dataset, "Columns")
    if not rows or not columns:
        return None
    corners = ((0.0, 0.0), (columns, 0.0), (columns, rows), (0.0, rows))
    return CoordinatesForMeasurement(
        graphic_type=GraphicTypeValues.POLYLINE,
        graphic_data=_closed(corners),
        source_image=_selected(image.reference()),
    )


def _region(outline: Outline, image: ObjectReference) -> ImageRegion:
    return ImageRegion(
        graphic_type=GraphicTypeValues.POLYLINE,
        graphic_data=_closed(outline),
        source_image=_selected(image),
    )


def _closed(corners: Outline) -> NDArray[np.float32]:
    """A closed POLYLINE ends where it began (PS3.3 C.18.6.1.2)."""
    return np.asarray([*corners, corners[0]], dtype=np.float32)


def _selected(image: ObjectReference) -> SourceImageForRegion:
    return SourceImageForRegion(image.sop_class_uid, image.sop_instance_uid)


def _map_items(finding: ReportedFinding, coded: FindingCode) -> Iterator[ContentItem]:
    """The Grad-CAM map: its picture, and what its outline means.

    A text, because a code here would read as one more qualitative evaluation, and viewers find the
    image of an outline only while it is the one item below it.
    """
    if finding.heatmap is not None:
        yield ImageContentItem(
            name=codes.GRAD_CAM.code,
            referenced_sop_class_uid=finding.heatmap.sop_class_uid,
            referenced_sop_instance_uid=finding.heatmap.sop_instance_uid,
            relationship_type=RelationshipTypeValues.CONTAINS,
        )
    if finding.outline is not None:
        yield TextContentItem(
            name=codes.GRAD_CAM.code,
            value=_OUTLINE_MEANING.format(coded.concept.meaning.lower()),
            relationship_type=RelationshipTypeValues.CONTAINS,
        )
