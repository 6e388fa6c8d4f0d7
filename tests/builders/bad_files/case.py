"""A bad file and the line that refuses it."""

from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path


class Kind(StrEnum):
    """The kind of file, which decides the commands that read it."""

    BUNDLE = "bundle"
    CHECKPOINT = "checkpoint"
    GOLDEN = "golden"
    PREDICTIONS = "predictions"
    LABELS = "labels"
    SOFT_TARGETS = "soft targets"
    BOXES = "boxes"
    CALIBRATION = "calibration"


@dataclass(frozen=True, slots=True)
class Case:
    """`make` writes the file below an empty folder and returns its path; `line` is a pattern.

    `slow` cases are read by the commands only.
    """

    name: str
    kind: Kind
    make: Callable[[Path], Path]
    line: str
    slow: bool = False
