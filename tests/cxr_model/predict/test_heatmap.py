"""Pictures of maps: colours on one scale, on the pixels of the film, a legend below them."""

from dataclasses import replace

import cv2
import numpy as np
import pytest

from cxr_model.errors import ImageError
from cxr_model.predict.heatmap import Legend, overlay, render
from cxr_model.predict.region import hot_mask

LEGEND = Legend(
    "Pleural thickening",
    "probability 0.620, threshold 0.310",
    "location not validated: not shown to be better than chance on 10 boxes",
    "cxrd-starter 0.1",
)


def draw(image: np.ndarray, contribution: np.ndarray, *, scale: float) -> np.ndarray:
    """Render with some text."""
    return render(image, contribution, scale=scale, legend=LEGEND)


def blob(rows: int, cols: int, peak: float) -> np.ndarray:
    """Return a map that is positive in the middle of the film only."""
    y, x = np.mgrid[:rows, :cols]
    distance = np.hypot(y / rows - 0.5, x / cols - 0.5)
    return np.asarray(peak * np.clip(1 - distance / 0.2, -0.2, None), dtype=np.float32)


def film(rows: int = 512, cols: int = 480, seed: int = 0) -> np.ndarray:
    """Return a dark frame around a grey centre with some noise."""
    pixels = np.random.default_rng(seed).integers(0, 20, (rows, cols), dtype=np.uint8)
    pixels[rows // 4 : -rows // 4, cols // 4 : -cols // 4] += 120
    return pixels


@pytest.mark.parametrize("shape", [(256, 256), (256, 400), (1024, 1024), (2500, 2048), (900, 300)])
def test_the_legend_is_below_the_pixels_of_the_film(shape: tuple[int, int]) -> None:
    image, contribution = film(*shape), blob(*shape, peak=3.0)
    rgb = draw(image, contribution, scale=3.0)
    assert rgb.shape[0] > shape[0] + 80
    assert rgb.shape[1:] == (shape[1], 3)
    assert rgb.dtype == np.uint8
    np.testing.assert_array_equal(rgb[: shape[0]], overlay(image, contribution, 3.0))


def test_the_film_is_untouched_below_half_of_the_scale_but_for_the_edge_of_the_region() -> None:
    image, contribution = film(), blob(512, 480, peak=3.0)
    rgb = draw(image, contribution, scale=3.0)[:512]
    changed = (rgb != image[..., None]).any(axis=2)
    mask = hot_mask(contribution)
    assert mask is not None
    near = cv2.dilate(mask, np.ones((9, 9), np.uint8)) - cv2.erode(mask, np.ones((9, 9), np.uint8))
    assert not changed[(contribution < 1.49) & (near == 0)].any()
    assert changed[contribution > 1.52].all()


@pytest.mark.parametrize("peak", [1.0, 3.0, 9.0])
def test_the_edge_of_the_region_is_drawn_where_the_segmentation_ends(peak: float) -> None:
    image, contribution = np.full((512, 480), 60, np.uint8), blob(512, 480, peak=peak)
    rgb = overlay(image, contribution, scale=3.0).astype(int)
    line = ((rgb[..., 0] > 180) & (rgb[..., 1] > 170) & (rgb[..., 2] < 90)).astype(np.uint8)
    mask = hot_mask(contribution)
    assert mask is not None
    inside = cv2.erode(mask, np.ones((3, 3), np.uint8))
    edge = cv2.dilate(mask - inside, np.ones((3, 3), np.uint8))
    assert line.any()
    assert not line[edge == 0].any()
    assert cv2.dilate(line, np.ones((5, 5), np.uint8))[(mask - inside) > 0].all()


def test_all_colours_lie_between_yellow_and_red_and_the_film_shows_through() -> None:
    image = np.tile(np.linspace(0, 255, 512).astype(np.uint8), (512, 1))
    contribution = np.tile(np.linspace(0, 2, 512, dtype=np.float32)[:, None], (1, 512))
    rgb = overlay(image, contribution, scale=2.0).astype(int)
    red, green, blue = rgb[..., 0], rgb[..., 1], rgb[..., 2]
    assert (blue <= green + 1).all()
    assert (green <= red + 1).all()
    spread = rgb.sum(axis=2)[:, 500] - rgb.sum(axis=2)[:, 20]
    untouched = 3 * (int(image[0, 500]) - int(image[0, 20]))
    assert (spread[[10, 300, 400, 500]] >= 0.55 * untouched).all()


def test_the_map_lands_on_the_pixels_it_belongs_to() -> None:
    image = np.full((600, 500), 90, dtype=np.uint8)
    contribution = np.zeros((600, 500), dtype=np.float32)
    contribution[400:440, 100:150] = 2.0
    image[450:] = 200
    rgb = draw(image, contribution, scale=2.0)[:600].astype(int)
    rows, cols = np.nonzero(np.ptp(rgb, axis=2) > 60)
    # The line at the edge lies on the last pixels of the region, and half of it beside them.
    extent = np.asarray([rows.min(), rows.max(), cols.min(), cols.max()])
    assert np.abs(extent - [400, 439, 100, 149]).max() <= 2


def test_a_weaker_map_looks_weaker_and_one_above_the_scale_saturates() -> None:
    image = np.full((512, 512), 100, dtype=np.uint8)
    patch, centre = (slice(230, 280),) * 2, (slice(240, 270),) * 2
    colours = []
    for peak in (1.4, 1.6, 2.0, 3.0, 9.0):
        contribution = np.zeros((512, 512), dtype=np.float32)
        contribution[patch] = peak
        rgb = draw(image, contribution, scale=3.0).astype(int)
        colours.append(np.abs(rgb[centre] - 100).max(axis=2).mean())
    assert colours[0] == 0
    assert colours[0] < colours[1] < colours[2] < colours[3] == colours[4]


def test_a_fully_hot_cell_still_shows_the_film_under_it() -> None:
    contribution = np.full((512, 512), 5.0, dtype=np.float32)
    image = np.tile(np.linspace(0, 255, 512).astype(np.uint8), (512, 1))
    rgb = draw(image, contribution, scale=1.0).astype(int)
    assert rgb[256, 400].sum() > rgb[256, 100].sum() + 100


def strip_of(width: int, legend: Legend = LEGEND, peak: float = 1.0) -> np.ndarray:
    image = np.zeros((100, width), dtype=np.uint8)
    contribution = np.full((100, width), peak, dtype=np.float32)
    return render(image, contribution, scale=1.0, legend=legend)[100:]


def inked_rows(strip: np.ndarray) -> list[int]:
    """Return the heights of the lines of the strip."""
    inked = (strip.max(axis=2) > 60).any(axis=1)
    ends = np.flatnonzero(np.diff(np.concatenate([[0], inked, [0]])))
    return [int(height) for height in ends[1::2] - ends[::2]]


@pytest.mark.parametrize("width", [96, 256, 1024, 3000])
def test_the_legends_text_is_large_enough_to_read_and_not_cut_off(width: int) -> None:
    strip = strip_of(width)
    ink = strip.max(axis=2) > 60
    margin = 3
    assert not ink[:margin].any()
    assert not ink[-margin:].any()
    assert not ink[:, :margin].any()
    assert not ink[:, -margin:].any()
    # The last line is the disclaimer, in letters of 8 pixels and more, and 1.2 % of the width.
    assert inked_rows(strip)[-1] >= max(8, 0.012 * width)


def test_more_words_make_a_higher_legend() -> None:
    long = replace(LEGEND, model="cxrd-model-with-a-name-that-never-ends " * 5 + "x" * 300)
    assert strip_of(256, long).shape[0] > strip_of(256).shape[0] + 100
    assert not (strip_of(256, long)[:, -3:].max(axis=2) > 60).any()


def test_a_map_that_does_not_rise_has_a_legend_without_a_line() -> None:
    flat, risen = strip_of(512, peak=0.0), strip_of(512)
    bright = [(strip[..., 1] > 200) & (strip[..., 2] < 50) for strip in (flat, risen)]
    assert not bright[0].any()
    assert bright[1].any()


@pytest.mark.parametrize(
    ("image", "contribution", "scale"),
    [
        (np.zeros((10, 10), np.uint16), np.zeros((10, 10), np.float32), 1.0),
        (np.zeros((10, 10, 3), np.uint8), np.zeros((10, 10), np.float32), 1.0),
        (np.zeros((10, 10), np.uint8), np.zeros((10, 11), np.float32), 1.0),
        (np.zeros((10, 10), np.uint8), np.full((10, 10), np.nan, np.float32), 1.0),
        (np.zeros((10, 10), np.uint8), np.zeros((10, 10), np.float32), 0.0),
        (np.zeros((10, 10), np.uint8), np.zeros((10, 10), np.float32), float("inf")),
    ],
)
def test_arrays_that_do_not_fit_are_refused(
    image: np.ndarray, contribution: np.ndarray, scale: float
) -> None:
    with pytest.raises(ImageError):
        draw(image, contribution, scale=scale)


def test_a_film_too_small_for_a_legend_is_drawn_without() -> None:
    image, contribution = np.zeros((8, 8), np.uint8), np.ones((8, 8), np.float32)
    rgb = draw(image, contribution, scale=1.0)
    np.testing.assert_array_equal(rgb, overlay(image, contribution, 1.0))
