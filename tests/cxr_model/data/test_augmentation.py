"""Augmentation: random within its limits, reproducible, and never a mirror image."""

from dataclasses import fields, replace

import numpy as np

from cxr_model.data.augmentation import augment
from cxr_model.data.augmentation_settings import Augmentation

STILL = Augmentation(**{field.name: 0.0 for field in fields(Augmentation)})


def film_with_marker() -> np.ndarray:
    """Return a dark film with a bright marker at the upper left."""
    film = np.full((64, 64), 40, np.uint8)
    film[8:24, 8:20] = 250
    return film


def test_limits_of_zero_change_nothing() -> None:
    film = film_with_marker()
    assert np.array_equal(augment(film, np.random.default_rng(0), STILL), film)


def test_the_result_depends_on_the_seed() -> None:
    film = film_with_marker()
    first, again, other = (
        augment(film, np.random.default_rng(seed), Augmentation()) for seed in (1, 1, 2)
    )
    assert np.array_equal(first, again)
    assert not np.array_equal(first, other)


def test_left_stays_left() -> None:
    film = film_with_marker()
    ranges = Augmentation(erase=0.0)
    for seed in range(50):
        changed = augment(film, np.random.default_rng(seed), ranges).astype(float)
        assert changed[:, :32].mean() > changed[:, 32:].mean()


def test_the_original_film_is_not_changed() -> None:
    film = film_with_marker()
    augment(film, np.random.default_rng(0), Augmentation(erase=1.0))
    assert np.array_equal(film, film_with_marker())


def test_a_letterbox_narrows_the_film_without_moving_it() -> None:
    film = np.full((64, 64), 200, np.uint8)
    for seed in range(8):
        boxed = augment(film, np.random.default_rng(seed), replace(STILL, letterbox=1.0))
        rows, cols = boxed[:, 32] > 0, boxed[32] > 0
        assert sorted((int(rows.sum()), int(cols.sum())))[1] == 64
        assert min(rows.sum(), cols.sum()) >= 0.65 * 64
        assert rows[::-1].tolist() == rows.tolist()
        assert cols[::-1].tolist() == cols.tolist()


def test_a_rim_is_black_and_the_middle_stays() -> None:
    film = np.full((100, 100), 200, np.uint8)
    rimmed = augment(film, np.random.default_rng(3), replace(STILL, rim=1.0))
    assert (rimmed[9:-9, 9:-9] == 200).all()
    assert (rimmed == 0).any()
    assert set(np.unique(rimmed)) == {0, 200}


def test_a_narrow_window_keeps_order_and_reaches_black_and_white() -> None:
    film = np.tile(np.linspace(60, 180, 64, dtype=np.uint8), (64, 1))
    shown = augment(film, np.random.default_rng(0), replace(STILL, window=1.0))
    assert (shown.min(), shown.max()) == (0, 255)
    assert (np.diff(shown[0].astype(int)) >= 0).all()


def test_a_blank_film_stays_blank_in_a_narrow_window() -> None:
    film = np.full((64, 64), 90, np.uint8)
    changed = augment(film, np.random.default_rng(0), replace(STILL, window=1.0))
    assert np.array_equal(changed, film)
