"""The hottest region of a map and its outline."""

import cv2
import numpy as np
import numpy.typing as npt
import pytest

from cxr_model.predict.region import hot_mask, hot_region


def blob(rows: int, cols: int, row: int, col: int, width: float) -> npt.NDArray[np.float32]:
    y, x = np.mgrid[:rows, :cols]
    heat = np.exp(-((y - row) ** 2 + (x - col) ** 2) / (2 * width**2))
    return np.asarray(heat, dtype=np.float32)


def test_the_outline_covers_the_half_maximum() -> None:
    heat = 3 * blob(400, 300, 120, 200, 30.0)
    region = hot_region(heat)
    assert region is not None
    # The half maximum of a Gaussian is a circle of radius 1.1774 standard deviations.
    assert region.area == pytest.approx(np.pi * (1.1774 * 30) ** 2, rel=0.02)
    drawn = np.zeros(heat.shape, dtype=np.uint8)
    corners = np.asarray([(x - 0.5, y - 0.5) for x, y in region.points], dtype=np.int32)
    cv2.fillPoly(drawn, [corners], (1,))
    hot = heat >= 1.5
    assert (drawn & hot).sum() / (drawn | hot).sum() > 0.95
    assert len(region.points) < 60


def test_only_the_part_around_the_maximum_counts() -> None:
    heat = blob(200, 200, 50, 50, 10.0) + 0.9 * blob(200, 200, 150, 150, 10.0)
    region = hot_region(heat)
    assert region is not None
    assert max(max(point) for point in region.points) < 100


@pytest.mark.parametrize("value", [0.0, -1.0, np.nan])
def test_a_map_that_does_not_rise_has_no_region(value: float) -> None:
    assert hot_region(np.full((20, 20), value, dtype=np.float32)) is None


@pytest.mark.parametrize("place", [(0, 0), (19, 29), (7, 0)])
def test_a_single_pixel_has_a_region_with_an_area(place: tuple[int, int]) -> None:
    heat = np.zeros((20, 30), dtype=np.float32)
    heat[place] = 1.0
    region = hot_region(heat)
    assert region is not None
    assert region.area == 1.0
    xs, ys = zip(*region.points, strict=True)
    assert (max(xs) - min(xs), max(ys) - min(ys)) == (1.0, 1.0)
    assert all(0 <= x <= 30 for x in xs)
    assert all(0 <= y <= 20 for y in ys)


def test_the_mask_has_the_pixels_inside_the_outline() -> None:
    heat = blob(200, 200, 50, 50, 10.0) + 0.9 * blob(200, 200, 150, 150, 10.0)
    mask, region = hot_mask(heat), hot_region(heat)
    assert mask is not None
    assert region is not None
    assert mask.dtype == np.uint8
    np.testing.assert_array_equal(mask[:100, :100], heat[:100, :100] >= 0.5 * heat.max())
    assert mask.sum() == mask[:100, :100].sum() == region.area


def test_a_map_that_does_not_rise_has_no_mask() -> None:
    assert hot_mask(np.zeros((20, 20), dtype=np.float32)) is None


def on_the_whole_map(heat: npt.NDArray[np.float32]) -> npt.NDArray[np.uint8]:
    """The region as it is defined: connected to the maximum among all pixels."""
    _, parts = cv2.connectedComponents((heat >= 0.5 * heat.max()).astype(np.uint8), connectivity=4)
    return np.asarray(parts == parts.flat[int(heat.argmax())], dtype=np.uint8)


def test_a_region_is_the_same_as_on_the_whole_map() -> None:
    random = np.random.default_rng(3)
    for _ in range(150):
        rows, cols = random.integers(20, 160, 2)
        cells = random.normal(size=random.integers(2, 8, 2)).astype(np.float32)
        smooth = cv2.resize(cells, (int(cols), int(rows)), interpolation=cv2.INTER_CUBIC)
        heat = np.asarray(smooth, dtype=np.float32)
        heat[: random.integers(1, 9)] = 0
        mask, region = hot_mask(heat), hot_region(heat)
        assert mask is not None
        assert region is not None
        whole = on_the_whole_map(heat)
        np.testing.assert_array_equal(mask, whole)
        ((edge,), _) = cv2.findContours(whole, cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_NONE)
        corners = cv2.approxPolyDP(edge, 0.004 * max(heat.shape), closed=True)
        if len(corners) >= 3:
            assert region.points == tuple((x + 0.5, y + 0.5) for x, y in corners[:, 0].tolist())
