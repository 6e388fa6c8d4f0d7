"""Regions of the findings as a Segmentation (PS3.3 A.51): one binary segment per finding.

highdicom builds segments and frames from a copy of the source that holds only UIDs and grid.
Patient, study and equipment come from the source as in every other object. The UID of the dimension
organisation, which highdicom draws at random, is replaced by a derived UID.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from highdicom import AlgorithmIdentificationSequence
from highdicom.seg import Segmentation, SegmentDescription
from numpy.typing import NDArray
from pydicom.dataset import Dataset
from pydicom.uid import SegmentationStorage

from dicom_io.errors import ObjectError
from dicom_io.finding_text import probability_and_threshold
from dicom_io.objects.algorithm import RESEARCH_USE_ONLY, plain
from dicom_io.objects.codes import (
    ABNORMAL_STRUCTURE,
    ARTIFICIAL_INTELLIGENCE,
    finding_code,
    private_scheme_item,
)
from dicom_io.objects.secondary_capture import add_lossy_history
from dicom_io.objects.source_header import (
    Envelope,
    ObjectType,
    body_part_chest,
    required_uid,
    start_object,
)
from dicom_io.objects.uids import derived_uid, tracking_uid
from dicom_io.read.image_header import ImageHeader
from dicom_io.read.warnings_off import suppressed_warnings

_KIND = ObjectType(SegmentationStorage, "SEG", "AI segmentation - research use only")


@dataclass(frozen=True, slots=True)
class SegmentedFinding:
    """A finding and its region: `mask` is uint8 (rows, columns) of the film, 1 inside it."""

    label: str
    probability: float
    threshold: float
    mask: NDArray[np.uint8]


@dataclass(frozen=True, slots=True)
class SegmentationContent:
    """Regions to write as segments of the film."""

    envelope: Envelope
    findings: Sequence[SegmentedFinding]


def build_segmentation(content: SegmentationContent) -> Dataset:
    """Return the segmentation as a dataset; `encode.to_bytes` makes the file.

    Raises ObjectError if there is no region, a mask does not fit the film, a label is unknown, or
    the source lacks an identifying UID.
    """
    source = content.envelope.source
    _check_masks(content)
    with suppressed_warnings():
        ds = start_object(content.envelope, _KIND)
        body_part_chest(ds)
        ds.PatientOrientation = list(source.directions or ()) or None
        ds.CodingSchemeIdentificationSequence = [private_scheme_item()]
        ds.ContentCreatorName = None
        add_lossy_history(ds, source)
        for element in _highdicom_segmentation(content):
            if element.tag not in ds:
                ds.add(element)
        ds["PixelData"].VR = "OB"
        _derive_dimension_uids(ds)
    return ds


def _check_masks(content: SegmentationContent) -> None:
    if not content.findings:
        raise ObjectError("no segmentation: there is no region to segment")
    grid = (content.envelope.source.rows, content.envelope.source.columns)
    for finding in content.findings:
        mask = finding.mask
        if mask.dtype != np.uint8 or mask.shape != grid or not mask.any() or mask.max() > 1:
            raise ObjectError(
                f"the region of {finding.label} is no mask of the film: {mask.dtype} {mask.shape}"
            )


def _highdicom_segmentation(content: SegmentationContent) -> Dataset:
    """Return highdicom's segmentation, from the attributes that highdicom demands."""
    algorithm, identity = content.envelope.algorithm, content.envelope.identity
    return Segmentation(
        source_images=[_minimal_source(content.envelope.source, content.findings[0].mask.shape)],
        pixel_array=np.stack([finding.mask for finding in content.findings], axis=-1)[None],
        segmentation_type="BINARY",
        segment_descriptions=[
            _segment(number, finding, content.envelope)
            for number, finding in enumerate(content.findings, start=1)
        ],
        series_instance_uid=identity.series_instance_uid,
        series_number=identity.series_number,
        sop_instance_uid=identity.sop_instance_uid,
        instance_number=identity.instance_number,
        manufacturer=algorithm.manufacturer_name,
        manufacturer_model_name=algorithm.model_name,
        software_versions=algorithm.software_version,
        device_serial_number=algorithm.serial_number,
        content_label="AI_REGIONS",
        content_description="Regions of AI findings, research use only",
        omit_empty_frames=False,
    )


def _minimal_source(source: ImageHeader, shape: tuple[int, ...]) -> Dataset:
    minimal = Dataset()
    for keyword in ("SOPClassUID", "SOPInstanceUID", "StudyInstanceUID", "SeriesInstanceUID"):
        setattr(minimal, keyword, required_uid(source, keyword))
    for keyword in (
        "PatientID",
        "PatientName",
        "PatientBirthDate",
        "PatientSex",
        "AccessionNumber",
        "StudyID",
        "StudyDate",
        "StudyTime",
    ):
        setattr(minimal, keyword, None)
    minimal.Modality = source.modality
    minimal.Rows, minimal.Columns = shape
    # No PixelSpacing: highdicom would write pixel measures without a slice thickness, which a
    # projection does not have and which highdicom's reader demands. The source has the spacing.
    return minimal


def _segment(number: int, finding: SegmentedFinding, envelope: Envelope) -> SegmentDescription:
    coded = finding_code(finding.label)
    algorithm = envelope.algorithm
    numbers = probability_and_threshold(finding.probability, finding.threshold)
    segment = SegmentDescription(
        segment_number=number,
        segment_label=f"{coded.concept.meaning} {numbers}",
        segmented_property_category=ABNORMAL_STRUCTURE.code,
        segmented_property_type=coded.concept.code,
        algorithm_type="AUTOMATIC",
        algorithm_identification=AlgorithmIdentificationSequence(
            name=algorithm.model_name,
            family=ARTIFICIAL_INTELLIGENCE.code,
            version=algorithm.software_version,
            source=algorithm.manufacturer_name,
        ),
        tracking_uid=tracking_uid(
            envelope.film or required_uid(envelope.source, "SOPInstanceUID"),
            algorithm.sha256,
            finding.label,
        ),
        tracking_id=finding.label,
        anatomic_regions=[coded.site.code],
    )
    segment.SegmentDescription = plain(
        f"Where Grad-CAM is at least half its maximum: {coded.concept.meaning}, probability "
        f"{finding.probability:.4f}{algorithm.remark}. Not an outline of the disease. "
        f"{RESEARCH_USE_ONLY}"
    )
    return segment


def _derive_dimension_uids(ds: Dataset) -> None:
    uid = derived_uid(ds.SOPInstanceUID, "", "dimensions")
    for item in (*ds.DimensionOrganizationSequence, *ds.DimensionIndexSequence):
        item.DimensionOrganizationUID = uid
