"""docs/performance.md: the tables and the plot of the latest results, written from their JSON."""

import statistics
from pathlib import Path
from typing import Any

from tests.benchmarks.parts import PARTS
from tests.benchmarks.plot import draw_plot
from tests.benchmarks.results import Fact, Goal, Measure, Part, Ratio, read_results, spread
from tests.tools.paths import ROOT

PAGE = ROOT / "docs" / "performance.md"
PLOT = ROOT / "docs" / "images" / "performance.png"
ALT = "each value with a goal as a multiple of its goal, and memory over the long run"
BEGIN, END = "<!-- results: begin -->", "<!-- results: end -->"


def write_report(results: Path, page: Path, plot: Path) -> None:
    """Replace the results on the page, between its two marks, and draw the plot.

    Raises ValueError if the page lacks the marks.
    """
    machine, parts = read_results(results)
    before, begin, rest = page.read_text(encoding="utf-8").partition(BEGIN)
    _, end, after = rest.partition(END)
    if not begin or not end:
        raise ValueError(f"{page} lacks {BEGIN} or {END}")
    lines = [*_machine_lines(machine), "", f"![{ALT}](images/{plot.name})", ""]
    for name in sorted(parts, key=list(PARTS).index):
        lines += _part_lines(parts[name])
    text = "\n".join([before + begin, "", *lines, end]) + after
    draw_plot(parts, machine, plot)
    page.write_text(text, encoding="utf-8")


def _machine_lines(machine: dict[str, Any]) -> list[str]:
    versions = {**machine["packages"], **machine["programs"]}
    named = [_named(name, version) for name, version in versions.items() if version]
    missing = [name for name, version in versions.items() if not version]
    return [
        f"Machine: {machine['processor']}, {machine['cores']} cores, {machine['memory_gib']} GiB "
        f"of memory, disk {machine['disk']}, {machine['system']}, Python {machine['python']}.",
        f"Versions: {', '.join(named)}."
        + (f" Not installed: {', '.join(missing)}." if missing else ""),
    ]


def _named(name: str, version: str) -> str:
    return version.removeprefix("dcmtk: ") if name in version else f"{name} {version}"


def _part_lines(part: Part) -> list[str]:
    about = part.about
    noise = about["noise"]
    lines = [
        f"### `{part.name}`: {part.title}",
        "",
        f"Measured {about['date']}, commit {about['commit']}, in {about['seconds']} s"
        f"{', **quick form: not a result**' if part.quick else ''}. Before it a fixed loop varied "
        f"by {noise['spread']:.1%}, load {noise['load']:.1f}.",
        "",
    ]
    if part.measures:
        lines += ["| measured in turn | median | range | deviation | n |", "|---|---|---|---|---|"]
        for measure in part.measures:
            lines += _measure_lines(measure)
        lines.append("")
    ratios = [line for measure in part.measures for line in _ratio_lines(measure)]
    facts = [_fact_line(fact) for fact in part.facts]
    if ratios or facts:
        lines += ["| result | value | round by round | wanted |", "|---|---|---|---|"]
        lines += [*ratios, *facts, ""]
    lines += [f"- {note}" for note in part.notes]
    return [*lines, ""] if part.notes else lines


def _measure_lines(measure: Measure) -> list[str]:
    lines = [f"| **{measure.title}** | | | | |"]
    for name, values in measure.sides.items():
        if values:
            lines.append(
                f"| {name} | {number(statistics.median(values))} {measure.unit} | "
                f"{number(min(values))} to {number(max(values))} | {spread(values):.1%} | "
                f"{len(values)} |"
            )
    return lines


def _ratio_lines(measure: Measure) -> list[str]:
    return [line for ratio in measure.ratios if (line := _ratio_line(measure, ratio))]


def _ratio_line(measure: Measure, ratio: Ratio) -> str:
    value = measure.ratio(ratio)
    if value is None:
        return ""
    low, high = measure.range_of(ratio)
    return (
        f"| {measure.title}: {ratio.meaning} | {value:.2f} | {low:.2f} to {high:.2f} | "
        f"{_verdict(ratio.goal, value)} |"
    )


def _fact_line(fact: Fact) -> str:
    unit = f" {fact.unit}" if fact.unit else ""
    return f"| {fact.title} | {number(fact.value)}{unit} | | {_verdict(fact.goal, fact.value)} |"


def _verdict(goal: Goal | None, value: float) -> str:
    if goal is None:
        return ""
    return f"{goal}" if goal.is_met(value) else f"{goal}: **not met**"


def number(value: float) -> str:
    """Return a number with three significant digits, and without an exponent."""
    if value == 0 or abs(value) >= 100:
        return f"{value:,.0f}"
    digits = 2 if abs(value) >= 1 else 3
    return f"{value:.{digits}f}" if abs(value) >= 0.01 else f"{value:.2g}"
