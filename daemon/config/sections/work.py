"""The sections `study`, `model`, `retention` and `statistics`."""

from datetime import date
from enum import StrEnum
from typing import Self

from pydantic import Field, model_validator

from cxr_model.predict.choices import Device, EngineName
from daemon.config.fields import Seconds, Section

STARTER_BUNDLE = "starter"


class StudyConfig(Section):
    """The wait after which a study is complete enough to report."""

    quiet_seconds: Seconds = 30.0


class HeatmapRule(StrEnum):
    """The findings whose heatmap and region are shown.

    VALIDATED: those whose maps were better than chance on radiologists' boxes.
    """

    ALWAYS = "always"
    VALIDATED = "validated"


class ModelConfig(Section):
    """The model, its engine and its heatmaps. `bundle` is `starter` or the path of a folder."""

    bundle: str = STARTER_BUNDLE
    engine: EngineName = EngineName.AUTO
    device: str = "auto"
    threads: int = Field(default=0, ge=0)
    heatmaps: HeatmapRule = HeatmapRule.ALWAYS

    @model_validator(mode="after")
    def _check_device(self) -> Self:
        if self.engine is EngineName.OPENVINO and self.device not in (Device.AUTO, Device.CPU):
            raise ValueError(
                f"engine openvino runs on the CPU, not on {self.device}: set device to auto or "
                "cpu, or engine to torch"
            )
        return self


class RetentionConfig(Section):
    """Days for which the files of a finished study are kept; None: for ever."""

    # At most 100 years: a date before year 1 cannot be represented.
    days: float | None = Field(default=None, gt=0, le=36525)


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
