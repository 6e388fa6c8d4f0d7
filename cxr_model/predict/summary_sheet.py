"""The summary sheet: all findings of a film on one page.

The left half shows the film with the maps of the findings furthest above threshold, the right half
a bar and the numbers of all 14 findings. The middle of each bar is the threshold of its
finding, so a bar that passes the line is a finding, even with a low threshold. The sheet never
shows patient data.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import cv2
import numpy as np
import numpy.typing as npt
from PIL import Image, ImageDraw, ImageFont

from cxr_model.errors import ImageError
from cxr_model.findings import LABELS
from cxr_model.predict.heatmap import Grey, Rgb, font, overlay
from cxr_model.predict.prediction import Finding, Prediction
from cxr_model.predict.transform import check_image, reduced_shape

WIDTH, HEIGHT = 1280, 960
MOST_TILES = 4

_Colour = tuple[int, int, int]
_BLACK: _Colour = (0, 0, 0)
_PANEL: _Colour = (38, 40, 44)
_WHITE: _Colour = (240, 240, 240)
_GREY: _Colour = (165, 168, 174)
_FAINT: _Colour = (88, 92, 100)
_AMBER: _Colour = (255, 176, 0)

_MARGIN = 32
_HEADER = 132
_FOOTER = 838
_TILES_WIDTH = 508
_CAPTION = 46
_LIST_LEFT = 568
_BAR_LEFT, _BAR_RIGHT = 880, 1056
_PROBABILITY_RIGHT, _THRESHOLD_RIGHT = 1146, WIDTH - _MARGIN
_HEAD = 30
_DISCLAIMER = (
    "Colour shows where the model looked, not how far a disease reaches. Not for diagnosis."
)


@dataclass(frozen=True, slots=True)
class Captions:
    """Texts of the sheet beside the findings; they must not contain patient data.

    `image` identifies the film within its study; `model` is the model's name, version and hash;
    `operating_point` is the rule of its thresholds. `notes` are some words, by label, on the place
    that the map of a finding shows.
    """

    image: str
    model: str
    operating_point: str
    notes: Mapping[str, str] = field(default_factory=dict)


def draw_summary(
    film: Grey, prediction: Prediction, scales: Mapping[str, float], captions: Captions
) -> Rgb:
    """Draw the sheet and return uint8 RGB (HEIGHT, WIDTH, 3).

    `film` is the image of `prediction`, uint8 (rows, cols), or a smaller picture of it; `scales` is
    the logit contribution per label that is drawn in the hottest colour; a finding without one is
    shown without its map.
    Raises ImageError if the film is not a grey image or has another shape than that of the
    prediction.
    """
    check_image(film)
    rows, cols = prediction.geometry.rows, prediction.geometry.cols
    reduced = reduced_shape(rows, cols, max(film.shape))
    if max(abs(side - other) for side, other in zip(film.shape, reduced, strict=True)) > 1:
        raise ImageError(f"the prediction is about another image than this one of {film.shape}")
    page = Image.new("RGB", (WIDTH, HEIGHT), _BLACK)
    draw = ImageDraw.Draw(page)
    _draw_header(draw, prediction, captions)
    _draw_tiles(page, draw, film, prediction, scales, captions.notes)
    _draw_findings(draw, prediction)
    _draw_footer(draw, captions)
    return np.asarray(page, dtype=np.uint8)


def _draw_header(draw: ImageDraw.ImageDraw, prediction: Prediction, captions: Captions) -> None:
    draw.rectangle((0, 0, WIDTH, 62), fill=_PANEL)
    draw.text((_MARGIN, 31), "AI chest X-ray summary", _WHITE, font(34, bold=True), anchor="lm")
    right = WIDTH - _MARGIN
    draw.text((right, 31), "RESEARCH USE ONLY", _AMBER, font(34, bold=True), anchor="rm")
    count = len(prediction.present)
    text = f"{count or 'None'} of {len(LABELS)} findings at or above threshold"
    colour = _AMBER if count else _WHITE
    draw.text((_MARGIN, 97), text, colour, font(30, bold=True), anchor="lm")
    draw.text((right, 97), captions.image, _GREY, font(24), anchor="rm")


def _draw_tiles(
    page: Image.Image,
    draw: ImageDraw.ImageDraw,
    film: Grey,
    prediction: Prediction,
    scales: Mapping[str, float],
    notes: Mapping[str, str],
) -> None:
    """Draw the film once per finding shown, or once without a map if no finding is present."""
    shown: Sequence[Finding | None] = prediction.present[:MOST_TILES] or (None,)
    columns = 1 if len(shown) <= 2 else 2
    rows = -(-len(shown) // columns)
    width = (_TILES_WIDTH - 16 * (columns - 1)) // columns
    height = (_FOOTER - _HEADER - 16 * rows) // rows
    for i, finding in enumerate(shown):
        left = _MARGIN + (i % columns) * (width + 16)
        top = _HEADER + (i // columns) * (height + 16)
        tile = _tile(film, prediction, finding, scales, (width, height - _CAPTION))
        page.paste(Image.fromarray(tile), (left + (width - tile.shape[1]) // 2, top))
        caption = _name(finding) if finding is not None else "Film"
        middle, below = left + width / 2, top + tile.shape[0]
        draw.text((middle, below + 15), caption, _WHITE, font(22), anchor="mm")
        note = notes.get(finding.label, "") if finding is not None else ""
        draw.text((middle, below + 36), note, _AMBER, font(15), anchor="mm")


def _tile(
    film: Grey,
    prediction: Prediction,
    finding: Finding | None,
    scales: Mapping[str, float],
    space: tuple[int, int],
) -> npt.NDArray[np.uint8]:
    """Return the film with the finding's map, scaled into (width, height): (rows, cols, 3)."""
    rows, cols = film.shape
    share = min(space[0] / cols, space[1] / rows)
    size = (max(1, round(cols * share)), max(1, round(rows * share)))
    method = cv2.INTER_AREA if share < 1 else cv2.INTER_LINEAR
    small = np.asarray(cv2.resize(film, size, interpolation=method), dtype=np.uint8)
    if finding is None or finding.label not in scales:
        return np.repeat(small[:, :, None], 3, axis=2)
    heat = prediction.heat(finding.label, (small.shape[0], small.shape[1]))
    return overlay(small, heat, scales[finding.label])


def _draw_findings(draw: ImageDraw.ImageDraw, prediction: Prediction) -> None:
    """Draw the findings present, furthest above threshold first, then the others in NIH order."""
    absent = [finding for finding in prediction.findings if not finding.present]
    pitch = (_FOOTER - _HEADER - _HEAD) / len(LABELS)
    top = _HEADER + _HEAD
    middle = (_BAR_LEFT + _BAR_RIGHT) // 2
    head, y = font(18), _HEADER + _HEAD / 2 - 3
    draw.text((_PROBABILITY_RIGHT, y), "probability", _GREY, head, anchor="rm")
    draw.text((_THRESHOLD_RIGHT, y), "threshold", _GREY, head, anchor="rm")
    for row, finding in enumerate((*prediction.present, *absent)):
        _draw_finding(draw, finding, top + pitch * (row + 0.5), pitch)
    draw.line((middle, top + 2, middle, top + pitch * len(LABELS) - 2), _WHITE, 2)


def _draw_finding(draw: ImageDraw.ImageDraw, finding: Finding, y: float, pitch: float) -> None:
    colour = _AMBER if finding.present else _GREY
    if finding.present:
        draw.rectangle(
            (_LIST_LEFT, y - pitch / 2 + 1, WIDTH - _MARGIN + 10, y + pitch / 2 - 1), fill=_PANEL
        )
        draw.polygon(
            [(_LIST_LEFT + 8, y - 10), (_LIST_LEFT + 24, y), (_LIST_LEFT + 8, y + 10)], fill=_AMBER
        )
    face = font(25, bold=finding.present)
    draw.text((_LIST_LEFT + 34, y), _name(finding), colour, face, anchor="lm")
    draw.rectangle((_BAR_LEFT, y - 9, _BAR_RIGHT, y + 9), fill=_FAINT)
    end = _BAR_LEFT + (_BAR_RIGHT - _BAR_LEFT) * _bar_share(finding)
    draw.rectangle((_BAR_LEFT, y - 9, max(end, _BAR_LEFT + 1), y + 9), fill=colour)
    value = f"{finding.probability:.3f}"
    draw.text((_PROBABILITY_RIGHT, y), value, colour, font(26, bold=True), anchor="rm")
    limit = f"{finding.threshold:.3f}"
    draw.text((_THRESHOLD_RIGHT, y), limit, _GREY, font(22), anchor="rm")


def _bar_share(finding: Finding) -> float:
    """Return the filled share of the bar: 0.5 at the threshold, longer for higher odds over it."""
    times = finding.odds_over_threshold
    return times / (1 + times)


def _draw_footer(draw: ImageDraw.ImageDraw, captions: Captions) -> None:
    draw.line((_MARGIN, _FOOTER, WIDTH - _MARGIN, _FOOTER), _FAINT, 1)
    lines = (
        ("Bars: the white line is the threshold; a bar that reaches it is a finding.", _GREY),
        (f"Model: {captions.model}", _GREY),
        (f"Thresholds: {captions.operating_point}", _GREY),
        (_DISCLAIMER, _AMBER),
    )
    for i, (line, colour) in enumerate(lines):
        shown, face = _fitting(draw, line)
        draw.text((_MARGIN, _FOOTER + 20 + 29 * i), shown, colour, face, anchor="lm")


def _fitting(draw: ImageDraw.ImageDraw, line: str) -> tuple[str, ImageFont.FreeTypeFont]:
    """Return the line and the largest font in which it fits the page; cut it if none fits."""
    space = WIDTH - 2 * _MARGIN
    for size in range(20, 15, -1):
        if draw.textlength(line, font(size)) <= space:
            return line, font(size)
    while draw.textlength(line + "…", font(16)) > space:
        line = line[:-1]
    return line + "…", font(16)


def _name(finding: Finding) -> str:
    return finding.label.replace("_", " ").capitalize()
