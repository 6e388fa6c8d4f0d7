"""Measurement groups of a report: one finding on one image per group (PS3.16).

A finding with an outline is a TID 1410 Planar ROI group, which viewers draw. A finding without an
outline is a TID 1501 group. Both hold the same items; absent findings get a group, too.

In a group without an outline the probability refers to the whole film as a coordinate (TID 320):
the model inferred it from the whole film, and OHIF (3.13) opens no report that has a group without
a coordinate.
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
    """Return the group of a finding; `image_number` counts the images of the report from 1."""
    coded = finding_code(finding.label)
    reference = image.reference()
    source = SourceImageForMeasurementGroup(reference.sop_class_uid, reference.sop_instance_uid)
    whole_film = None if finding.outline is not None else _border(image)
    content: dict[str, Any] = {
        "tracking_identifier": TrackingIdentifier(
            uid=tracking_uid(
                image.film or reference.sop_instance_uid, algorithm.sha256, finding.label
            ),
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
    """Return TID 4019, which names model, calibration and intended use in each group.

    The optional Algorithm Family is omitted: highdicom's reader would list its code as a
    qualitative evaluation beside Present or Absent.
    """
    return AlgorithmIdentification(
        name=plain(algorithm.name),
        version=plain(algorithm.version),
        manufacturer=plain(algorithm.manufacturer),
        parameters=algorithm.parameter_lines(),
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
    rows, columns = image.header.rows, image.header.columns
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
    """Return a closed POLYLINE: the last corner repeats the first (PS3.3 C.18.6.1.2)."""
    return np.asarray([*corners, corners[0]], dtype=np.float32)


def _selected(image: ObjectReference) -> SourceImageForRegion:
    return SourceImageForRegion(image.sop_class_uid, image.sop_instance_uid)


def _map_items(finding: ReportedFinding, coded: FindingCode) -> Iterator[ContentItem]:
    """Yield the picture of the Grad-CAM map and a text that explains the outline.

    The explanation is a text, because readers take a code here for a qualitative evaluation. It is
    not below the outline, because viewers find the image only if it is the single item there.
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
