"""The worker of a worklist: a manager that is down, and one that answers badly."""

import contextlib
import dataclasses
from collections.abc import Iterator
from pathlib import Path

import pytest

from daemon.config.sections.roles import CourierConfig
from daemon.config.settings import Config
from daemon.worklist.inputs import Inputs
from daemon.worklist.outputs import Keeper
from daemon.worklist.worklist_worker import WorklistWorker
from dicom_io.ups.errors import ManagerAnswerError, ManagerConfigurationError, WorklistError
from dicom_io.ups.workitems import StepState
from storage.files.folder_spool import FolderSpool
from storage.records import JobKind, JobState
from storage.store import Store
from tests.builders.worklist.scene import CONFIG, PACS, RIS, Scene
from tests.servers.workers import Workers
from tests.tools.clock import Clock
from tests.tools.waiting import wait_until

pytestmark = pytest.mark.network


@dataclasses.dataclass
class Site:
    """A worker in a thread, and the manager at which it works."""

    scene: Scene
    workers: Workers

    def start(self) -> None:
        courier = CourierConfig(retry_seconds=0.02, retry_max_seconds=0.05)
        context = self.workers.context(Config(courier=courier))
        worklist = RIS.model_copy(update={"poll_seconds": 0.05})
        worker = WorklistWorker(
            context,
            worklist,
            lambda: self.scene.manager,
            (Keeper(PACS, ae_title="PACS"),),
            self.scene.spool,
            self.scene.store,
            Inputs(CONFIG, worklist, self.scene.store),
            lambda seconds: context.stop.wait(min(seconds, 0.02)),
        )
        self.workers.start(worker.run)

    def states(self) -> list[JobState]:
        return [job.state for job in self.scene.store.jobs.list(kind=JobKind.PERFORM)]


@pytest.fixture
def site(tmp_path: Path, store: Store) -> Iterator[Site]:
    spool = FolderSpool(tmp_path / "spool")
    with contextlib.closing(Workers(store, spool)) as workers:
        yield Site(Scene(store, spool, Clock()), workers)


def test_a_workitem_is_performed_when_its_manager_answers_again(site: Site) -> None:
    uid = site.scene.order(1)
    site.scene.manager.down = True
    site.start()
    workitems = site.scene.store.workitems
    wait_until(lambda: "does not answer" in workitems.worklist("ris").fault, "the fault is noted")
    site.scene.send(1)
    site.scene.deliver()
    site.scene.manager.down = False
    wait_until(
        lambda: site.scene.manager.items[uid].state is StepState.COMPLETED, "it is completed"
    )
    wait_until(lambda: workitems.worklist("ris").fault == "", "the fault is over")
    assert site.scene.manager.history[uid] == [StepState.IN_PROGRESS, StepState.COMPLETED]


def test_a_manager_that_goes_down_costs_a_workitem_no_attempt(site: Site) -> None:
    site.scene.order(1)
    site.start()
    wait_until(lambda: site.states() == [JobState.QUEUED], "the workitem is taken up")
    site.scene.manager.down = True
    workitems = site.scene.store.workitems
    wait_until(lambda: "does not answer" in workitems.worklist("ris").fault, "the fault is noted")
    (job,) = site.scene.store.jobs.list(kind=JobKind.PERFORM)
    assert job.attempts == 0


@pytest.mark.parametrize(
    "error",
    [
        ManagerAnswerError("ris: it gave an answer that is no DICOM"),
        ManagerConfigurationError("ris does not offer UPS Pull to CXRD; allow it there"),
    ],
)
def test_a_manager_that_answers_badly_parks_the_workitem_in_the_end(
    site: Site, error: WorklistError
) -> None:
    site.scene.manager.broken[site.scene.order(1)] = error
    site.start()
    wait_until(lambda: site.states() == [JobState.PARKED], "the workitem is parked")
    (job,) = site.scene.store.jobs.list(kind=JobKind.PERFORM)
    assert (job.attempts, job.last_error) == (WorklistWorker.max_attempts, str(error))


def test_other_workitems_go_on_beside_one_that_is_answered_badly(site: Site) -> None:
    refused = ManagerAnswerError("ris: it gave an answer that is no DICOM")
    site.scene.manager.broken[site.scene.order(1)] = refused
    good = site.scene.order(2)
    site.scene.send(2)
    site.scene.deliver()
    site.start()
    manager = site.scene.manager
    wait_until(lambda: manager.items[good].state is StepState.COMPLETED, "the other is completed")


def test_workitems_that_are_always_due_do_not_keep_the_worker_from_searching(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("daemon.worklist.performer.LONGEST_LOOK", 0.0)
    first = site.scene.order(1)
    site.start()
    manager = site.scene.manager
    wait_until(lambda: manager.items[first].state is StepState.IN_PROGRESS, "it is claimed")
    second = site.scene.order(2)
    wait_until(lambda: manager.items[second].state is StepState.IN_PROGRESS, "it is found, too")
