"""The section `statistics` of the configuration."""

from datetime import date
from typing import Self

from pydantic import Field, model_validator

from daemon.config.fields import Section


class StatisticsConfig(Section):
    """The films to which later films are compared for drift; see docs/statistics.md.

    With `baseline_from` and `baseline_until`, the films received on these days (UTC). Otherwise the
    films of the first `baseline_days` days of the model, and of more days until there are
    `baseline_films` films.
    """

    baseline_from: date | None = None
    baseline_until: date | None = None
    baseline_days: int = Field(default=28, ge=1, le=3650)
    baseline_films: int = Field(default=500, ge=300)

    @model_validator(mode="after")
    def _period_is_complete(self) -> Self:
        begin, end = self.baseline_from, self.baseline_until
        if (begin is None) != (end is None):
            raise ValueError("set both baseline_from and baseline_until, or neither")
        if begin is not None and end is not None and begin > end:
            raise ValueError("baseline_from is after baseline_until")
        return self
