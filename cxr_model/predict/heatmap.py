"""Draws the map of a finding over its film, with a legend."""

from dataclasses import dataclass
from typing import NamedTuple

import cv2
import numpy as np
import numpy.typing as npt

from cxr_model.errors import ImageError
from cxr_model.predict.transform import check_image

DISCLAIMER = "Research use only - not for diagnosis"

Grey = npt.NDArray[np.uint8]
Rgb = npt.NDArray[np.uint8]

# Even the hottest colour leaves a third of the film visible.
_OPACITY = 0.65
_FONT = cv2.FONT_HERSHEY_SIMPLEX

# Height in pixels of a capital letter of that font at scale 1.
_CAPITAL = 21.0
_SMALLEST_CAPITAL = 7.0
_CAPITAL_PER_SIDE = 0.015


class Legend(NamedTuple):
    """Content of the legend."""

    label: str
    probability: float
    threshold: float
    scale: float
    model_name: str

    def lines(self) -> tuple[str, str, str, str]:
        """Return finding, numbers, model and disclaimer, a line each, in ASCII (the font's set)."""
        name = self.label.replace("_", " ")
        numbers = f"probability {self.probability:.3f} (threshold {self.threshold:.3f})"
        model = self.model_name.encode("ascii", "replace").decode()
        return name, numbers, model, DISCLAIMER


@dataclass(frozen=True, slots=True)
class Panel:
    """The box of the legend, in pixels, and the size of its text."""

    top: int
    left: int
    height: int
    width: int
    font_scale: float
    pitch: int

    @property
    def rows(self) -> slice:
        """Image rows of the box."""
        return slice(self.top, self.top + self.height)

    @property
    def cols(self) -> slice:
        """Image columns of the box."""
        return slice(self.left, self.left + self.width)


def render(
    image: Grey,
    contribution: npt.NDArray[np.float32],
    *,
    scale: float,
    label: str,
    probability: float,
    threshold: float,
    model_name: str,
) -> Rgb:
    """Draw a finding's map in colour over its film and return uint8 RGB of the film's size.

    `image` is uint8 (rows, cols); `contribution` float32 (rows, cols) is the map in logit
    contributions on the same pixels; `scale` is the contribution of the hottest colour, the same
    for every film, so that a weak map looks weak. The film is unchanged where the map is zero or
    negative. The legend covers the emptiest corner. Raises ImageError if the two arrays do not
    fit or the scale is not positive.
    """
    _check(image, contribution, scale)
    strength = _strength(contribution, scale)
    rgb = _overlay(image, strength)
    legend = Legend(label, probability, threshold, scale, model_name)
    panel = _place(legend, image, strength)
    if panel is not None:
        _draw_legend(rgb, panel, legend, float(contribution.max()))
    return rgb


def overlay(image: Grey, contribution: npt.NDArray[np.float32], scale: float) -> Rgb:
    """Draw as `render` does, without a legend."""
    _check(image, contribution, scale)
    return _overlay(image, _strength(contribution, scale))


def _check(image: Grey, contribution: npt.NDArray[np.float32], scale: float) -> None:
    check_image(image)
    if contribution.shape != image.shape:
        raise ImageError(f"a map of {contribution.shape} does not fit an image of {image.shape}")
    if not np.isfinite(contribution).all():
        raise ImageError("the map has values that are not finite numbers")
    if not (np.isfinite(scale) and scale > 0):
        raise ImageError(f"the scale of a heatmap must be positive, not {scale}")


def _strength(contribution: npt.NDArray[np.float32], scale: float) -> Grey:
    """Return 0 where the map is not positive, up to 255 at `scale` and above."""
    # convertScaleAbs rounds and saturates.
    plane = np.ascontiguousarray(np.maximum(contribution, 0), dtype=np.float32)
    return np.asarray(cv2.convertScaleAbs(plane, alpha=255.0 / scale), dtype=np.uint8)


def _palette() -> npt.NDArray[np.uint8]:
    """Return RGB (256, 3) from weak to strong."""
    # Turbo without its dark violet end, which looks like a shadow on the film.
    ramp = np.linspace(28, 255, 256).round().astype(np.uint8)[:, None]
    return np.asarray(cv2.applyColorMap(ramp, cv2.COLORMAP_TURBO)[:, 0, ::-1], dtype=np.uint8)


def _opacity() -> npt.NDArray[np.float64]:
    """Return the opacity of the colour over the film, (256,); 0 at 0."""
    return _OPACITY * (np.arange(256) / 255.0) ** 0.7


def _overlay(image: Grey, strength: Grey) -> Rgb:
    """Blend in 8 bits, one channel at a time, to save memory with films of 16 million pixels."""
    colour, opacity = _palette(), _opacity()
    kept = np.round(255.0 * (1.0 - opacity)).astype(np.uint8)
    film = cv2.multiply(image, cv2.LUT(strength, kept), scale=1.0 / 255.0)
    laid = np.round(opacity[:, None] * colour).astype(np.uint8)
    channels = [cv2.add(film, cv2.LUT(strength, laid[:, c].copy())) for c in range(3)]
    return np.asarray(cv2.merge(channels), dtype=np.uint8)


def _place(legend: Legend, image: Grey, strength: Grey) -> Panel | None:
    """Return the corner where the legend hides the least, or None if the film is too small."""
    rows, cols = image.shape
    capital = max(_SMALLEST_CAPITAL, _CAPITAL_PER_SIDE * min(rows, cols))
    width, height, scale, pitch = _measure(legend, capital)
    if width > cols:
        # A narrow film gets smaller text.
        width, height, scale, pitch = _measure(legend, capital * cols / width * 0.98)
    if width > cols or height > rows:
        return None
    corners = [(top, left) for top in (rows - height, 0) for left in (0, cols - width)]
    panels = [Panel(top, left, height, width, scale, pitch) for top, left in corners]
    return min(panels, key=lambda panel: _hidden(panel, image, strength))


def _measure(legend: Legend, capital: float) -> tuple[int, int, float, int]:
    """Return width, height, font scale and line pitch for capitals of `capital` pixels."""
    scale = capital / _CAPITAL
    pitch = max(3, round(capital * 1.75))
    widest = max(_text_width(line, scale) for line in (*legend.lines(), _bar_caption(legend)))
    return widest + 2 * pitch // 2 + 1, 5 * pitch + pitch + pitch // 2, scale, pitch


def _hidden(panel: Panel, image: Grey, strength: Grey) -> float:
    """Return a cost for covering map (highest weight), side markers and anatomy."""
    heat = float(strength[panel.rows, panel.cols].mean())
    film = image[panel.rows, panel.cols]
    # A side marker is small and brighter than its surroundings: it exceeds a median filter.
    shrunk = cv2.resize(film, (96, 48), interpolation=cv2.INTER_AREA)
    marker = np.percentile(cv2.subtract(shrunk, cv2.medianBlur(shrunk, 15)), 99)
    return 4.0 * heat + float(film.mean()) + 2.0 * float(marker)


def _draw_legend(rgb: Rgb, panel: Panel, legend: Legend, peak: float) -> None:
    box = rgb[panel.rows, panel.cols]
    box //= 4
    name, numbers, model, disclaimer = legend.lines()
    for line, text in enumerate((name, numbers)):
        _text(rgb, panel, line, text)
    _draw_bar(box, panel, peak / legend.scale)
    for line, text in enumerate((_bar_caption(legend), model, disclaimer), start=3):
        _text(rgb, panel, line, text)


def _draw_bar(box: Rgb, panel: Panel, peak: float) -> None:
    """Draw the colours from 0 to the scale on mid grey, and a tick at the map's peak."""
    margin = panel.pitch // 2
    top, bottom = int(2.4 * panel.pitch), int(3.1 * panel.pitch)
    length = panel.width - 2 * margin
    ramp = np.tile(np.linspace(0, 255, length).round().astype(np.uint8), (bottom - top, 1))
    box[top:bottom, margin : margin + length] = _overlay(np.full_like(ramp, 128), ramp)
    at = margin + round((length - 1) * min(max(peak, 0.0), 1.0))
    thickness = max(1, panel.pitch // 10)
    reach = max(1, panel.pitch // 6)
    cv2.line(box, (at, top - reach), (at, bottom + reach - 1), (255, 255, 255), thickness)


def _bar_caption(legend: Legend) -> str:
    return f"0 to {legend.scale:.3g} logit contribution (| peak)"


def _text(rgb: Rgb, panel: Panel, line: int, text: str) -> None:
    baseline = panel.top + round((line + 1.1) * panel.pitch)
    origin = (panel.left + panel.pitch // 2, baseline)
    thickness = max(1, round(panel.font_scale * 1.6))
    white = (255, 255, 255)
    cv2.putText(rgb, text, origin, _FONT, panel.font_scale, white, thickness, cv2.LINE_AA)


def _text_width(text: str, scale: float) -> int:
    (width, _), _ = cv2.getTextSize(text, _FONT, scale, max(1, round(scale * 1.6)))
    return int(width)
