"""Numbers, names and axes of charts as text."""

import math
from collections.abc import Sequence

LONGEST_NAME = 34
"""Characters of a name in a chart; the table behind it has the whole name."""


def share(count: float, total: float) -> str:
    """Format a share of a total in per cent; a small share has one decimal."""
    if not total:
        return "–"
    percent = 100.0 * count / total
    return f"{percent:.1f} %" if 0 < percent < 9.95 else f"{percent:.0f} %"


def grouped(count: int) -> str:
    """Format a count with a comma between groups of three digits."""
    return f"{count:,}"


def shortened(name: str, longest: int = LONGEST_NAME) -> str:
    """Return the name, with an ellipsis in place of the characters beyond `longest`."""
    return name if len(name) <= longest else f"{name[: longest - 1].rstrip()}…"


def axis_end(largest: float) -> float:
    """Return a round number with room above `largest`, at most 1."""
    for decade in (0.001, 0.01, 0.1):
        for digit in (1, 2, 3, 4, 5, 6, 8):
            if digit * decade >= largest * 1.08:
                return round(digit * decade, 4)
    return 1.0


def ticks(low: float, high: float, most: int = 5) -> tuple[float, ...]:
    """Return at most `most` round numbers from `low` to `high`, ascending.

    Raises ValueError if `high` is not above `low`.
    """
    if not high > low:
        raise ValueError(f"an axis from {low} to {high}")
    step = 10.0 ** math.floor(math.log10((high - low) / most))
    step *= next(factor for factor in (1, 2, 5, 10, 20) if (high - low) / (factor * step) < most)
    first, last = math.ceil(low / step - 1e-9), math.floor(high / step + 1e-9)
    return tuple(round(i * step, 12) for i in range(first, last + 1))


def listed(names: Sequence[str], counts: Sequence[int]) -> str:
    """Return names with their counts as a list in one line."""
    pairs = zip(names, counts, strict=True)
    return ", ".join(f"{name} {grouped(count)}" for name, count in pairs)
