"""Secondary Capture images (PS3.3 A.8.1): the heatmap of a finding, and the summary sheet.

Modality is OT, because the X-ray unit did not record these pixels. With CR or DX a viewer would
hang the picture beside the films as if it were a film.
"""

from collections.abc import Sequence
from dataclasses import dataclass

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

from dicom_io.errors import ObjectError
from dicom_io.finding_text import probability_and_threshold
from dicom_io.objects.algorithm import RESEARCH_USE_ONLY, Algorithm, plain, short_text
from dicom_io.objects.codes import FINDING_CODES, GRAD_CAM, SOURCE_IMAGE, Concept, finding_code
from dicom_io.objects.source_header import (
    Envelope,
    ObjectType,
    body_part_chest,
    carry_over,
    request_items,
    required_uid,
    source_reference,
    start_object,
)
from dicom_io.read.header import text
from dicom_io.read.image_header import ImageHeader
from dicom_io.read.warnings_off import suppressed_warnings

_LOSSY_SYNTAXES = frozenset(
    {JPEGBaseline8Bit, JPEGExtended12Bit, JPEGLSNearLossless, JPEG2000, JPEG2000MC, HTJ2K}
)


@dataclass(frozen=True, slots=True)
class CaptureContent:
    """One heatmap: `rgb` is uint8 (rows, cols, 3), drawn on the source for the finding `label`.

    The last `legend_rows` rows are a legend. The rows above are the pixel grid of the source, so
    that its coordinates hold in the heatmap. `location` is a sentence, without a full stop, on how
    far the place that the map shows can be believed; empty if nothing is said about it.
    """

    envelope: Envelope
    rgb: NDArray[np.uint8]
    label: str
    probability: float
    threshold: float
    legend_rows: int = 0
    location: str = ""


@dataclass(frozen=True, slots=True)
class SummaryContent:
    """The summary sheet of one image: `rgb` is uint8 (rows, cols, 3), `positive` the labels found.

    The pixel grid of the sheet is not that of the film.
    """

    envelope: Envelope
    rgb: NDArray[np.uint8]
    positive: Sequence[str]


@dataclass(frozen=True, slots=True)
class _Wording:
    """Texts and derivation flags of a picture: series, derivation, comment."""

    series: str
    derivation: str
    comment: str
    on_source_grid: bool
    shows_map: bool


def build_capture(content: CaptureContent) -> Dataset:
    """Return the heatmap as a dataset; `encode.to_bytes` makes the file.

    Raises ObjectError for an array of another shape or type, an unknown label, or a source
    without its identifying UIDs.
    """
    meaning = finding_code(content.label).concept.meaning
    numbers = probability_and_threshold(content.probability, content.threshold)
    source = content.envelope.source
    rows = content.rgb.shape[0] - content.legend_rows
    remark = content.envelope.algorithm.remark
    legend = f" Its legend is below the film, from row {rows + 1}." if content.legend_rows else ""
    location = f" {content.location[:1].upper()}{content.location[1:]}." if content.location else ""
    wording = _Wording(
        "AI heatmap - research use only",
        f"Grad-CAM overlay for {meaning}: probability {content.probability:.4f}{remark}, threshold "
        f"{content.threshold:.4f}.{location}{legend}",
        f"AI heatmap: {meaning}, probability {numbers}{remark}.{location}",
        on_source_grid=(source.rows, source.columns) == (rows, *content.rgb.shape[1:2]),
        shows_map=True,
    )
    return _picture(content, wording)


def build_summary(content: SummaryContent) -> Dataset:
    """Return the summary sheet as a dataset. Raises ObjectError as `build_capture` does."""
    found = [finding_code(label).concept.meaning for label in content.positive]
    names = ", ".join(found) or "none"
    overlays = " and Grad-CAM overlays of those furthest above threshold" if found else ""
    wording = _Wording(
        "AI summary - research use only",
        f"Summary sheet: {len(FINDING_CODES)} findings with probabilities and thresholds"
        f"{overlays}. At or above threshold: {names}.",
        f"AI summary: {names}.",
        on_source_grid=False,
        shows_map=bool(found),
    )
    return _picture(content, wording)


def _picture(content: CaptureContent | SummaryContent, wording: _Wording) -> Dataset:
    rgb = content.rgb
    if rgb.dtype != np.uint8 or rgb.ndim != 3 or rgb.shape[2] != 3 or 0 in rgb.shape:
        raise ObjectError(f"a picture is uint8 (rows, cols, 3), not {rgb.dtype} {rgb.shape}")
    source = content.envelope.source
    kind = ObjectType(SecondaryCaptureImageStorage, "OT", wording.series)
    with suppressed_warnings():
        ds = start_object(content.envelope, kind)
        _add_general_image(ds, source, wording)
        _add_derivation(ds, source, content.envelope.algorithm, wording)
        add_lossy_history(ds, source)
        _add_pixels(ds, rgb)
    return ds


def _add_general_image(ds: Dataset, source: ImageHeader, wording: _Wording) -> None:
    ds.ConversionType = "WSD"
    ds.ImageType = ["DERIVED", "SECONDARY", "OTHER"]
    body_part_chest(ds)
    ds.BurnedInAnnotation = "YES"
    ds.RecognizableVisualFeatures = "NO"
    directions = source.directions if wording.on_source_grid else None
    ds.PatientOrientation = list(directions) if directions is not None else None
    aspect = source.pose[0].aspect if wording.on_source_grid else 1.0
    if aspect != 1.0:
        ds.PixelAspectRatio = [round(1000 * aspect), 1000]
    requests = request_items(source.dataset)
    if requests:
        ds.RequestAttributesSequence = requests


def _add_derivation(
    ds: Dataset, source: ImageHeader, algorithm: Algorithm, wording: _Wording
) -> None:
    """Add General Reference and Common Instance Reference (PS3.3 C.12.4, C.12.2)."""
    ds.DerivationDescription = short_text(
        f"{wording.derivation} Model {algorithm.name} {algorithm.version}, bundle sha256 "
        f"{algorithm.sha256}. {RESEARCH_USE_ONLY}"
    )
    if wording.shows_map:
        ds.DerivationCodeSequence = [GRAD_CAM.item()]
    ds.ImageComments = plain(f"{wording.comment} {RESEARCH_USE_ONLY}")
    reference = source_reference(source)
    ds.SourceImageSequence = [source_item(reference, SOURCE_IMAGE, wording.on_source_grid)]
    ds.ReferencedSeriesSequence = [
        series_item(reference, required_uid(source, "SeriesInstanceUID"))
    ]


def source_item(reference: Dataset, purpose: Concept, same_grid: bool) -> Dataset:
    """Return the item of SourceImageSequence for a referenced instance."""
    item = Dataset()
    item.update(reference)
    item.PurposeOfReferenceCodeSequence = [purpose.item()]
    item.SpatialLocationsPreserved = "YES" if same_grid else "NO"
    return item


def series_item(reference: Dataset, series_instance_uid: str) -> Dataset:
    """Return the item of ReferencedSeriesSequence (Common Instance Reference) for an instance."""
    series = Dataset()
    series.ReferencedInstanceSequence = [reference]
    series.SeriesInstanceUID = series_instance_uid
    return series


def add_lossy_history(ds: Dataset, source: ImageHeader) -> None:
    """Mark an object as lossy if its source was ever lossy (PS3.3 C.7.6.1.1.5)."""
    if source.lossy_compression != "01" and source.transfer_syntax not in _LOSSY_SYNTAXES:
        ds.LossyImageCompression = "00"
        return
    ds.LossyImageCompression = "01"
    for keyword in ("LossyImageCompressionRatio", "LossyImageCompressionMethod"):
        if text(source.dataset, keyword):
            carry_over(source.dataset, ds, keyword)


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
