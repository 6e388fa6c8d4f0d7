"""Images to network input, and maps back to the pixels of the image."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cxr_model.errors import ImageError
from cxr_model.predict.transform import (
    NO_MARGINS,
    Geometry,
    InputSpec,
    Margins,
    black_margins,
    network_input,
    normalise,
)

SIDES = st.integers(1, 700)


@given(rows=SIDES, cols=SIDES, size=st.sampled_from([32, 64, 224]))
def test_geometry_keeps_the_aspect_and_stays_inside(rows: int, cols: int, size: int) -> None:
    geometry = Geometry.fit(rows, cols, size)
    assert max(geometry.height, geometry.width) == size
    assert geometry.top >= 0
    assert geometry.left >= 0
    assert geometry.top + geometry.height <= size
    assert geometry.left + geometry.width <= size
    assert abs(geometry.height * cols - geometry.width * rows) <= max(rows, cols)


@settings(max_examples=25, deadline=None)
@given(rows=st.integers(64, 400), cols=st.integers(64, 400), cell=st.integers(0, 48))
def test_a_hot_cell_lands_where_it_was_seen(rows: int, cols: int, cell: int) -> None:
    geometry = Geometry.fit(rows, cols, 224)
    y, x = divmod(cell, 7)
    x_original = (x * 32 + 16 - geometry.left) * cols / geometry.width
    y_original = (y * 32 + 16 - geometry.top) * rows / geometry.height
    if not (0 <= x_original < cols and 0 <= y_original < rows):
        return
    grid = np.zeros((7, 7), np.float32)
    grid[y, x] = 1
    full = geometry.to_original(grid)
    assert full.shape == (rows, cols)
    at = np.argwhere(full > 0.8 * full.max()).mean(axis=0)
    tolerance = 12 * max(rows, cols) / 224
    assert np.abs(at - (y_original, x_original)).max() <= tolerance


def test_an_image_survives_the_way_to_the_input_and_back() -> None:
    rows, cols = 300, 180
    y, x = np.mgrid[:rows, :cols]
    image = (x / cols * 100 + y / rows * 100).astype(np.uint8)
    geometry = Geometry.fit(rows, cols, 224)
    back = geometry.to_original(geometry.to_input(image).astype(np.float32))
    assert np.abs(back - image)[4:-4, 4:-4].max() < 3


def test_black_margins_are_cut_off_and_come_back() -> None:
    spec = InputSpec(64, trim=True)
    film = np.random.default_rng(0).integers(40, 250, (90, 60), dtype=np.uint8)
    boxed = np.zeros((150, 80), np.uint8)
    boxed[20:110, 5:65] = film
    boxed += np.random.default_rng(1).integers(0, 6, boxed.shape, dtype=np.uint8)
    boxed[20:110, 5:65] = film
    plain, place = network_input(film, spec)
    found, in_box = network_input(boxed, spec)
    np.testing.assert_array_equal(plain, found)
    grid = np.random.default_rng(2).random((2, 2), dtype=np.float32) + 0.1
    back = in_box.to_original(grid)
    assert back.shape == boxed.shape
    np.testing.assert_array_equal(back[20:110, 5:65], place.to_original(grid))
    back[20:110, 5:65] = 0
    assert not back.any()


def test_margins_stay_without_trim() -> None:
    boxed = np.zeros((90, 60), np.uint8)
    boxed[20:70, 5:55] = 200
    _, geometry = network_input(boxed, InputSpec(64))
    assert geometry == Geometry.fit(90, 60, 64)


@pytest.mark.parametrize(
    ("mark", "kept"),
    [((slice(0, 4), slice(10, 14)), (0, 70)), ((slice(10, 60), slice(58, 60)), (10, 70))],
)
def test_a_marker_in_a_margin_is_kept(mark: tuple[slice, slice], kept: tuple[int, int]) -> None:
    image = np.zeros((90, 60), np.uint8)
    image[20:70, 5:55] = 200
    image[mark] = 255
    rows, _ = black_margins(image).inside(90, 60)
    assert (rows.start, rows.stop) == kept


@pytest.mark.parametrize("bright", [0, 20])
def test_a_nearly_black_picture_is_not_trimmed(bright: int) -> None:
    image = np.zeros((90, 90), np.uint8)
    image[40 : 40 + bright, 40 : 40 + bright] = 255
    assert black_margins(image) == NO_MARGINS


@given(shares=st.tuples(*[st.floats(0, 0.6)] * 4), rows=st.integers(1, 90), cols=st.integers(1, 90))
def test_margins_leave_something(
    shares: tuple[float, float, float, float], rows: int, cols: int
) -> None:
    geometry = Geometry.fit(rows, cols, 32, Margins(*shares))
    square = geometry.to_input(np.full((rows, cols), 255, np.uint8))
    assert square.any()
    assert geometry.to_original(np.ones((2, 2), np.float32)).shape == (rows, cols)


def test_a_flat_map_stays_flat() -> None:
    full = Geometry.fit(90, 200, 64).to_original(np.full((2, 2), 0.7, np.float32))
    np.testing.assert_allclose(full, 0.7, rtol=1e-6)


def test_the_rest_of_the_square_is_black() -> None:
    square = Geometry.fit(100, 50, 64).to_input(np.full((100, 50), 255, np.uint8))
    assert (square[:, 16:48] == 255).all()
    assert square[:, :16].max() == square[:, 48:].max() == 0


def test_normalise_scales_every_channel() -> None:
    image = np.full((40, 40), 51, np.uint8)
    spec = InputSpec(32, (0.5, 0.2, 0.1), (0.5, 1.0, 0.1))
    channels = normalise(network_input(image, spec).square, spec)
    assert channels.dtype == np.float32
    assert channels.shape == (3, 32, 32)
    np.testing.assert_allclose(channels[:, 5, 5], [-0.6, 0.0, 1.0], atol=1e-6)


def test_one_channel_in_hounsfield_like_units() -> None:
    image = np.array([[0, 255]] * 2, np.uint8).repeat(16, axis=0).repeat(16, axis=1)
    spec = InputSpec(32, (0.5,), (0.5 / 1024,))
    channels = normalise(network_input(image, spec).square, spec)
    assert channels.shape == (1, 32, 32)
    assert channels.min() == -1024
    assert channels.max() == 1024


@pytest.mark.parametrize(
    "image",
    [np.zeros((4, 4), np.float32), np.zeros((4, 4, 3), np.uint8), np.zeros((0, 4), np.uint8)],
)
def test_an_array_that_is_not_a_grey_image_is_refused(image: np.ndarray) -> None:
    with pytest.raises(ImageError, match="greyscale uint8"):
        network_input(image, InputSpec(32))


def test_a_map_of_three_dimensions_is_refused() -> None:
    with pytest.raises(ImageError, match="two dimensions"):
        Geometry.fit(10, 10, 32).to_original(np.zeros((14, 2, 2), np.float32))


@pytest.mark.parametrize(
    ("size", "mean", "std"),
    [(31, (0.5,), (0.5,)), (64, (0.5, 0.5), (0.5, 0.5)), (64, (0.5,), (0.0,))],
)
def test_impossible_input_specs_are_refused(
    size: int, mean: tuple[float, ...], std: tuple[float, ...]
) -> None:
    with pytest.raises(ValueError, match=r"input size|mean and std|positive"):
        InputSpec(size, mean, std)
