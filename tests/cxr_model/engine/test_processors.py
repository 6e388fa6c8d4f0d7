"""The processors and the memory of a process are those that its control groups leave."""

import os
from pathlib import Path

import pytest

from cxr_model.engine.processors import usable_cores, usable_memory

CORES = 16
GB = 1 << 30


@pytest.fixture
def root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder of a machine with 16 cores of two hardware threads each."""
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(range(2 * CORES)))
    for number in range(2 * CORES):
        first = number % CORES
        path = tmp_path / f"sys/devices/system/cpu/cpu{number}/topology/thread_siblings_list"
        write(path, f"{first},{first + CORES}\n")
    return tmp_path


def write(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)


def test_there_is_a_core() -> None:
    assert usable_cores() >= 1
    assert usable_memory() > 1 << 26


def test_two_threads_of_a_core_count_once(root: Path) -> None:
    assert usable_cores(root) == CORES


def test_a_set_of_processors_limits_the_number(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: {0, 1, 2, CORES})
    assert usable_cores(root) == 3


@pytest.mark.parametrize(
    ("groups", "files", "cores"),
    [
        ("0::/\n", {"cpu.max": "250000 100000\n"}, 3),  # a container
        ("0::/\n", {"cpu.max": "max 100000\n"}, CORES),
        (
            "0::/system.slice/cxrd.service\n",
            {"system.slice/cxrd.service/cpu.max": "400000 100000"},
            4,
        ),
        (
            "0::/a/b\n",
            {"a/b/cpu.max": "800000 100000", "a/cpu.max": "200000 100000", "cpu.max": "max 1"},
            2,
        ),
        ("0::/on/the/host\n", {"cpu.max": "500000 100000\n"}, 5),
        ("0::/\n", {"cpu.max": "not a number"}, CORES),
        ("0::/\n", {"cpu.max": "1000 100000"}, 1),
        (
            "4:memory:/x\n3:cpu,cpuacct:/docker/1\n",
            {
                "cpu/docker/1/cpu.cfs_quota_us": "600000",
                "cpu/docker/1/cpu.cfs_period_us": "100000",
                "memory/x/memory.limit_in_bytes": "9223372036854771712",
            },
            6,
        ),
        ("3:cpu:/\n", {"cpu/cpu.cfs_quota_us": "-1", "cpu/cpu.cfs_period_us": "100000"}, CORES),
    ],
)
def test_a_quota_of_any_control_group_above_limits_the_number(
    root: Path, groups: str, files: dict[str, str], cores: int
) -> None:
    write(root / "proc/self/cgroup", groups)
    for name, text in files.items():
        write(root / "sys/fs/cgroup" / name, text)
    assert usable_cores(root) == cores


def test_the_memory_is_that_of_the_smallest_limit(root: Path) -> None:
    write(root / "proc/self/cgroup", "0::/pod/container\n")
    write(root / "sys/fs/cgroup/pod/container/memory.max", "max\n")
    machine = usable_memory(root)
    assert machine == usable_memory(Path("/nowhere"))
    write(root / "sys/fs/cgroup/pod/memory.max", f"{GB // 8}\n")
    assert usable_memory(root) == GB // 8
