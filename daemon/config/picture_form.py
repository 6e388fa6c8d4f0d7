"""The form of the results that a destination receives: size and loss of pictures, comparison."""

from dataclasses import dataclass

DEFAULT_MAX_SIDE = 1536
"""Most pixels on the longer side of the film in a picture, if a destination sets no number."""

SMALLEST_MAX_SIDE, LARGEST_MAX_SIDE = 512, 16384
"""Bounds of `picture_max_side`: a smaller picture has no room for its legend."""

_PRIORS = "priors"


@dataclass(frozen=True, slots=True)
class PictureForm:
    """The size of pictures in pixels, and True if they are lossy copies.

    `max_side` limits the longer side of the film in a picture; None is the size of the film. A
    smaller film is not enlarged. `has_priors` is True for a report that names the AI reports on
    earlier studies; it says nothing of pictures.
    """

    max_side: int | None = DEFAULT_MAX_SIDE
    is_lossy: bool = False
    has_priors: bool = False

    @property
    def size(self) -> str:
        """The name of the size: empty for the default, `full`, or the number of pixels."""
        if self.max_side is None:
            return "full"
        return "" if self.max_side == DEFAULT_MAX_SIDE else str(self.max_side)

    @property
    def name(self) -> str:
        """The name of the form; empty for the default."""
        return " ".join(
            filter(None, (self.size, "jpeg" * self.is_lossy, "priors" * self.has_priors))
        )


DEFAULT_FORM = PictureForm()
"""Lossless pictures of the default size, which are made of every film."""


def names_priors(form: str) -> bool:
    """Return True if reports of the form with this name name those on earlier studies."""
    return _PRIORS in form.split()
