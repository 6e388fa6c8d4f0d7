"""Processor time of processes, which other work on the machine does not change."""

import os
from pathlib import Path

_TICKS = os.sysconf("SC_CLK_TCK")


def process_seconds(pid: int) -> float:
    """Return the processor seconds of a process so far, without its children; 0 if it is gone."""
    try:
        text = Path(f"/proc/{pid}/stat").read_text(encoding="ascii", errors="replace")
    except OSError:
        return 0.0
    values = text.rpartition(")")[2].split()
    # Fields 14 and 15 of proc(5), counted from the state, which is field 3.
    return (int(values[11]) + int(values[12])) / _TICKS


def descendants(pid: int) -> list[int]:
    """Return the processes below a process, at any depth."""
    found: list[int] = []
    for children in Path(f"/proc/{pid}/task").glob("*/children"):
        try:
            direct = [int(child) for child in children.read_text(encoding="ascii").split()]
        except OSError:
            continue
        for child in direct:
            found += [child, *descendants(child)]
    return found


def children_seconds(pid: int) -> float:
    """Return the processor seconds of all living descendants of a process."""
    return sum(process_seconds(child) for child in descendants(pid))
