"""Several analysts share the images of a store by their speed, and none holds more than it does."""

import threading
import time
from pathlib import Path

import pytest

from daemon import analyst
from daemon.analyse.analyse_job import ImageAnalyser
from daemon.analyse.pipeline import Pipeline
from daemon.analyst import FEW_WORKERS, WORKER_BYTES, workers_of
from daemon.config.settings import AnalystConfig, Config
from daemon.worker.role import RoleContext
from storage.files.folder_spool import FolderSpool
from storage.records import Job, JobKind, JobState
from storage.store import Store
from tests.tools.waiting import wait_until

JOBS = 60
SECONDS = {"fast": 0.08, "slow": 0.16}
WORKERS = {"fast": 2, "slow": 1}
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


def test_the_shares_of_two_analysts_follow_their_speeds(
    tmp_path: Path, pipeline: Pipeline, monkeypatch: pytest.MonkeyPatch
) -> None:
    done = dict.fromkeys(SECONDS, 0)
    lock = threading.Lock()

    def run(self: ImageAnalyser, job: Job) -> None:
        assert job.worker is not None
        time.sleep(SECONDS[job.worker])
        self._store.jobs.finish(job)
        with lock:
            done[job.worker] += 1

    monkeypatch.setattr(ImageAnalyser, "run", run)
    monkeypatch.setattr(Pipeline, "open", lambda *_: pipeline)
    config = Config(data_dir=tmp_path)
    FolderSpool(tmp_path / "spool")
    stop, ready = threading.Event(), threading.Semaphore(0)

    def host(name: str) -> threading.Thread:
        own = config.model_copy(update={"analyst": AnalystConfig(workers=WORKERS[name])})
        context = RoleContext(own, name, stop, ready.release)
        return threading.Thread(target=analyst.run, args=(context,))

    with Store.open(config.resolved_database_url, migrate=True) as store:
        for number in range(JOBS):
            store.jobs.enqueue(JobKind.ANALYSE, str(number))
        hosts = [host(name) for name in SECONDS]
        for thread in hosts:
            thread.start()
        try:
            most = 0
            while sum(done.values()) < JOBS * 3 // 4:
                running = [job for job in store.jobs.list() if job.state is JobState.RUNNING]
                most = max(most, len(running))
                time.sleep(0.02)
            shares = dict(done)
            wait_until(lambda: sum(done.values()) == JOBS, "every job is done")
        finally:
            stop.set()
            for thread in hosts:
                thread.join(30)
    assert most <= sum(WORKERS.values())
    speed = {name: WORKERS[name] / SECONDS[name] for name in SECONDS}
    wanted = speed["fast"] / speed["slow"]
    assert shares["fast"] / shares["slow"] == pytest.approx(wanted, rel=TOLERANCE)
