"""Timing of several sides in turn, so that a drifting machine affects all alike."""

import statistics
import time
from collections.abc import Callable, Mapping


def in_turn(runs: int, **sides: Callable[[], float]) -> dict[str, list[float]]:
    """Call every side `runs` times, A B A B …, after one call of each that is not counted."""
    for side in sides.values():
        side()
    values: dict[str, list[float]] = {name: [] for name in sides}
    for _ in range(runs):
        for name, side in sides.items():
            values[name].append(side())
    return values


def seconds(action: Callable[[], object]) -> float:
    """Return the seconds that a call takes."""
    started = time.perf_counter()
    action()
    return time.perf_counter() - started


def show(values: Mapping[str, list[float]], unit: str, baseline: str) -> None:
    """Median, least and most of each side, and its ratio to the baseline, pair by pair."""
    for name, series in values.items():
        ratios = [one / base for one, base in zip(series, values[baseline], strict=True)]
        print(
            f"{name:<28} median {statistics.median(series):9.3f} {unit}"
            f"  ({min(series):.3f} to {max(series):.3f})"
            f"  ratio to {baseline} {statistics.median(ratios):.2f}"
        )
