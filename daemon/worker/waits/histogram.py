"""Histograms of durations, in seconds."""

from bisect import bisect_left
from collections.abc import Sequence
from typing import Any, Self

SECONDS = (0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 120.0, 300.0, 600.0, 1800.0, 3600.0, 14400.0)
"""Upper ends of the buckets: from an analysis at once to the work of half a day."""


class Histogram:
    """Counts of durations by bucket, and their sum."""

    def __init__(self, counts: Sequence[int] = (), total: float = 0.0) -> None:
        self._counts = list(counts) or [0] * (len(SECONDS) + 1)
        self.total = total

    def add(self, seconds: float) -> None:
        """Count a duration; one that a changed clock made negative counts as 0."""
        seconds = max(seconds, 0.0)
        self._counts[bisect_left(SECONDS, seconds)] += 1
        self.total += seconds

    def add_all(self, other: "Histogram") -> None:
        """Count the durations of another histogram, too."""
        self._counts = [a + b for a, b in zip(self._counts, other._counts, strict=True)]
        self.total += other.total

    def buckets(self) -> list[tuple[str, float]]:
        """Return the upper ends of the buckets with the number of durations up to each."""
        ends = [*(f"{end:g}" if end % 1 else f"{end:.1f}" for end in SECONDS), "+Inf"]
        found, count = [], 0
        for end, number in zip(ends, self._counts, strict=True):
            count += number
            found.append((end, float(count)))
        return found

    def plain(self) -> list[Any]:
        """Return a copy of the histogram as JSON values."""
        return [list(self._counts), self.total]

    @classmethod
    def of_plain(cls, plain: Sequence[Any]) -> Self:
        """Return the histogram of JSON values. Raises ValueError for other buckets."""
        counts, total = plain
        if len(counts) != len(SECONDS) + 1:
            raise ValueError("a histogram of other buckets")
        return cls([int(count) for count in counts], float(total))
