"""Augmentation: random within its limits, reproducible, and never a mirror image."""

import numpy as np

from cxr_model.data.augmentation import augment
from cxr_model.data.augmentation_settings import Augmentation

STILL = Augmentation(
    rotation=0, scale=0, shift=0, gamma=0, contrast=0, brightness=0, blur=0, noise=0, erase=0
)


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
