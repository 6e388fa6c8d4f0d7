"""Draws the map of a finding over its film in red and yellow, with a legend below the film."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cache
from importlib.util import find_spec
from itertools import pairwise
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt
from PIL import Image, ImageDraw, ImageFont

from cxr_model.errors import ImageError
from cxr_model.predict.region import HOT_SHARE, hot_mask
from cxr_model.predict.transform import check_image

DISCLAIMER = "Research use only - not for diagnosis"

Grey = npt.NDArray[np.uint8]
Rgb = npt.NDArray[np.uint8]
Rgba = npt.NDArray[np.uint8]
Colour = tuple[int, int, int]

#: Share of the scale below which a map is transparent.
VISIBLE_SHARE = 0.5

# The hottest colour leaves more than half of the film's contrast.
_WEAK: Colour = (255, 225, 0)
_STRONG: Colour = (255, 0, 0)
_WEAK_OPACITY, _STRONG_OPACITY = 0.15, 0.40
_CONTOUR: Colour = (255, 225, 0)
_RIM: Colour = (40, 30, 0)
_CONTOUR_SHARE = 1 / 400

_PAPER: Colour = (24, 25, 28)
_TEXT: Colour = (240, 240, 240)
_FAINT: Colour = (180, 182, 188)
_AMBER: Colour = (255, 176, 0)
_BAR_GREY = 128

# Text size in pixels: a share of the film's width, and the smallest that is easy to read.
_TEXT_SHARE, _SMALLEST_TEXT = 0.017, 11
# A narrower film has no room for words: its picture has no legend.
_NARROWEST = 96


@dataclass(frozen=True, slots=True)
class Legend:
    """Words of the legend: the finding, its value, how far its location can be believed, the model.

    They must not contain patient data.
    """

    finding: str
    value: str
    location: str
    model: str


@dataclass(frozen=True, slots=True)
class _Line:
    """A line along the edges of a region: contours of OpenCV, a colour, a thickness in pixels."""

    edges: Sequence[Any]
    colour: Colour
    thickness: int


def render(
    image: Grey, contribution: npt.NDArray[np.float32], *, scale: float, legend: Legend
) -> Rgb:
    """Draw a finding's map in colour over its film, and a legend in a strip below the film.

    `image` is uint8 (rows, cols); `contribution` float32 (rows, cols) is the map in logit
    contributions on the same pixels; `scale` is the contribution of the hottest colour, the same
    for every film, so that a weak map looks weak. Returns uint8 RGB (rows + strip, cols, 3): the
    first rows are the pixels of the film, as `overlay` draws them. Raises ImageError if the two
    arrays do not fit or the scale is not positive.
    """
    drawn = overlay(image, contribution, scale)
    if image.shape[1] < _NARROWEST:
        return drawn
    peak = float(contribution.max())
    return np.concatenate([drawn, _strip(image.shape[1], legend, scale, peak)])


def overlay(image: Grey, contribution: npt.NDArray[np.float32], scale: float) -> Rgb:
    """Draw the map from yellow at half of the scale to red at the scale, and its region's edge.

    The film is unchanged where the map is below half of the scale, except under the edge, which
    runs along `region.hot_mask`. Returns uint8 RGB (rows, cols, 3). Raises ImageError as `render`.
    """
    _check(image, contribution, scale)
    drawn = _blend(image, _strength(contribution, scale))
    for line in _lines(contribution):
        cv2.drawContours(drawn, line.edges, -1, line.colour, line.thickness, cv2.LINE_AA)
    return drawn


def transparent_overlay(
    contribution: npt.NDArray[np.float32], scale: float, *, contour: bool = True
) -> Rgba:
    """Draw the overlay without its film, to be laid over the film by a browser.

    Returns uint8 RGBA (rows, cols, 4), not premultiplied: laid over the film it gives the pixels of
    `overlay` but for the rounding. Without `contour` the edge of the region is left out. Raises
    ImageError as `render`.
    """
    _check_map(contribution, scale)
    strength = _strength(contribution, scale)
    colours, opacities = _palette()
    table = np.column_stack([colours, 255.0 * opacities])
    drawn = np.asarray(np.rint(table), dtype=np.uint8)[strength]
    for line in _lines(contribution) if contour else ():
        mask = np.zeros(strength.shape, dtype=np.uint8)
        cv2.drawContours(mask, line.edges, -1, 255, line.thickness, cv2.LINE_AA)
        _lay_over(drawn, line.colour, mask)
    return drawn


@cache
def font(size: int, *, bold: bool = False) -> ImageFont.FreeTypeFont:
    """Return DejaVu Sans, which comes with matplotlib: the same on every machine."""
    name = "DejaVuSans-Bold.ttf" if bold else "DejaVuSans.ttf"
    # The package is found and not imported: its import takes 0.2 s and 30 MB.
    package = find_spec("matplotlib")
    if package is None or package.origin is None:
        raise ImageError("matplotlib, which brings the font, is not installed")
    folder = Path(package.origin).parent / "mpl-data" / "fonts" / "ttf"
    return ImageFont.truetype(folder / name, size)


def _check(image: Grey, contribution: npt.NDArray[np.float32], scale: float) -> None:
    check_image(image)
    if contribution.shape != image.shape:
        raise ImageError(f"a map of {contribution.shape} does not fit an image of {image.shape}")
    _check_map(contribution, scale)


def _check_map(contribution: npt.NDArray[np.float32], scale: float) -> None:
    if not np.isfinite(contribution).all():
        raise ImageError("the map has values that are not finite numbers")
    if not (np.isfinite(scale) and scale > 0):
        raise ImageError(f"the scale of a heatmap must be positive, not {scale}")


def _strength(contribution: npt.NDArray[np.float32], scale: float) -> Grey:
    """Return 0 where the map is not positive, up to 255 at `scale` and above."""
    # convertScaleAbs rounds and saturates.
    plane = np.ascontiguousarray(np.maximum(contribution, 0), dtype=np.float32)
    return np.asarray(cv2.convertScaleAbs(plane, alpha=255.0 / scale), dtype=np.uint8)


def _lines(contribution: npt.NDArray[np.float32]) -> tuple[_Line, ...]:
    """Return the edge of the region of `hot_mask`; none if the map is nowhere positive."""
    mask = hot_mask(contribution)
    if mask is None:
        return ()
    edges, _ = cv2.findContours(mask, cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_NONE)
    thickness = max(1, round(_CONTOUR_SHARE * max(contribution.shape)))
    line = _Line(edges, _CONTOUR, thickness)
    # A dark rim on both sides shows the line on bright bone, too.
    return (replace(line, colour=_RIM, thickness=thickness + 2), line) if thickness > 1 else (line,)


def _lay_over(drawn: Rgba, colour: Colour, mask: Grey) -> None:
    """Lay a colour over a transparent picture, opaque where `mask` is 255."""
    place = np.nonzero(mask)
    above = mask[place][:, None] / 255.0
    below = drawn[place][:, 3:] / 255.0 * (1.0 - above)
    opacity = above + below
    mixed = (np.asarray(colour) * above + drawn[place][:, :3] * below) / opacity
    drawn[place] = np.rint(np.concatenate([mixed, 255.0 * opacity], axis=1)).astype(np.uint8)


def _palette() -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]:
    """Return colour (256, 3) and opacity (256,) by strength."""
    share = np.arange(256) / 255.0
    heat = np.clip((share - VISIBLE_SHARE) / (1 - VISIBLE_SHARE), 0, 1)
    colour = np.asarray(_WEAK) * (1 - heat[:, None]) + np.asarray(_STRONG) * heat[:, None]
    opacity = _WEAK_OPACITY + (_STRONG_OPACITY - _WEAK_OPACITY) * heat
    return colour, np.where(share < VISIBLE_SHARE, 0.0, opacity)


def _blend(image: Grey, strength: Grey) -> Rgb:
    """Colour the box of the visible part; the rest of the film stays grey."""
    drawn = np.asarray(cv2.cvtColor(image, cv2.COLOR_GRAY2RGB), dtype=np.uint8)
    visible = (strength >= VISIBLE_SHARE * 255).view(np.uint8)
    left, top, width, height = cv2.boundingRect(visible)
    if width:
        box = np.s_[top : top + height, left : left + width]
        drawn[box] = _coloured(image[box], strength[box])
    return drawn


def _coloured(image: Grey, strength: Grey) -> Rgb:
    """Blend in 8 bits, one channel at a time, to save memory with films of 16 million pixels."""
    colour, opacity = _palette()
    kept = np.round(255.0 * (1.0 - opacity)).astype(np.uint8)
    film = cv2.multiply(image, cv2.LUT(strength, kept), scale=1.0 / 255.0)
    laid = np.round(opacity[:, None] * colour).astype(np.uint8)
    channels = [cv2.add(film, cv2.LUT(strength, laid[:, c].copy())) for c in range(3)]
    return np.asarray(cv2.merge(channels), dtype=np.uint8)


def _strip(width: int, legend: Legend, scale: float, peak: float) -> Rgb:
    """Return the legend as uint8 (rows, width, 3), as high as its words need."""
    size = max(_SMALLEST_TEXT, round(_TEXT_SHARE * width))
    margin, pitch = size // 2, round(1.4 * size)
    space = width - 2 * margin
    head, text = font(round(1.25 * size), bold=True), font(size)
    above = [(line, head, _TEXT) for line in _wrapped(legend.finding, head, space)]
    above += [(line, text, _TEXT) for line in _wrapped(legend.value, text, space)]
    below = [(line, text, _FAINT) for line in _wrapped(_scale_words(peak), text, space)]
    for words, colour in (
        (legend.location, _AMBER),
        (legend.model, _FAINT),
        (DISCLAIMER, _AMBER),
    ):
        below += [(line, text, colour) for line in _wrapped(words, text, space)]
    bar = round(2.5 * size)
    page = Image.new("RGB", (width, (len(above) + len(below)) * pitch + bar + 2 * margin), _PAPER)
    draw = ImageDraw.Draw(page)
    y = margin
    for line, face, colour in above:
        draw.text((margin, y + pitch / 2), line, colour, face, anchor="lm")
        y += pitch
    ramp = _bar(space, size, peak / scale)
    page.paste(Image.fromarray(ramp), (margin, y + size // 4))
    for share, anchor in ((0.0, "lt"), (0.5, "mt"), (1.0, "rt")):
        place = (margin + share * space, y + round(1.4 * size))
        draw.text(place, f"{share * scale:.2g}", _TEXT, text, anchor=anchor)
    y += bar
    for line, face, colour in below:
        draw.text((margin, y + pitch / 2), line, colour, face, anchor="lm")
        y += pitch
    return np.asarray(page, dtype=np.uint8)


def _bar(length: int, height: int, peak: float) -> Rgb:
    """Return the colours from 0 to the scale on mid grey, with a tick at the edge of the region."""
    strength = np.linspace(0, 255, length).round().astype(np.uint8)
    bar = _blend(np.full((height, length), _BAR_GREY, np.uint8), np.tile(strength, (height, 1)))
    at = round((length - 1) * HOT_SHARE * peak)
    if 0 < at < length:
        thick = max(1, height // 8)
        bar[:, max(0, at - thick) : at + 2 * thick] = _RIM
        bar[:, at : at + thick] = _CONTOUR
    return bar


def _scale_words(peak: float) -> str:
    if peak <= 0:
        return "contribution to the logit: nowhere above zero"
    return f"contribution to the logit; line: half of the peak of {peak:.2g}"


def _wrapped(words: str, face: ImageFont.FreeTypeFont, space: float) -> list[str]:
    """Return the words in lines that fit the space; a word that is too long is broken."""
    lines = [""]
    for word in words.split():
        longer = f"{lines[-1]} {word}".strip()
        if face.getlength(longer) <= space:
            lines[-1] = longer
            continue
        lines += _broken(word, face, space)
    return [line for line in lines if line]


def _broken(word: str, face: ImageFont.FreeTypeFont, space: float) -> list[str]:
    """Return a word in parts that fit the space."""
    ends = [0]
    for end in range(1, len(word) + 1):
        if face.getlength(word[ends[-1] : end]) > space:
            ends.append(end - 1)
    return [word[start:end] for start, end in pairwise([*ends, len(word)])]
