"""The arguments of every part: where it works, and how long."""

from dataclasses import dataclass
from pathlib import Path


class PeerMissingError(Exception):
    """A program or package that a part compares with is not installed."""


@dataclass(frozen=True, slots=True)
class Setting:
    """`folder` is empty and on the disk that is measured. `quick` is for trying, not for results.

    `studies` is the number of studies of the part `flat`, or None for its default. `gpu_output` is
    what `python -m tests.benchmarks.gpu` printed on another machine, or None to measure here.
    """

    folder: Path
    quick: bool = False
    studies: int | None = None
    gpu_output: Path | None = None

    def pick(self, full: int, quick: int) -> int:
        return quick if self.quick else full
