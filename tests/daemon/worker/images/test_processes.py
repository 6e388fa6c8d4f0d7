"""The processes of the analyst share the cores, the threads and the images of their host."""

from pathlib import Path

import pytest

from daemon.config.loading import load_config
from daemon.config.sections.roles import AnalystConfig
from daemon.config.sections.work import ModelConfig
from daemon.config.settings import Config
from daemon.worker import shares
from daemon.worker.board import RoleState, board_folder, roles_here
from daemon.worker.role import RoleName
from daemon.worker.shares import (
    analyst_processes,
    counted,
    share_of_threads,
    share_of_workers,
)
from daemon.worker.waits.counts import read_file
from storage.records import JobKind, JobState
from tests.builders.images.films import film
from tests.servers.running import RunningDaemon
from tests.tools.ports import SENDER
from tests.tools.waiting import wait_until

pytestmark = [pytest.mark.daemon, pytest.mark.network]

PEERS = [{"name": "sender", "ae_title": SENDER, "sends": True}]


@pytest.mark.parametrize(
    ("cores", "memory_gb", "processes"),
    [(1, 2, 1), (2, 8, 1), (7, 16, 1), (8, 16, 2), (16, 64, 4), (16, 4, 2), (128, 512, 16)],
)
def test_a_host_has_a_process_for_each_four_cores(
    monkeypatch: pytest.MonkeyPatch, cores: int, memory_gb: int, processes: int
) -> None:
    monkeypatch.setattr(shares, "usable_cores", lambda: cores)
    monkeypatch.setattr(shares, "usable_memory", lambda: memory_gb << 30)
    assert analyst_processes(AnalystConfig()) == processes
    assert analyst_processes(AnalystConfig(processes=3)) == 3


def test_the_processes_share_threads_and_images(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shares, "usable_cores", lambda: 16)
    config = counted(Config(analyst=AnalystConfig(processes=4)))
    assert share_of_threads(config) == 4
    assert share_of_workers(config.analyst, 17) == 5
    told = counted(Config(analyst=AnalystConfig(processes=4), model=ModelConfig(threads=2)))
    assert share_of_threads(told) == 1


def test_one_process_has_all(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shares, "usable_cores", lambda: 2)
    monkeypatch.setattr(shares, "usable_memory", lambda: 8 << 30)
    config = counted(Config())
    assert config.analyst.processes == 1
    assert share_of_threads(config) == 0
    assert share_of_workers(config.analyst, 3) == 3


@pytest.mark.slow
def test_two_processes_analyse_and_one_that_is_killed_is_replaced(
    tmp_path: Path, bundle: Path
) -> None:
    with RunningDaemon(
        tmp_path / "node", bundle, 1, {"analyst": {"processes": 2}, "peers": PEERS}
    ) as node:
        config = load_config(node.config)
        assert node.log.count("analyst started, process") == 2
        (shown,) = (status for status in roles_here(config) if status.role is RoleName.ANALYST)
        assert shown.state is RoleState.UP
        node.send(*(film(f"1.2.{number}") for number in range(24)))
        node.kill("analyst")
        with node.store() as store:
            wait_until(
                lambda: len(store.jobs.list(JobState.DONE, JobKind.REPORT)) == 24,
                "every study has its report",
            )
            assert len(store.jobs.list(JobState.DONE, JobKind.ANALYSE)) == 24
        node.send(*(film(f"1.3.{number}") for number in range(24)))
        wait_until(
            lambda: (
                [
                    JobKind.ANALYSE in read_file(path)
                    for path in board_folder(config).glob("waits-*-analyst-[01]")
                ]
                == [True, True]
            ),
            "both have claimed images",
        )
