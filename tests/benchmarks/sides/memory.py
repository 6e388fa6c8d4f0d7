"""Memory of the daemon's processes: resident (RSS) and proportional (PSS), by role."""

import contextlib
from dataclasses import dataclass
from pathlib import Path

from daemon.worker.role import RoleName
from tests.servers.running import RunningDaemon

READERS = "analyst's children"


@dataclass(frozen=True, slots=True)
class Memory:
    """Megabytes (10^6 bytes) of one or several processes."""

    rss: float
    pss: float


def memory_by_role(daemon: RunningDaemon) -> dict[str, Memory]:
    """Return the memory of each role, and that of all processes below the analyst together."""
    found = {role.value: memory_of([daemon.process_of(role)]) for role in RoleName}
    found[READERS] = memory_of(_descendants(daemon.process_of(RoleName.ANALYST)))
    found["supervisor"] = memory_of([_parent(daemon.process_of(RoleName.LISTENER))])
    return found


def memory_of(processes: list[int]) -> Memory:
    """Return the sum over the processes that still run."""
    rss = pss = 0
    for process in processes:
        # A process may end between listing and reading.
        with contextlib.suppress(OSError):
            text = Path(f"/proc/{process}/smaps_rollup").read_text(encoding="ascii")
            values = dict(line.split(":", 1) for line in text.splitlines()[1:])
            rss += int(values["Rss"].split()[0])
            pss += int(values["Pss"].split()[0])
    return Memory(rss * 1024 / 1e6, pss * 1024 / 1e6)


def _descendants(parent: int) -> list[int]:
    found: list[int] = []
    with contextlib.suppress(OSError):
        for task in Path(f"/proc/{parent}/task").iterdir():
            for child in (task / "children").read_text(encoding="ascii").split():
                found += [int(child), *_descendants(int(child))]
    return found


def _parent(process: int) -> int:
    fields = Path(f"/proc/{process}/stat").read_text(encoding="ascii").rpartition(")")[2].split()
    return int(fields[1])
