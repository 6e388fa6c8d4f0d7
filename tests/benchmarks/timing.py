"""Timing of several sides in turn, so that a drifting machine affects all alike."""

import os
import statistics
import time
from collections.abc import Callable, Mapping

import numpy as np


def in_turn(runs: int, **sides: Callable[[], float]) -> dict[str, list[float]]:
    """Call every side `runs` times, A B A B …, after one call of each that is not counted."""
    for side in sides.values():
        side()
    return alternate(runs, sides)


def alternate(runs: int, sides: Mapping[str, Callable[[], float]]) -> dict[str, list[float]]:
    """Call every side `runs` times, A B A B …; the sides have warmed up by themselves."""
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


def synced_seconds(action: Callable[[], object]) -> float:
    """Write all dirty pages of the machine first, so that a call pays for its own writes only."""
    os.sync()
    return seconds(action)


def show(values: Mapping[str, list[float]], unit: str, baseline: str) -> None:
    """Median, least and most of each side, and its ratio to the baseline, pair by pair."""
    for name, series in values.items():
        ratios = [one / base for one, base in zip(series, values[baseline], strict=True)]
        print(
            f"{name:<28} median {statistics.median(series):9.3f} {unit}"
            f"  ({min(series):.3f} to {max(series):.3f})"
            f"  ratio to {baseline} {statistics.median(ratios):.2f}"
        )


def calibration(loops: int = 30) -> dict[str, float]:
    """Time one fixed loop many times: its spread is the noise of the machine at this time.

    Returns the median in milliseconds and the interquartile range as a share of it.
    """
    block = np.random.default_rng(0).random((256, 256), dtype=np.float32)

    def loop() -> None:
        for _ in range(20):
            block @ block
        sum(range(100_000))

    loop()
    times = [1e3 * seconds(loop) for _ in range(loops)]
    low, middle, high = statistics.quantiles(times, n=4)
    return {"median_ms": middle, "spread": (high - low) / middle, "load": os.getloadavg()[0]}
