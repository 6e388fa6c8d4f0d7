"""docs/performance.md names every part of `make bench`, and its results are written from JSON."""

from pathlib import Path

import pytest

from tests.benchmarks.page import BEGIN, END, PAGE, write_report
from tests.benchmarks.parts import PARTS
from tests.benchmarks.results import (
    Fact,
    Goal,
    Measure,
    Part,
    Ratio,
    at_least,
    at_most,
    read_results,
    write_part,
)

MACHINE = {
    "processor": "A Processor",
    "cores": 2,
    "memory_gib": 24.0,
    "disk": "/dev/vda ext4 100G",
    "system": "Linux 6",
    "python": "3.11",
    "packages": {"numpy": "2.0", "openvino": None},
    "programs": {"storescp": "dcmtk: storescp v3.6.7"},
}


def made_part(name: str = "receive") -> Part:
    sides = {"ours": [2.0, 1.0, 3.0], "peer": [4.0, 3.0, 5.0], "absent": []}
    return Part(
        name,
        "Receiving",
        measures=[
            Measure(
                "10 films",
                "s",
                sides,
                [
                    Ratio("peer", "ours", "times as fast", at_least(3)),
                    Ratio("absent", "ours", "never shown"),
                ],
            )
        ],
        facts=[Fact("memory", 1234.5, "MB", at_most(2000))],
        notes=["Orthanc is not installed"],
        lines={"analyst": [(0.0, 300.0), (10.0, 301.0)]},
        about={
            "date": "2026-01-02",
            "commit": "abc",
            "seconds": 9,
            "noise": {"median_ms": 9.0, "spread": 0.05, "load": 0.3},
        },
    )


def test_the_page_names_every_part() -> None:
    page = PAGE.read_text(encoding="utf-8")
    missing = [name for name in PARTS if f"**`{name}`**" not in page]
    assert missing == []


def test_results_are_read_as_they_were_written(tmp_path: Path) -> None:
    path = tmp_path / "bench.json"
    write_part(path, MACHINE, made_part("flat"))
    write_part(path, MACHINE, made_part())
    machine, parts = read_results(path)
    assert machine == MACHINE
    assert parts == {"flat": made_part("flat"), "receive": made_part()}


def test_a_report_replaces_the_results_and_nothing_else(tmp_path: Path) -> None:
    results, page, plot = tmp_path / "b.json", tmp_path / "page.md", tmp_path / "plot.png"
    write_part(results, MACHINE, made_part())
    page.write_text(f"# Page\n\n{BEGIN}\nold\n{END}\nafter\n", encoding="utf-8")
    write_report(results, page, plot)
    written = page.read_text(encoding="utf-8")
    assert written.startswith(f"# Page\n\n{BEGIN}\n")
    assert written.endswith(f"{END}\nafter\n")
    assert "old" not in written
    assert "A Processor, 2 cores" in written
    assert "Not installed: openvino" in written
    assert "| ours | 2.00 s | 1.00 to 3.00 | 50.0% | 3 |" in written
    assert "10 films: times as fast | 2.00 | 1.67 to 3.00 | ≥ 3: **not met**" in written
    assert "| memory | 1,234 MB | | ≤ 2000 |" in written
    assert "never shown" not in written
    assert "- Orthanc is not installed" in written
    assert plot.read_bytes().startswith(b"\x89PNG")
    write_report(results, page, plot)
    assert page.read_text(encoding="utf-8") == written


def test_a_page_without_its_marks_is_refused(tmp_path: Path) -> None:
    results, page = tmp_path / "b.json", tmp_path / "page.md"
    write_part(results, MACHINE, made_part())
    page.write_text("# Page\n", encoding="utf-8")
    with pytest.raises(ValueError, match="lacks"):
        write_report(results, page, tmp_path / "plot.png")


@pytest.mark.parametrize(
    ("goal", "value", "met"),
    [(at_least(2), 2.0, True), (at_least(2), 1.9, False), (at_most(2), 2.1, False)],
)
def test_a_goal_is_met_at_its_bound(goal: Goal, value: float, met: bool) -> None:
    assert goal.is_met(value) is met
