"""The goal of an operating point; this module imports no numeric library."""

import math
from dataclasses import dataclass
from enum import StrEnum
from typing import Self

from cxr_model.errors import CalibrationError
from cxr_model.findings import LABELS

#: False calls per film without findings, unless the operator names another goal.
MAX_FALSE_CALLS = 0.5

#: Films without findings below which a budget of false calls shows little more than chance.
FEW_FILMS_WITHOUT_FINDINGS = 20


class Aim(StrEnum):
    """Rate that a goal bounds.

    MAX_FALSE_CALLS is the mean number of findings called on a film that has none of the labels.
    PPV and SENSITIVITY are pooled: calls and positives of all labels are counted together.
    SPECIFICITY is that of each label alone.
    """

    MAX_FALSE_CALLS = "max_false_calls"
    PPV = "ppv"
    SENSITIVITY = "sensitivity"
    SPECIFICITY = "specificity"


@dataclass(frozen=True, slots=True)
class Goal:
    """A bound on one rate: a highest one for false calls, a lowest one for the others."""

    aim: Aim = Aim.MAX_FALSE_CALLS
    value: float = MAX_FALSE_CALLS

    def __post_init__(self) -> None:
        """Raise CalibrationError if the value is no possible bound of the rate."""
        highest = len(LABELS) if self.aim is Aim.MAX_FALSE_CALLS else 1
        if not (math.isfinite(self.value) and 0 < self.value < highest):
            name = self.aim.replace("_", " ")
            raise CalibrationError(f"{name} must lie between 0 and {highest}, not {self.value:g}")

    @classmethod
    def of(
        cls,
        *,
        max_false_calls: float | None = None,
        ppv: float | None = None,
        sensitivity: float | None = None,
        specificity: float | None = None,
    ) -> Self:
        """Return the goal of the one value given; without a value the default goal.

        Raises CalibrationError for several values or an impossible one.
        """
        values = (max_false_calls, ppv, sensitivity, specificity)
        given = [(aim, value) for aim, value in zip(Aim, values, strict=True) if value is not None]
        if len(given) > 1:
            names = " and ".join(aim.replace("_", " ") for aim, _ in given)
            raise CalibrationError(f"thresholds have one goal, not {names}: give one of them")
        return cls(*given[0]) if given else cls()
