"""Counts the processors that this process may compute on."""

import os
from pathlib import Path

_TOPOLOGY = "/sys/devices/system/cpu/cpu{}/topology/thread_siblings_list"
_QUOTA = Path("/sys/fs/cgroup/cpu.max")


def usable_cores() -> int:
    """Return the cores that this process may use, at least 1.

    Two hardware threads of a core count once: they share its arithmetic. A CPU quota of the
    control group (cgroup v2) limits the number.
    """
    processors = os.sched_getaffinity(0)
    cores = {_siblings(number) for number in processors}
    return max(1, min(len(cores), _quota()))


def _siblings(number: int) -> str:
    try:
        return Path(_TOPOLOGY.format(number)).read_text(encoding="ascii")
    except OSError:
        return str(number)


def _quota() -> int:
    """Return the whole processors that the control group grants, rounded up."""
    try:
        granted, period = _QUOTA.read_text(encoding="ascii").split()
        return max(1, -(-int(granted) // int(period)))
    except (OSError, ValueError):
        # No control group, or "max": no limit.
        return os.cpu_count() or 1
