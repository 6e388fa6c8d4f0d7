"""A description serves the 16 ways of showing a picture."""

import numpy as np
import pytest
from numpy.typing import NDArray

from cxr_model.check.description import LENGTH, SIDE, copies, put_right, standard
from cxr_model.check.description import describe as describe_standard
from cxr_model.errors import ImageError
from tests.builders.pictures import film_picture


def describe(picture: NDArray[np.uint8]) -> NDArray[np.float32]:
    return describe_standard(standard(picture))


@pytest.mark.parametrize("way", range(16))
def test_each_copy_undoes_its_change(way: int) -> None:
    upright = film_picture(rows=SIDE, columns=SIDE)
    shown = upright[:, ::-1] if way // 4 % 2 else upright
    shown = np.rot90(shown, -(way % 4))
    shown = 255 - shown if way // 8 else shown
    ways = copies(describe(np.ascontiguousarray(shown)))
    assert ways.shape == (16, LENGTH)
    assert np.abs(ways - describe(upright)).mean(axis=1).argmin() == way
    np.testing.assert_allclose(ways[way], describe(upright), atol=1e-3)


def test_a_uniform_rim_changes_nothing() -> None:
    picture = np.ascontiguousarray(film_picture()[40:210, 30:194])
    rimmed = np.pad(picture, ((20, 9), (30, 0)))
    difference = np.abs(describe(rimmed) - describe(picture)).mean()
    assert difference < 0.01 * np.abs(describe(np.fliplr(picture)) - describe(picture)).mean()


@pytest.mark.parametrize("quarters", range(4))
@pytest.mark.parametrize("inverted", [False, True])
def test_a_turned_or_inverted_picture_is_put_right(quarters: int, inverted: bool) -> None:
    upright = film_picture(rows=SIDE, columns=SIDE)
    shown = np.ascontiguousarray(np.rot90(upright, -quarters))
    grey = standard(255 - shown if inverted else shown)
    np.testing.assert_allclose(put_right(grey, quarters, inverted), standard(upright), atol=1e-6)


@pytest.mark.parametrize("shape", [(1, 1), (1, 500), (3000, 2), (40, 60)])
def test_any_size_has_a_finite_description(shape: tuple[int, int]) -> None:
    picture = np.random.default_rng(0).integers(0, 256, shape).astype(np.uint8)
    assert np.isfinite(describe(picture)).all()


@pytest.mark.parametrize("shape", [(0, 5), (5,), (5, 5, 3)])
def test_other_arrays_are_refused(shape: tuple[int, ...]) -> None:
    with pytest.raises(ImageError, match="rows, cols"):
        describe(np.zeros(shape, dtype=np.uint8))
