"""Counts the processors and the memory that this process may use."""

import os
from collections.abc import Iterator
from pathlib import Path

_TOPOLOGY = "sys/devices/system/cpu/cpu{}/topology/thread_siblings_list"
_ROOT = Path("/")


def usable_cores(root: Path = _ROOT) -> int:
    """Return the cores that this process may use, at least 1.

    Two hardware threads of a core count once: they share its arithmetic. A set of processors
    limits the number, and so does a CPU quota of the control group or of one above it, as that of
    a container or of a service.
    """
    processors = os.sched_getaffinity(0)
    cores = {_siblings(root, number) for number in processors}
    return max(1, min([len(cores), *_quotas(root)]))


def usable_memory(root: Path = _ROOT) -> int:
    """Return the bytes of memory that this process may use, by the machine and control groups."""
    limits = [os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")]
    for group in _groups(root, "memory"):
        for name in ("memory.max", "memory.limit_in_bytes"):
            limits += [number for number in _numbers(group / name)[:1] if number > 0]
    return min(limits)


def _siblings(root: Path, number: int) -> str:
    try:
        return (root / _TOPOLOGY.format(number)).read_text(encoding="ascii")
    except OSError:
        return str(number)


def _quotas(root: Path) -> Iterator[int]:
    """Yield the whole processors that each control group grants, rounded up."""
    for group in _groups(root, "cpu"):
        quota = _numbers(group / "cpu.max") or [
            *_numbers(group / "cpu.cfs_quota_us"),
            *_numbers(group / "cpu.cfs_period_us"),
        ]
        # A group without a limit has the word "max" (version 2) or -1 (version 1).
        if len(quota) == 2 and min(quota) > 0:
            yield -(-quota[0] // quota[1])


def _groups(root: Path, controller: str) -> Iterator[Path]:
    """Yield the folder of this process's control group and of each group above it.

    In a container the path may be that of the host: the folders that exist there are its own.
    """
    try:
        lines = (root / "proc/self/cgroup").read_text(encoding="utf-8").splitlines()
    except OSError:
        lines = ["0::/"]
    for line in lines:
        _, controllers, path = (*line.split(":", 2), "", "")[:3]
        if controllers and controller not in controllers.split(","):
            continue
        top = root / "sys/fs/cgroup" / (controller if controllers else "")
        group = top / path.lstrip("/")
        yield from (folder for folder in (group, *group.parents) if folder.is_relative_to(top))


def _numbers(path: Path) -> list[int]:
    """Return the numbers of a file; none if it is absent or has a word such as "max"."""
    try:
        return [int(word) for word in path.read_text(encoding="ascii").split()]
    except (OSError, ValueError):
        return []
