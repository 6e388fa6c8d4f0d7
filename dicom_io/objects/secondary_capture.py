"""Secondary Capture images (PS3.3 A.8.1): the heatmap of a finding, and the summary sheet.

Modality is OT, because the X-ray unit did not record these pixels. With CR or DX a viewer would
hang the picture beside the films as if it were a film.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction

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
from dicom_io.read.orientation import is_believed, usable_pair
from dicom_io.read.warnings_off import suppressed_warnings

_LOSSY_SYNTAXES = frozenset(
    {JPEGBaseline8Bit, JPEGExtended12Bit, JPEGLSNearLossless, JPEG2000, JPEG2000MC, HTJ2K}
)
_SPACINGS = ("PixelSpacing", "ImagerPixelSpacing", "NominalScannedPixelSpacing")
_CALIBRATION = ("PixelSpacingCalibrationType", "PixelSpacingCalibrationDescription")
# A ratio of numbers of pixels may need more digits than an IS value has (PS3.5 6.2).
_LARGEST_TERM = 10**6
# The sides of a reduced film are whole pixels.
_ROUNDED = 0.5 + 1e-6


Picture = Dataset
"""A built picture with uncompressed pixels; `compression` makes its files."""


@dataclass(frozen=True, slots=True)
class CaptureContent:
    """One heatmap: `rgb` is uint8 (rows, cols, 3), drawn on the source for the finding `label`.

    The last `legend_rows` rows are a legend. The rows above show the whole source on its own pixel
    grid, whose coordinates then hold in the heatmap, or reduced. `location` is a sentence, without
    a full stop, on how far the place that the map shows can be believed; empty if nothing is said
    about it.
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
class _FilmPart:
    """The part of a picture that shows a film of `stored` rows and columns in this number."""

    rows: int
    columns: int
    stored: tuple[int, int]

    @property
    def is_stored_grid(self) -> bool:
        return (self.rows, self.columns) == self.stored

    @property
    def pixel(self) -> tuple[Fraction, Fraction]:
        """Height and width of a pixel, in pixels of the film."""
        return Fraction(self.stored[0], self.rows), Fraction(self.stored[1], self.columns)

    def __str__(self) -> str:
        scale = max(self.rows, self.columns) / max(self.stored)
        return (
            f"The film is drawn at {self.columns} x {self.rows} of its {self.stored[1]} x "
            f"{self.stored[0]} pixels (columns x rows), scale {scale:.4g}."
        )


@dataclass(frozen=True, slots=True)
class _Wording:
    """Texts and derivation of a picture: series, derivation, comment, the film if it is shown."""

    series: str
    derivation: str
    comment: str
    film: _FilmPart | None
    shows_map: bool

    @property
    def on_source_grid(self) -> bool:
        return self.film is not None and self.film.is_stored_grid


def build_capture(content: CaptureContent) -> Picture:
    """Return the heatmap as a dataset.

    Raises ObjectError for an array of another shape or type, an unknown label, or a source
    without its identifying UIDs.
    """
    meaning = finding_code(content.label).concept.meaning
    numbers = probability_and_threshold(content.probability, content.threshold)
    source = content.envelope.source
    rows = content.rgb.shape[0] - content.legend_rows
    film = _film_part(source, rows, *content.rgb.shape[1:2])
    drawn = f" {film}" if film is not None else ""
    remark = content.envelope.algorithm.remark
    legend = f" Its legend is below the film, from row {rows + 1}." if content.legend_rows else ""
    location = f" {content.location[:1].upper()}{content.location[1:]}." if content.location else ""
    wording = _Wording(
        "AI heatmap - research use only",
        f"Grad-CAM overlay for {meaning}: probability {content.probability:.4f}{remark}, threshold "
        f"{content.threshold:.4f}.{location}{drawn}{legend}",
        f"AI heatmap: {meaning}, probability {numbers}{remark}.{location}",
        film=film,
        shows_map=True,
    )
    return _picture(content, wording)


def build_summary(content: SummaryContent) -> Picture:
    """Return the summary sheet as a dataset. Raises ObjectError as `build_capture` does."""
    found = [finding_code(label).concept.meaning for label in content.positive]
    names = ", ".join(found) or "none"
    overlays = " and Grad-CAM overlays of those furthest above threshold" if found else ""
    wording = _Wording(
        "AI summary - research use only",
        f"Summary sheet: {len(FINDING_CODES)} findings with probabilities and thresholds"
        f"{overlays}. At or above threshold: {names}.",
        f"AI summary: {names}.",
        film=None,
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
    directions = source.directions if wording.film is not None else None
    ds.PatientOrientation = list(directions) if directions is not None else None
    if wording.film is not None:
        _add_spacing(ds, source, wording.film)
    requests = request_items(source.dataset)
    if requests:
        ds.RequestAttributesSequence = requests


def _film_part(source: ImageHeader, rows: int, columns: int = 0) -> _FilmPart | None:
    """Return the part of a picture that shows the film; None if its proportions are others."""
    if not source.rows or not source.columns or rows < 1 or columns < 1:
        return None
    scale = min(1.0, max(rows, columns) / max(source.rows, source.columns))
    sides = (rows, source.rows), (columns, source.columns)
    if any(abs(side - stored * scale) > _ROUNDED for side, stored in sides):
        return None
    return _FilmPart(rows, columns, (int(source.rows), int(source.columns)))


def _add_spacing(ds: Dataset, source: ImageHeader, film: _FilmPart) -> None:
    """Add the spacings of the source, scaled, or else the aspect ratio of the pixels.

    PixelSpacing and NominalScannedPixelSpacing belong to the module (PS3.3 C.8.6.2 and 10.7.1.3).
    ImagerPixelSpacing does not: with it the object is of a standard extended class, and says as the
    film does that its distances are those at the detector. PixelAspectRatio is for pictures
    without a spacing (PS3.3 C.7.6.3.1.7).
    """
    height, width = film.pixel
    for keyword in _SPACINGS:
        pair = usable_pair(source.spacings[keyword])
        if pair is not None and is_believed(pair):
            sides = pair[0] * float(height), pair[1] * float(width)
            setattr(ds, keyword, [f"{side:.8g}" for side in sides])
    if "PixelSpacing" in ds:
        for keyword in _CALIBRATION:
            if text(source.dataset, keyword):
                carry_over(source.dataset, ds, keyword)
    if any(keyword in ds for keyword in _SPACINGS):
        return
    aspect = Fraction(source.pose[0].aspect) * height / width
    if aspect != 1:
        shortened = aspect.limit_denominator(_LARGEST_TERM)
        ds.PixelAspectRatio = [shortened.numerator, shortened.denominator]


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
