"""Picture checks that see what a test tells them, and readers of films that use them."""

from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from cxr_model.check.appearance import Appearance, View
from cxr_model.predict.transform import InputSpec
from daemon.analyse.reader.film_reader import FilmReader

UPRIGHT = Appearance(
    view=View.FRONTAL,
    view_probability=0.99,
    turned=0,
    turned_certain=True,
    mirrored=False,
    mirrored_certain=True,
    inverted=False,
    inverted_certain=True,
)


def appearance(view: View = View.FRONTAL, turned: int = 0, **seen: bool) -> Appearance:
    """Return a certain appearance: upright, frontal, neither mirrored nor inverted by default."""
    return replace(UPRIGHT, view=view, turned=turned, **seen)


class FixedCheck:
    """Sees the same in every picture; counts the pictures."""

    def __init__(self, seen: Appearance = UPRIGHT) -> None:
        self.seen = seen
        self.pictures = 0

    def examine(self, image: NDArray[np.uint8]) -> Appearance:
        assert image.ndim == 2
        self.pictures += 1
        return self.seen


class KnowingCheck:
    """Knows the upright picture, and sees how a given picture differs from it."""

    def __init__(self, upright: NDArray[np.uint8], *, certain: bool = True) -> None:
        """Leave all flags of certainty False unless `certain`."""
        self._certain = certain
        self._upright = {
            (turned, inverted): np.rot90(255 - upright if inverted else upright, -turned // 90)
            for turned in (0, 90, 180, 270)
            for inverted in (False, True)
        }

    def examine(self, image: NDArray[np.uint8]) -> Appearance:
        fitting = {
            change: float(np.abs(image.astype(float) - picture).mean())
            for change, picture in self._upright.items()
            if picture.shape == image.shape
        }
        turned, inverted = min(fitting, key=lambda change: fitting[change])
        return appearance(
            turned=turned,
            turned_certain=self._certain,
            inverted=inverted,
            inverted_certain=self._certain,
        )


PLAIN = FilmReader(FixedCheck(), InputSpec(64))
"""Takes every picture for an upright frontal chest film."""


class ReadsHere(FilmReader):
    """Reads in this process, so that a test may change its picture check."""

    def warm_up(self) -> None:
        """No process has to start."""
