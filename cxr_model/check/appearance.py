"""Result of the picture check."""

from dataclasses import dataclass
from enum import StrEnum


class View(StrEnum):
    """Subject of a picture."""

    FRONTAL = "frontal"
    LATERAL = "lateral"
    OTHER = "other"


@dataclass(frozen=True, slots=True)
class Appearance:
    """Subject of a picture, and the way it is shown.

    `turned` is 0, 90, 180 or 270: the degrees clockwise by which the picture is turned away from
    upright. `mirrored` means left and right are exchanged, `inverted` that bone is dark and air is
    bright. A `…_certain` flag is set where the picture alone decides, without the header.
    """

    view: View
    view_probability: float
    turned: int
    turned_certain: bool
    mirrored: bool
    mirrored_certain: bool
    inverted: bool
    inverted_certain: bool
