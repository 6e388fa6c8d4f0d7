"""Results of the benchmarks as value objects, and as JSON."""

import dataclasses
import json
import statistics
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any


@dataclass(frozen=True, slots=True)
class Goal:
    """A bound that a value is wanted to keep. It is shown beside the value and never asserted."""

    bound: float
    at_least: bool

    def __str__(self) -> str:
        return f"{'≥' if self.at_least else '≤'} {self.bound:g}"

    def is_met(self, value: float) -> bool:
        return value >= self.bound if self.at_least else value <= self.bound


def at_least(bound: float) -> Goal:
    return Goal(bound, at_least=True)


def at_most(bound: float) -> Goal:
    return Goal(bound, at_least=False)


@dataclass(frozen=True, slots=True)
class Ratio:
    """Median of side `over` divided by the median of side `under`; `meaning` says it in words."""

    over: str
    under: str
    meaning: str
    goal: Goal | None = None


@dataclass(frozen=True, slots=True)
class Measure:
    """Values of several sides that were measured in turn, and the ratios of their medians."""

    title: str
    unit: str
    sides: dict[str, list[float]]
    ratios: list[Ratio] = field(default_factory=list)

    def ratio(self, ratio: Ratio) -> float | None:
        """Return the ratio of the medians; None if a side was not measured."""
        if not (self.sides.get(ratio.over) and self.sides.get(ratio.under)):
            return None
        below = statistics.median(self.sides[ratio.under])
        return statistics.median(self.sides[ratio.over]) / below if below else None

    def range_of(self, ratio: Ratio) -> tuple[float, float]:
        """Return the least and the most of the ratio round by round."""
        pairs = zip(self.sides[ratio.over], self.sides[ratio.under], strict=False)
        rounds = [over / under for over, under in pairs if under]
        return min(rounds), max(rounds)


@dataclass(frozen=True, slots=True)
class Fact:
    """One number without a peer."""

    title: str
    value: float
    unit: str = ""
    goal: Goal | None = None


@dataclass(slots=True)
class Part:
    """All results of one part. `lines` are series for the plot: name → [(x, y), …]."""

    name: str
    title: str
    measures: list[Measure] = field(default_factory=list)
    facts: list[Fact] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    lines: dict[str, list[tuple[float, float]]] = field(default_factory=dict)
    quick: bool = False
    about: dict[str, Any] = field(default_factory=dict)
    """Date, commit, seconds taken and noise of the machine; filled by the command."""


def spread(values: Sequence[float]) -> float:
    """Return the median absolute deviation as a share of the median."""
    middle = statistics.median(values)
    deviation = statistics.median(abs(value - middle) for value in values)
    return deviation / abs(middle) if middle else 0.0


def show_part(part: Part) -> None:
    """Print a part: medians, ranges and ratios."""
    for measure in part.measures:
        print(f"-- {measure.title}")
        for name, values in measure.sides.items():
            if values:
                print(
                    f"   {name:<38} median {statistics.median(values):10.4g} {measure.unit}"
                    f"  ({min(values):.4g} to {max(values):.4g}, n = {len(values)},"
                    f" deviation {spread(values):.1%})"
                )
        for ratio in measure.ratios:
            value = measure.ratio(ratio)
            if value is None:
                continue
            low, high = measure.range_of(ratio)
            print(f"   {ratio.meaning}: {value:.2f} ({low:.2f} to {high:.2f}){_wanted(ratio.goal)}")
    for fact in part.facts:
        print(f"   {fact.title}: {fact.value:.4g} {fact.unit}{_wanted(fact.goal)}")
    for note in part.notes:
        print(f"   note: {note}")


def _wanted(goal: Goal | None) -> str:
    return "" if goal is None else f", wanted {goal}"


def write_part(path: Path, machine: dict[str, Any], part: Part) -> None:
    """Put a part into the JSON file, in place of an earlier one of its name."""
    held: dict[str, Any] = {"machine": {}, "parts": {}}
    if path.exists():
        held = json.loads(path.read_text(encoding="utf-8"))
    held["machine"] = machine
    held["parts"][part.name] = dataclasses.asdict(part)
    temporary = path.with_name(f".{path.name}.tmp")
    temporary.write_text(json.dumps(held, indent=1), encoding="utf-8")
    temporary.replace(path)


def read_results(path: Path) -> tuple[dict[str, Any], dict[str, Part]]:
    """Return the machine and the parts of a JSON file."""
    held = json.loads(path.read_text(encoding="utf-8"))
    return held["machine"], {name: _part(values) for name, values in held["parts"].items()}


def _part(values: dict[str, Any]) -> Part:
    measures = [
        Measure(
            one["title"],
            one["unit"],
            one["sides"],
            [Ratio(**{**ratio, "goal": _goal(ratio["goal"])}) for ratio in one["ratios"]],
        )
        for one in values["measures"]
    ]
    facts = [Fact(**{**one, "goal": _goal(one["goal"])}) for one in values["facts"]]
    lines = {name: [(x, y) for x, y in line] for name, line in values["lines"].items()}
    return Part(**{**values, "measures": measures, "facts": facts, "lines": lines})


def _goal(values: dict[str, Any] | None) -> Goal | None:
    return None if values is None else Goal(**values)
