"""A heatmap as a Secondary Capture image (PS3.3 A.8.1).

Modality is OT: the picture is no longer what the X-ray unit recorded, and a CR or DX here would
hang it beside the films as if it were one.
"""

from dataclasses import dataclass
from datetime import datetime, tzinfo

import numpy as np
from numpy.typing import NDArray
from pydicom.dataset import Dataset
from pydicom.uid import (
    HTJ2K,
    JPEG2000,
    JPEG2000MC,
    JPEGBaseline8Bit,
    JPEGExtended12Bit,
    JPEGLSNearLossless,
    SecondaryCaptureImageStorage,
)

from dicom_io.algorithm import RESEARCH_USE_ONLY, Algorithm, plain
from dicom_io.codes import GRAD_CAM, SOURCE_IMAGE, finding_code
from dicom_io.errors import ObjectError
from dicom_io.header import number, text
from dicom_io.quiet import quietly
from dicom_io.source_header import (
    Envelope,
    carry_over,
    local_time,
    patient_orientation,
    request_items,
    required_uid,
    start_object,
)

HEATMAP_SERIES_DESCRIPTION = "AI heatmap - research use only"
_LOSSY_SYNTAXES = frozenset(
    {JPEGBaseline8Bit, JPEGExtended12Bit, JPEGLSNearLossless, JPEG2000, JPEG2000MC, HTJ2K}
)
_SHORT_TEXT = 1024


@dataclass(frozen=True, slots=True)
class CaptureContent:
    """One heatmap: `rgb` is uint8 (rows, cols, 3), drawn on `source` for the finding `label`.

    `content_datetime` is aware; `timezone` is the site's zone, used where the source names none.
    """

    source: Dataset
    rgb: NDArray[np.uint8]
    label: str
    probability: float
    threshold: float
    algorithm: Algorithm
    sop_instance_uid: str
    series_instance_uid: str
    series_number: int
    instance_number: int
    content_datetime: datetime
    timezone: tzinfo | None = None


def build_capture(content: CaptureContent) -> Dataset:
    """The heatmap as a dataset; `encode.to_bytes` makes the file of it.

    Raises ObjectError for an array of another shape or type, an unknown label, or a source
    without its identifying UIDs.
    """
    rgb = content.rgb
    if rgb.dtype != np.uint8 or rgb.ndim != 3 or rgb.shape[2] != 3 or 0 in rgb.shape:
        raise ObjectError(f"a heatmap is uint8 (rows, cols, 3), not {rgb.dtype} {rgb.shape}")
    source = content.source
    envelope = Envelope(
        sop_class_uid=SecondaryCaptureImageStorage,
        sop_instance_uid=content.sop_instance_uid,
        series_instance_uid=content.series_instance_uid,
        series_number=content.series_number,
        instance_number=content.instance_number,
        modality="OT",
        series_description=HEATMAP_SERIES_DESCRIPTION,
        created=local_time(source, content.content_datetime, content.timezone),
    )
    with quietly():
        ds = start_object(source, envelope, content.algorithm)
        _add_general_image(ds, content)
        _add_derivation(ds, content)
        _add_lossy_history(ds, source)
        _add_pixels(ds, rgb)
    return ds


def _same_grid(content: CaptureContent) -> bool:
    grid = (number(content.source, "Rows"), number(content.source, "Columns"))
    return grid == content.rgb.shape[:2]


def _add_general_image(ds: Dataset, content: CaptureContent) -> None:
    ds.ConversionType = "WSD"
    ds.ImageType = ["DERIVED", "SECONDARY", "OTHER"]
    # An unpaired body part; without it Laterality would be required (PS3.3 C.7.3.1).
    ds.BodyPartExamined = "CHEST"
    ds.BurnedInAnnotation = "YES"
    ds.RecognizableVisualFeatures = "NO"
    directions = patient_orientation(content.source) if _same_grid(content) else None
    ds.PatientOrientation = list(directions) if directions is not None else None
    requests = request_items(content.source)
    if requests:
        ds.RequestAttributesSequence = requests


def _add_derivation(ds: Dataset, content: CaptureContent) -> None:
    """General Reference and Common Instance Reference (PS3.3 C.12.4, C.12.2)."""
    algorithm = content.algorithm
    meaning = finding_code(content.label).concept.meaning
    ds.DerivationDescription = plain(
        f"Grad-CAM overlay for {meaning}: probability {content.probability:.4f}, threshold "
        f"{content.threshold:.4f}. Model {algorithm.name} {algorithm.version}, bundle sha256 "
        f"{algorithm.sha256}. {RESEARCH_USE_ONLY}"
    )[:_SHORT_TEXT]
    ds.DerivationCodeSequence = [GRAD_CAM.item()]
    ds.ImageComments = plain(
        f"AI heatmap: {meaning}, probability {content.probability:.2f}. {RESEARCH_USE_ONLY}"
    )
    reference = Dataset()
    reference.ReferencedSOPClassUID = required_uid(content.source, "SOPClassUID")
    reference.ReferencedSOPInstanceUID = required_uid(content.source, "SOPInstanceUID")
    ds.SourceImageSequence = [_source_item(reference, _same_grid(content))]
    series = Dataset()
    series.ReferencedInstanceSequence = [reference]
    series.SeriesInstanceUID = required_uid(content.source, "SeriesInstanceUID")
    ds.ReferencedSeriesSequence = [series]


def _source_item(reference: Dataset, same_grid: bool) -> Dataset:
    item = Dataset()
    item.update(reference)
    item.PurposeOfReferenceCodeSequence = [SOURCE_IMAGE.item()]
    item.SpatialLocationsPreserved = "YES" if same_grid else "NO"
    return item


def _add_lossy_history(ds: Dataset, source: Dataset) -> None:
    """Once lossy, always lossy (PS3.3 C.7.6.1.1.5): the flag follows the pixels it came from."""
    syntax = text(getattr(source, "file_meta", Dataset()), "TransferSyntaxUID")
    if text(source, "LossyImageCompression") != "01" and syntax not in _LOSSY_SYNTAXES:
        ds.LossyImageCompression = "00"
        return
    ds.LossyImageCompression = "01"
    for keyword in ("LossyImageCompressionRatio", "LossyImageCompressionMethod"):
        if text(source, keyword):
            carry_over(source, ds, keyword)


def _add_pixels(ds: Dataset, rgb: NDArray[np.uint8]) -> None:
    ds.SamplesPerPixel = 3
    ds.PhotometricInterpretation = "RGB"
    ds.PlanarConfiguration = 0
    ds.Rows, ds.Columns = rgb.shape[:2]
    ds.BitsAllocated = ds.BitsStored = 8
    ds.HighBit = 7
    ds.PixelRepresentation = 0
    pixels = np.ascontiguousarray(rgb).tobytes()
    ds.PixelData = pixels + b"\0" * (len(pixels) % 2)
    ds["PixelData"].VR = "OB"
