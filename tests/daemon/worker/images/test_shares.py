"""Several analysts share the images of a store by their speed, and none holds more than it does."""

import heapq
from pathlib import Path

import pytest

from daemon import analyst
from daemon.analyse.analyse_job import ImageAnalyser
from daemon.analyse.pipeline import Pipeline
from daemon.analyst import FEW_WORKERS, WORKER_BYTES, Analyst, workers_of
from daemon.config.sections.roles import AnalystConfig
from daemon.config.settings import Config
from storage.files.folder_spool import FolderSpool
from storage.records import Job, JobKind, JobState
from tests.builders.stores.new import new_store

JOBS = 60
SECONDS = {"fast": 0.1, "slow": 0.37}
"""Simulated seconds of an image."""
WORKERS = {"fast": 3, "slow": 2}
TOLERANCE = 0.15


@pytest.mark.parametrize(
    ("cores", "memory_gb", "gpu", "workers"),
    [
        (2, 4, False, 3),
        (2, 4, True, 4),
        (16, 64, False, 17),
        (16, 128, True, 32),
        (64, 16, False, 32),  # the memory limits it
        (16, 2, False, FEW_WORKERS),
    ],
)
def test_a_host_takes_as_many_images_as_it_can_work_on(
    monkeypatch: pytest.MonkeyPatch, cores: int, memory_gb: int, gpu: bool, workers: int
) -> None:
    monkeypatch.setattr(analyst, "usable_cores", lambda: cores)
    monkeypatch.setattr(analyst, "usable_memory", lambda: memory_gb << 30)
    monkeypatch.setattr(analyst, "gpu_present", lambda: gpu)
    assert WORKER_BYTES == 512 << 20
    assert workers_of(AnalystConfig()) == workers
    assert workers_of(AnalystConfig(workers=5)) == 5
    assert workers_of(AnalystConfig(), "cpu") == min(cores + 1, max(FEW_WORKERS, 2 * memory_gb))


@pytest.mark.slow
def test_the_shares_of_two_analysts_follow_their_speeds(
    tmp_path: Path, pipeline: Pipeline, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each worker asks for its next image when the time of its last one is over."""
    done: list[str] = []

    def run(self: ImageAnalyser, job: Job) -> None:
        held = [other for other in self._store.jobs.list() if other.state is JobState.RUNNING]
        assert held == [job]  # a worker claims nothing ahead
        assert job.worker is not None
        done.append(job.worker)
        self._store.jobs.finish(job)

    monkeypatch.setattr(ImageAnalyser, "run", run)
    spool = FolderSpool(tmp_path / "spool")
    with new_store(tmp_path / "store.sqlite") as store:
        for number in range(JOBS):
            store.jobs.enqueue(JobKind.ANALYSE, str(number))
        hosts = {name: Analyst(Config(), name, spool, store, pipeline) for name in SECONDS}
        free = [(0.0, name) for name in SECONDS for _ in range(WORKERS[name])]
        while hosts[free[0][1]].work(JobKind.ANALYSE):
            now, name = free[0]
            heapq.heapreplace(free, (now + SECONDS[name], name))
    speed = {name: WORKERS[name] / SECONDS[name] for name in SECONDS}
    share = done.count("fast") / done.count("slow")
    assert len(done) == JOBS
    assert share == pytest.approx(speed["fast"] / speed["slow"], rel=TOLERANCE)
