"""One picture of all results: what was wanted and what was reached, and the long run."""

from pathlib import Path
from typing import Any

import matplotlib as mpl

from tests.benchmarks.parts import PARTS
from tests.benchmarks.results import Goal, Part

mpl.use("Agg")
from matplotlib import pyplot as plt
from matplotlib.axes import Axes
from matplotlib.ticker import NullLocator

MOST_ROWS = 10
"""Values of one part in the plot: those nearest to their goal, or furthest from it if missed."""
OURS, MISSED, GREY = "#1f6f8b", "#c0562f", "#8a8a8a"


def draw_plot(parts: dict[str, Part], machine: dict[str, Any], path: Path) -> None:
    """Draw every value that has a goal as a share of it, and the lines of the long run."""
    rows = [row for name in PARTS if name in parts for row in _rows(parts[name])]
    lines = {name: line for part in parts.values() for name, line in part.lines.items()}
    height = max(2.5, 0.34 * len(rows) + 1.2)
    figure, axes = plt.subplots(
        2 if lines else 1,
        1,
        figsize=(10, height + (3.6 if lines else 0)),
        height_ratios=[height, 3.6] if lines else [1],
        squeeze=False,
        layout="constrained",
    )
    _draw_goals(axes[0][0], rows)
    if lines:
        _draw_lines(axes[1][0], lines)
    figure.suptitle(f"{machine['processor']}, {machine['cores']} cores", fontsize=10)
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=110, metadata={"Software": None})
    plt.close(figure)


def _rows(part: Part) -> list[tuple[str, float, Goal]]:
    rows = [(fact.title, fact.value, fact.goal) for fact in part.facts if fact.goal is not None]
    for measure in part.measures:
        for ratio in measure.ratios:
            value = measure.ratio(ratio)
            if value is not None and ratio.goal is not None:
                rows.append((f"{measure.title}: {ratio.meaning}", value, ratio.goal))
    nearest = sorted(rows, key=lambda row: _margin(row[1], row[2]))[:MOST_ROWS]
    return [(f"{part.name}: {title}", value, goal) for title, value, goal in nearest]


def _margin(value: float, goal: Goal) -> float:
    """Return how far a value is on the good side of its goal: 1 at the goal, 2 twice as good."""
    over, under = (value, goal.bound) if goal.at_least else (goal.bound, value)
    return min(max(over / under, 0.1), 10.0) if under > 0 else 10.0


def _draw_goals(axes: Axes, rows: list[tuple[str, float, Goal]]) -> None:
    for place, (_, value, goal) in enumerate(rows):
        margin = _margin(value, goal)
        colour = OURS if goal.is_met(value) else MISSED
        axes.plot([1, margin], [place, place], color=colour, linewidth=2)
        axes.plot(margin, place, "o", color=colour, markersize=6)
        axes.annotate(
            f" {value:.3g} ({goal})",
            (max(margin, 1.0), place),
            xytext=(6, 0),
            textcoords="offset points",
            va="center",
            fontsize=8,
        )
    axes.axvline(1, color=GREY, linewidth=1)
    axes.set_xscale("log")
    axes.set_xlim(0.09, 30)
    axes.set_xticks([0.1, 0.25, 0.5, 1, 2, 4, 10], ["0.1", "¼", "½", "goal", "2", "4", "10"])
    axes.xaxis.set_minor_locator(NullLocator())
    axes.set_yticks(range(len(rows)), [_short(title) for title, _, _ in rows], fontsize=8)
    axes.set_ylim(len(rows) - 0.5, -0.5)
    axes.set_xlabel("as many times as good as the goal; left of it the goal is missed", fontsize=8)
    axes.spines[["top", "right"]].set_visible(False)


def _short(title: str) -> str:
    return title if len(title) <= 84 else f"{title[:82]}…"


def _draw_lines(axes: Axes, lines: dict[str, list[tuple[float, float]]]) -> None:
    for name, line in lines.items():
        x, y = zip(*line, strict=True)
        axes.plot(x, y, label=name, linewidth=1.4)
    axes.set_xlabel("studies reported", fontsize=8)
    axes.set_ylabel("proportional memory (PSS), MB", fontsize=8)
    axes.set_ylim(bottom=0)
    axes.legend(fontsize=7, ncols=2, frameon=False)
    axes.spines[["top", "right"]].set_visible(False)
