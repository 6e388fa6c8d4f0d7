import numpy as np

from cxr_model.data.augmentation import augment
from cxr_model.data.augmentation_settings import Augmentation

STILL = Augmentation(
    rotation=0, scale=0, shift=0, gamma=0, contrast=0, brightness=0, blur=0, noise=0, erase=0
)


def film_with_marker() -> np.ndarray:
    """A dark film with a bright marker at the upper left of the picture."""
    film = np.full((64, 64), 40, np.uint8)
    film[8:24, 8:20] = 250
    return film


def test_nothing_changes_when_nothing_may() -> None:
    film = film_with_marker()
    assert np.array_equal(augment(film, np.random.default_rng(0), STILL), film)


def test_the_seed_decides() -> None:
    film = film_with_marker()
    one, again, other = (
        augment(film, np.random.default_rng(seed), Augmentation()) for seed in (1, 1, 2)
    )
    assert np.array_equal(one, again)
    assert not np.array_equal(one, other)


def test_left_stays_left() -> None:
    film = film_with_marker()
    how = Augmentation(erase=0.0)
    for seed in range(50):
        changed = augment(film, np.random.default_rng(seed), how).astype(float)
        assert changed[:, :32].mean() > changed[:, 32:].mean()


def test_the_film_given_is_left_alone() -> None:
    film = film_with_marker()
    augment(film, np.random.default_rng(0), Augmentation(erase=1.0))
    assert np.array_equal(film, film_with_marker())
