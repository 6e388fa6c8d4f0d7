"""Measurement groups of a report: one finding on one image per group (PS3.16).

A finding with an outline is a TID 1410 Planar ROI group, which viewers draw. A finding without an
outline is a TID 1501 group. Both hold the same items; absent findings get a group, too.

Readers take a TEXT or CODE child of a group for a qualitative evaluation of the finding, unless its
concept is a known modifier. A group therefore holds no other text: parameters and explanations
stand at the root of the report.

In a group without an outline the probability refers to the whole film as a coordinate (TID 320):
the model inferred it from the whole film, and OHIF (3.13) opens no report that has a group without
a coordinate.
"""

from typing import Any

import numpy as np
from highdicom.sr import (
    AlgorithmIdentification,
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
    TrackingIdentifier,
)
from numpy.typing import NDArray

from dicom_io.objects import codes
from dicom_io.objects.algorithm import Algorithm
from dicom_io.objects.codes import Concept, finding_code
from dicom_io.objects.uids import tracking_uid
from dicom_io.report.content import ObjectReference, Outline, ReportedFinding, ReportedImage

_DECIMALS = 6

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
    if finding.heatmap is not None:
        group[0].ContentSequence.append(_explanation(finding.heatmap))
    return group


def _algorithm_identification(algorithm: Algorithm) -> AlgorithmIdentification:
    """Return TID 4019 with name and version, as the equipment of the report has them.

    The optional Algorithm Family is omitted: highdicom's reader would list its code as a
    qualitative evaluation beside Present or Absent.
    """
    return AlgorithmIdentification(name=algorithm.model_name, version=algorithm.software_version)


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


def _explanation(heatmap: ObjectReference) -> ImageContentItem:
    """Return the reference to the heatmap of the finding; the heatmap itself names its method."""
    return ImageContentItem(
        name=codes.VISUAL_EXPLANATION.code,
        referenced_sop_class_uid=heatmap.sop_class_uid,
        referenced_sop_instance_uid=heatmap.sop_instance_uid,
        relationship_type=RelationshipTypeValues.CONTAINS,
    )
