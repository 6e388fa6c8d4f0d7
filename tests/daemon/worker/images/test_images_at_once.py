"""The analyst works on several images at once, and each keeps the guarantees of one."""

import datetime
import itertools
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from cxr_model.errors import ModelOutputError
from daemon import analyst
from daemon.analyse.pipeline import Pipeline
from daemon.config.sections.roles import AnalystConfig
from daemon.config.sections.work import StudyConfig
from daemon.config.settings import Config
from daemon.errors import ModelFailedError
from daemon.worker.role import RoleContext
from storage.files.folder_spool import FolderSpool
from storage.records import InstanceState, Job, JobKind, JobState, StudyStatus
from storage.store import Store
from tests.builders.bench import SENDS, Bench
from tests.builders.images.films import film
from tests.tools.clock import Clock
from tests.tools.waiting import wait_until

WORKERS = 2


class Running:
    """The role in a thread of this process, with a pipeline whose analyses the test may hold."""

    def __init__(self, folder: Path, pipeline: Pipeline, monkeypatch: pytest.MonkeyPatch) -> None:
        self.config = Config(
            data_dir=folder,
            analyst=AnalystConfig(workers=WORKERS, retry_seconds=0.01),
            study=StudyConfig(quiet_seconds=0.05),
            peers=(SENDS,),
        )
        spool = FolderSpool(self.config.data_dir / "spool")
        self.store = Store.open(self.config.resolved_database_url, migrate=True)
        self.bench = Bench(self.config, Clock(), spool, self.store, None, pipeline)  # type: ignore[arg-type]
        self.stop = threading.Event()
        self.is_ready = threading.Event()
        self.error: BaseException | None = None
        monkeypatch.setattr(Pipeline, "open", lambda *_: pipeline)
        self._thread = threading.Thread(target=self._run)

    def _run(self) -> None:
        try:
            analyst.run(RoleContext(self.config, "me", self.stop, self.is_ready.set))
        except BaseException as error:  # noqa: BLE001 - the test looks at it
            self.error = error

    def start(self) -> None:
        self._thread.start()

    def join(self) -> None:
        self._thread.join(60)
        assert not self._thread.is_alive()

    def states(self) -> list[JobState]:
        return sorted(job.state for job in self.store.jobs.list(kind=JobKind.ANALYSE))


@pytest.fixture
def running(
    tmp_path: Path, pipeline: Pipeline, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Running]:
    role = Running(tmp_path, pipeline, monkeypatch)
    yield role
    role.stop.set()
    role.join()
    role.store.close()


@contextmanager
def held(
    monkeypatch: pytest.MonkeyPatch, after: Callable[[int], None]
) -> Iterator[threading.Event]:
    """Hold each analysis until WORKERS are in work and the event is set; then call `after`."""
    go = threading.Event()
    together = threading.Barrier(WORKERS)
    numbers = itertools.count(1)
    analyse = Pipeline.analyse

    def waiting(*arguments: Any, **named: Any) -> Any:
        number = next(numbers)
        if number <= WORKERS:
            together.wait(60)
        assert go.wait(60)
        after(number)
        return analyse(*arguments, **named)

    monkeypatch.setattr(Pipeline, "analyse", waiting)
    yield go


def await_reports(running: Running, uids: list[str]) -> None:
    wait_until(
        lambda: all(
            running.store.results.study(uid).status is StudyStatus.REPORTED for uid in uids
        ),
        "every report",
    )


def test_several_images_are_in_work_at_once_and_each_study_is_reported(
    running: Running, monkeypatch: pytest.MonkeyPatch
) -> None:
    uids = [running.bench.receive(film(f"at-once-{number}")) for number in range(WORKERS)]
    with held(monkeypatch, lambda _: None) as go:
        running.start()
        wait_until(lambda: running.states() == [JobState.RUNNING] * WORKERS, "all are in work")
        go.set()
        await_reports(running, uids)
    assert all(len(running.store.results.study(uid).reports) == 1 for uid in uids)


@pytest.mark.slow
def test_a_stop_ends_after_the_images_in_work(
    running: Running, monkeypatch: pytest.MonkeyPatch
) -> None:
    for number in range(WORKERS + 2):
        running.bench.receive(film(f"stopped-{number}"))
    with held(monkeypatch, lambda _: None) as go:
        running.start()
        wait_until(lambda: running.states().count(JobState.RUNNING) == WORKERS, "some in work")
        running.stop.set()
        go.set()
        running.join()
    assert running.error is None
    assert running.states() == [JobState.DONE] * WORKERS + [JobState.QUEUED] * 2


@pytest.mark.slow
def test_an_output_that_is_no_result_ends_the_role_and_not_the_other_images(
    running: Running, monkeypatch: pytest.MonkeyPatch
) -> None:
    for number in range(WORKERS + 1):
        running.bench.receive(film(f"failed-{number}"))

    def fail(number: int) -> None:
        if number == 2:
            raise ModelOutputError(0, "the model's output for Mass is not a result")

    with held(monkeypatch, fail) as go:
        running.start()
        wait_until(lambda: running.states().count(JobState.RUNNING) == WORKERS, "some in work")
        go.set()
        running.join()
    assert isinstance(running.error, ModelFailedError)
    states = running.states()
    assert states.count(JobState.PARKED) == 1
    assert states.count(JobState.RUNNING) == 0
    analysed = [
        number
        for number in range(1, WORKERS + 2)
        if running.store.results.instance(number).state is InstanceState.ANALYSED
    ]
    assert len(analysed) == states.count(JobState.DONE) >= WORKERS - 1


def test_a_job_whose_lease_is_lost_is_recorded_once(
    running: Running, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    uids = [running.bench.receive(film(f"lost-{number}")) for number in range(WORKERS)]

    def lose(number: int) -> None:
        if number == 1:
            running.store.jobs.release("me")

    with held(monkeypatch, lose) as go:
        running.start()
        wait_until(lambda: running.states() == [JobState.RUNNING] * WORKERS, "all are in work")
        go.set()
        await_reports(running, uids)
    assert "was taken over by another worker" in caplog.text
    assert all(len(running.store.results.study(uid).reports) == 1 for uid in uids)


def test_a_job_that_may_have_ended_the_process_is_in_work_alone(
    running: Running, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Else the images beside it would be given up with it."""
    for number in range(WORKERS + 1):
        running.bench.receive(film(f"suspect-{number}"))
    for _ in range(WORKERS + 1):
        assert running.store.jobs.claim((JobKind.ANALYSE,), "dies", datetime.timedelta(hours=1))
    running.store.jobs.release("dies")
    analyse = Pipeline.analyse

    def alone(*arguments: Any, **named: Any) -> Any:
        def others() -> list[Job]:
            jobs = running.store.jobs.list(kind=JobKind.ANALYSE)
            return [job for job in jobs if job.state is not JobState.DONE]

        wait_until(lambda: sorted(job.attempts for job in others())[:-1] == [1] * (left[0] - 1))
        assert sum(job.state is JobState.RUNNING for job in others()) == 1
        left[0] -= 1
        return analyse(*arguments, **named)

    left = [WORKERS + 1]
    monkeypatch.setattr(Pipeline, "analyse", alone)
    running.start()
    wait_until(lambda: running.states() == [JobState.DONE] * (WORKERS + 1), "all are analysed")
    assert all(
        running.store.results.instance(number).state is InstanceState.ANALYSED
        for number in range(1, WORKERS + 2)
    )
