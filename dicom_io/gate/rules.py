"""The demands that an operator makes on the films of one peer."""

from dataclasses import dataclass
from enum import StrEnum


class PictureRule(StrEnum):
    """The consequence if the picture itself is no frontal chest film."""

    REFUSE = "refuse"
    """The film is not analysed."""

    NOTE = "note"
    """The film is analysed, with a note."""

    OFF = "off"
    """The picture is not checked, and is analysed as the header describes it."""


@dataclass(frozen=True, slots=True)
class Rules:
    """The demands on one peer's films beyond the needs of the model.

    `minimum_age_years` does not refuse a patient of unknown age; the missing age is noted.
    """

    minimum_age_years: int | None = None
    require_body_part: bool = False
    require_view: bool = False
    accept_secondary_capture: bool = True
    picture_check: PictureRule = PictureRule.REFUSE


DEFAULT_RULES = Rules()
