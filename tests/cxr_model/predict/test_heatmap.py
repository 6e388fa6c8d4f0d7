"""Pictures of maps: colours on one scale, on the pixels of the film, with a legend."""

import cv2
import numpy as np
import pytest

from cxr_model.errors import ImageError
from cxr_model.predict.heatmap import overlay, render


def draw(image: np.ndarray, contribution: np.ndarray, *, scale: float) -> np.ndarray:
    """Render with some text."""
    return render(
        image,
        contribution,
        scale=scale,
        label="Pleural_Thickening",
        probability=0.62,
        threshold=0.31,
        model_name="cxrd-starter 0.1",
    )


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
def test_a_picture_has_the_films_own_pixels(shape: tuple[int, int]) -> None:
    rgb = draw(film(*shape), blob(*shape, peak=3.0), scale=3.0)
    assert rgb.shape == (*shape, 3)
    assert rgb.dtype == np.uint8


def test_the_film_is_untouched_where_the_map_is_not_positive() -> None:
    image, contribution = film(), blob(512, 480, peak=3.0)
    rgb = draw(image, contribution, scale=3.0)
    changed = (rgb != image[..., None]).any(axis=2)
    outside = changed & (contribution <= 0)
    rows, cols = np.nonzero(outside)
    # The legend, one box in one corner, is the only difference.
    assert np.ptp(rows) < 0.25 * 512
    assert np.ptp(cols) < 0.8 * 480
    assert (changed & (contribution > 0)).sum() > 0.95 * (contribution > 0.05).sum()


def test_the_map_lands_on_the_pixels_it_belongs_to() -> None:
    image = np.full((600, 500), 90, dtype=np.uint8)
    contribution = np.zeros((600, 500), dtype=np.float32)
    contribution[400:440, 100:150] = 2.0
    image[450:] = 200
    rgb = draw(image, contribution, scale=2.0).astype(int)
    coloured = np.ptp(rgb, axis=2) > 60
    coloured[:300] = False
    rows, cols = np.nonzero(coloured)
    assert (rows.min(), rows.max(), cols.min(), cols.max()) == (400, 439, 100, 149)


def test_a_weaker_map_looks_weaker_and_one_above_the_scale_saturates() -> None:
    image = np.full((512, 512), 100, dtype=np.uint8)
    centre = (slice(230, 280), slice(230, 280))
    colours = []
    for peak in (0.3, 1.0, 3.0, 9.0):
        contribution = np.zeros((512, 512), dtype=np.float32)
        contribution[centre] = peak
        rgb = draw(image, contribution, scale=3.0).astype(int)
        colours.append(np.abs(rgb[centre] - 100).max(axis=2).mean())
    assert colours[0] < colours[1] < colours[2] == colours[3]


def test_a_fully_hot_cell_still_shows_the_film_under_it() -> None:
    contribution = np.full((512, 512), 5.0, dtype=np.float32)
    image = np.tile(np.linspace(0, 255, 512).astype(np.uint8), (512, 1))
    rgb = draw(image, contribution, scale=1.0).astype(int)
    assert rgb[256, 400].sum() > rgb[256, 100].sum() + 100


@pytest.mark.parametrize("corner", [(0, 0), (0, 1), (1, 0), (1, 1)])
def test_the_legend_goes_to_the_corner_that_shows_least(corner: tuple[int, int]) -> None:
    image = np.full((600, 600), 150, dtype=np.uint8)
    image[corner[0] * 300 :, corner[1] * 300 :][:300, :300] = 0
    rgb = draw(image, np.zeros((600, 600), dtype=np.float32), scale=1.0)
    rows, cols = np.nonzero((rgb != image[..., None]).any(axis=2))
    assert (rows.mean() > 300, cols.mean() > 300) == (bool(corner[0]), bool(corner[1]))


def test_the_legend_avoids_map_and_side_marker() -> None:
    image = np.full((600, 600), 60, dtype=np.uint8)
    cv2.putText(image, "L", (540, 60), cv2.FONT_HERSHEY_SIMPLEX, 2.0, 255, 5)
    image[:300, :300] = 90
    contribution = np.zeros((600, 600), dtype=np.float32)
    contribution[400:] = 1.0
    rgb = draw(image, contribution, scale=1.0)
    changed = (rgb != image[..., None]).any(axis=2)
    assert changed[:300, :300].any()
    assert not changed[:300, 400:].any()


@pytest.mark.parametrize("side", [256, 1024, 4000])
def test_the_legends_text_is_large_enough_to_read(side: int) -> None:
    image = np.zeros((side, side), dtype=np.uint8)
    rgb = draw(image, np.zeros((side, side), dtype=np.float32), scale=1.0)
    white = (rgb.min(axis=2) > 200).astype(np.uint8)
    # The last line holds the disclaimer; its letters are at least 7 pixels and 1 % of the film.
    lines = np.flatnonzero(np.diff(np.concatenate([[0], white.any(axis=1), [0]])))
    heights = lines[1::2] - lines[::2]
    assert heights[-1] >= max(7, side // 100)
    assert white.any(axis=0).sum() < side


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
    rgb = draw(np.zeros((8, 8), np.uint8), np.ones((8, 8), np.float32), scale=1.0)
    assert (rgb == rgb[0, 0]).all()


def test_an_overlay_is_the_picture_without_its_legend() -> None:
    image, contribution = film(), blob(512, 480, peak=3.0)
    plain, rendered = overlay(image, contribution, 3.0), draw(image, contribution, scale=3.0)
    rows, cols = np.nonzero((plain != rendered).any(axis=2))
    legend = (slice(rows.min(), rows.max() + 1), slice(cols.min(), cols.max() + 1))
    assert (rendered[legend] != plain[legend]).any()
    rendered[legend] = plain[legend]
    np.testing.assert_array_equal(plain, rendered)
    with pytest.raises(ImageError):
        overlay(image, contribution[1:], 3.0)
