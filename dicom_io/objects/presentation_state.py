"""Outlines over the original film: a Grayscale Softcopy Presentation State (PS3.3 A.33.1).

The pixels of the film do not change. A viewer that supports presentation states draws the outlines
over the film and can hide each layer. highdicom makes the annotation items. This module builds the
dataset around them, because highdicom's constructor demands attributes that films often lack.
"""

import itertools
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from highdicom.color import CIELabColor
from highdicom.pr import GraphicAnnotation, GraphicLayer, GraphicObject, TextObject
from numpy.typing import NDArray
from pydicom.dataset import Dataset
from pydicom.uid import GrayscaleSoftcopyPresentationStateStorage

from dicom_io.errors import ObjectError, UndecodablePixelsError
from dicom_io.finding_text import probability_and_threshold
from dicom_io.objects.algorithm import long_string
from dicom_io.objects.codes import finding_code
from dicom_io.objects.presentation_grey_scale import MAX_BITS, add_grey_scale
from dicom_io.objects.source_header import (
    Envelope,
    ObjectType,
    body_part_chest,
    carry_over,
    required_uid,
    source_reference,
    start_object,
)
from dicom_io.read.image_header import ImageHeader
from dicom_io.read.orientation import usable_pair
from dicom_io.read.shutter import display_shutter
from dicom_io.read.tone import DECLARED, Tone
from dicom_io.read.warnings_off import suppressed_warnings

_KIND = ObjectType(
    GrayscaleSoftcopyPresentationStateStorage, "PR", "AI regions - research use only"
)

Point = tuple[float, float]
Box = tuple[float, float, float, float]

_NOTICE_LAYER = "RESEARCH_USE"
_NOTICE = "AI result. RESEARCH USE ONLY, not for diagnosis"
_CODE_STRING = 16

# Colours of the findings in turn; each stands out from grey.
_COLOURS = (
    (255, 170, 0),
    (0, 220, 255),
    (255, 90, 200),
    (120, 255, 90),
    (255, 255, 90),
    (255, 110, 90),
    (150, 160, 255),
)
_NOTICE_COLOUR = (255, 255, 255)

# Text size as a fraction of the shorter side of the film.
_LINE_HEIGHT = 0.032
_CHARACTER_WIDTH = 0.019

_SHUTTERS = {
    "RECTANGULAR": (
        "ShutterLeftVerticalEdge",
        "ShutterRightVerticalEdge",
        "ShutterUpperHorizontalEdge",
        "ShutterLowerHorizontalEdge",
    ),
    "CIRCULAR": ("CenterOfCircularShutter", "RadiusOfCircularShutter"),
    "POLYGONAL": ("VerticesOfThePolygonalShutter",),
}


@dataclass(frozen=True, slots=True)
class OutlinedFinding:
    """A finding and the outline of its region.

    `points` are the corners as (column, row) on the film, each corner once. The top left corner of
    the top left pixel is (0, 0) and the centre of that pixel (0.5, 0.5), as in PS3.3 C.10.5.
    """

    label: str
    probability: float
    threshold: float
    points: Sequence[Point]


@dataclass(frozen=True, slots=True)
class PresentationContent:
    """Outlines to draw on the film.

    `shown` are the stored values that determine its contrast, as in `DisplayImage.shown`; `tone` is
    the departure from the grey scale of its header.
    """

    envelope: Envelope
    shown: NDArray[np.int64] | None
    findings: Sequence[OutlinedFinding]
    tone: Tone = DECLARED


def unsupported_reason(source: ImageHeader, tone: Tone | None = None) -> str:
    """Return the reason why the image cannot have a presentation state; empty if it can."""
    try:
        layout = source.layout
    except UndecodablePixelsError as error:
        return str(error)
    if not layout.is_grey:
        return f"the image is {layout.photometric[:16]}, not greyscale"
    if layout.bits_stored > MAX_BITS:
        return f"the image has {layout.bits_stored} bits"
    if tone is not None and tone.layout_of(layout).bits_stored > layout.bits_stored:
        return f"viewers cut its pixels to {layout.bits_stored} bits"
    return ""


def build_presentation_state(content: PresentationContent) -> Dataset:
    """Return the presentation state as a dataset; `encode.to_bytes` makes the file.

    Raises ObjectError if there is no outline, `unsupported_reason` refuses the image, an outline
    leaves the film, a label is unknown, or the source lacks an identifying UID.
    """
    source = content.envelope.source
    problem = (
        unsupported_reason(source, content.tone)
        if content.findings
        else "there is no region to draw"
    )
    if problem or content.shown is None:
        problem = problem or "the values of its pixels are not known"
        raise ObjectError(f"no presentation state: {problem}")
    with suppressed_warnings():
        ds = start_object(content.envelope, _KIND)
        body_part_chest(ds)
        _add_identification(ds)
        _add_relationship(ds, source)
        _add_displayed_area(ds, source)
        _add_shutter(ds, source)
        add_grey_scale(ds, source, content.tone, content.shown)
        _add_annotations(ds, content)
    return ds


def _add_identification(ds: Dataset) -> None:
    """Add Presentation State Identification (PS3.3 C.11.10)."""
    ds.ContentLabel = "AI_REGIONS"
    ds.ContentDescription = "Regions of AI findings, research use only"
    ds.ContentCreatorName = None
    ds.PresentationCreationDate = ds.ContentDate
    ds.PresentationCreationTime = ds.ContentTime


def _add_relationship(ds: Dataset, source: ImageHeader) -> None:
    """Add Presentation State Relationship (PS3.3 C.11.11)."""
    series = Dataset()
    series.ReferencedImageSequence = [source_reference(source)]
    series.SeriesInstanceUID = required_uid(source, "SeriesInstanceUID")
    ds.ReferencedSeriesSequence = [series]


def _add_displayed_area(ds: Dataset, source: ImageHeader) -> None:
    """Add the Displayed Area: the whole film, scaled to fit (PS3.3 C.10.4)."""
    area = Dataset()
    area.DisplayedAreaTopLeftHandCorner = [1, 1]
    area.DisplayedAreaBottomRightHandCorner = [source.layout.columns, source.layout.rows]
    area.PresentationSizeMode = "SCALE TO FIT"
    pairs = {keyword: usable_pair(values) for keyword, values in source.spacings.items()}
    spacing, aspect = (
        pairs["PixelSpacing"] or pairs["ImagerPixelSpacing"],
        pairs["PixelAspectRatio"],
    )
    if spacing is not None:
        area.PresentationPixelSpacing = [f"{distance:.10g}" for distance in spacing]
    elif aspect is not None and all(side == int(side) for side in aspect):
        area.PresentationPixelAspectRatio = [int(side) for side in aspect]
    else:
        area.PresentationPixelAspectRatio = [1, 1]
    ds.DisplayedAreaSelectionSequence = [area]


def _add_shutter(ds: Dataset, source: ImageHeader) -> None:
    """Repeat the Display Shutter of the film, which the state overrides (PS3.3 C.7.6.11)."""
    shapes = display_shutter(source.dataset, source.layout.rows, source.layout.columns)
    if not shapes:
        return
    ds.ShutterShape = list(dict.fromkeys(shapes))
    ds.ShutterPresentationValue = 0
    for keyword in itertools.chain.from_iterable(_SHUTTERS[shape] for shape in shapes):
        carry_over(source.dataset, ds, keyword)


def _add_annotations(ds: Dataset, content: PresentationContent) -> None:
    """Add a layer per finding with outline and caption, and one for the notice (PS3.3 C.10.5)."""
    film = _film(content.envelope.source)
    captions = [_caption(finding) for finding in content.findings]
    boxes = list(_caption_boxes(content.findings, captions, int(film.Rows), int(film.Columns)))
    layers, annotations = [], []
    for order, finding in enumerate(content.findings):
        layer = _layer(
            finding.label.upper()[:_CODE_STRING].rstrip("_"),
            order + 1,
            captions[order],
            _COLOURS[order % len(_COLOURS)],
        )
        layers.append(layer)
        annotations.append(_annotation(film, layer, finding, captions[order], boxes[order]))
    algorithm = content.envelope.algorithm
    model = long_string(f"{algorithm.name} {algorithm.version}")
    notice = _layer(_NOTICE_LAYER, len(layers) + 1, model, _NOTICE_COLOUR)
    layers.append(notice)
    annotations.append(_notice(film, notice))
    ds.GraphicLayerSequence = layers
    ds.GraphicAnnotationSequence = annotations


def _film(source: ImageHeader) -> Dataset:
    """Return the attributes of the source that highdicom reads for an annotation."""
    film = Dataset()
    film.SOPClassUID = required_uid(source, "SOPClassUID")
    film.SOPInstanceUID = required_uid(source, "SOPInstanceUID")
    film.SeriesInstanceUID = required_uid(source, "SeriesInstanceUID")
    film.Rows, film.Columns = source.layout.rows, source.layout.columns
    return film


def _caption(finding: OutlinedFinding) -> str:
    numbers = probability_and_threshold(finding.probability, finding.threshold)
    return f"{finding_code(finding.label).concept.meaning} {numbers}"


def _layer(name: str, order: int, description: str, colour: tuple[int, int, int]) -> GraphicLayer:
    return GraphicLayer(name, order, description, CIELabColor.from_rgb(*colour))


def _annotation(
    film: Dataset, layer: GraphicLayer, finding: OutlinedFinding, caption: str, box: Box
) -> GraphicAnnotation:
    closed = np.asarray([*finding.points, finding.points[0]], dtype=np.float64)
    middle = ((box[0] + box[2]) / 2, (box[1] + box[3]) / 2)
    nearest = min(finding.points, key=lambda point: math.dist(point, middle))
    try:
        return GraphicAnnotation(
            [film],
            layer,
            graphic_objects=[GraphicObject("POLYLINE", closed, "PIXEL")],
            text_objects=[TextObject(caption, "PIXEL", bounding_box=box, anchor_point=nearest)],
        )
    except ValueError as error:
        raise ObjectError(f"the outline of {finding.label} does not fit the film") from error


def _notice(film: Dataset, layer: GraphicLayer) -> GraphicAnnotation:
    line = TextObject(_NOTICE, "DISPLAY", bounding_box=(0.02, 0.96, 0.98, 0.99))
    return GraphicAnnotation([film], layer, text_objects=[line])


def _caption_boxes(
    findings: Sequence[OutlinedFinding], captions: Sequence[str], rows: int, columns: int
) -> Iterator[Box]:
    """Yield the box of each caption: above its outline, else lower until it is free."""
    side = min(rows, columns)
    height = _LINE_HEIGHT * side
    taken: list[Box] = []
    for finding, caption in zip(findings, captions, strict=True):
        width = min(_CHARACTER_WIDTH * side * len(caption), columns)
        xs, ys = zip(*finding.points, strict=True)
        left = min(max((min(xs) + max(xs) - width) / 2, 0.0), columns - width)
        tops = (min(ys) - 1.25 * height + 1.1 * height * step for step in range(2 * len(findings)))
        box: Box = (left, 0.0, left + width, height)
        for top in tops:
            low = min(max(top, 0.0), rows - height)
            box = (left, low, left + width, low + height)
            if not any(_overlap(box, placed) for placed in taken):
                break
        taken.append(box)
        yield box


def _overlap(a: Box, b: Box) -> bool:
    return a[0] < b[2] and b[0] < a[2] and a[1] < b[3] and b[1] < a[3]
