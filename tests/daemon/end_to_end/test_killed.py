"""No acknowledged image is lost: roles are killed, the PACS is down, the daemon is stopped."""

import os
import signal
from pathlib import Path
from typing import Any

import pytest

from dicom_io.errors import AssociationError
from dicom_io.read.header import read_header
from storage.records import InstanceState, JobState
from tests.builders.images.films import film
from tests.daemon.conftest import database_keys
from tests.servers.dicom.pacs import RecordingPacs
from tests.servers.running import RunningDaemon
from tests.tools.ports import free_port
from tests.tools.waiting import wait_until

pytestmark = [pytest.mark.daemon, pytest.mark.network]
STUDIES = 20


@pytest.fixture(params=["sqlite", "postgresql"])
def database(request: pytest.FixtureRequest) -> dict[str, Any]:
    """The keys of the configuration that name the store, of each kind."""
    return database_keys(request)


def kill_after_some_work(daemon: RunningDaemon) -> None:
    done = daemon.log.count("is analysed")
    wait_until(lambda: daemon.log.count("is analysed") > done, "some work done")
    daemon.kill("analyst")


def kill_and_await_restart(daemon: RunningDaemon, role: str) -> None:
    old = daemon.process_of(role)
    daemon.kill(role)
    wait_until(lambda: daemon.process_of(role) != old, f"a new {role}")


@pytest.mark.slow
def test_every_acknowledged_image_survives_a_killed_analyst(
    daemon: RunningDaemon, pacs: RecordingPacs
) -> None:
    images = [film(f"study-{number}") for number in range(STUDIES)]
    for number, image in enumerate(images):
        daemon.send(image)
        if number in {6, 13}:
            kill_after_some_work(daemon)
    wait_until(lambda: len(pacs.of("SR")) == STUDIES, "a report per study", seconds=180)
    uids = {read_header(image).study_instance_uid for image in images}
    with daemon.store() as store:
        studies = [store.results.study(uid) for uid in uids]
    for study in studies:
        assert [item.state for item in study.instances] == [InstanceState.ANALYSED]
        assert len(study.reports) == 1
        assert len(pacs.reports_of(study.study_instance_uid)) == 1
    assert daemon.log.count("analyst stopped: signal SIGKILL") == 2


@pytest.mark.slow
def test_images_in_work_together_survive_a_killed_reader_and_a_killed_analyst(
    tmp_path: Path, bundle: Path, pacs: RecordingPacs, database: dict[str, Any]
) -> None:
    changes = {"analyst": {"workers": 4}, **database}
    images = [film(f"together-{number}") for number in range(STUDIES)]
    with RunningDaemon(tmp_path / "node", bundle, pacs.port, changes) as daemon:
        daemon.send(*images)
        wait_until(lambda: "is analysed" in daemon.log, "some work done")
        for reader in children_of(daemon.process_of("analyst")):
            os.kill(reader, signal.SIGKILL)
        kill_after_some_work(daemon)
        wait_until(lambda: len(pacs.of("SR")) == STUDIES, "a report per study", seconds=180)
        with daemon.store() as store:
            studies = [
                store.results.study(read_header(image).study_instance_uid) for image in images
            ]
            assert store.jobs.list(state=JobState.PARKED) == ()
    for study in studies:
        assert [item.state for item in study.instances] == [InstanceState.ANALYSED]
        assert len(study.reports) == 1


def children_of(process: int) -> list[int]:
    """Return the readers of an analyst."""
    threads = Path(f"/proc/{process}/task").iterdir()
    children = [int(child) for task in threads for child in (task / "children").read_text().split()]
    return [
        child for child in children if b"spawn_main" in Path(f"/proc/{child}/cmdline").read_bytes()
    ]


@pytest.mark.slow
def test_killed_listener_and_courier_come_back(daemon: RunningDaemon, pacs: RecordingPacs) -> None:
    daemon.send(film("before"))
    for role in ("listener", "courier"):
        kill_and_await_restart(daemon, role)

    def sent() -> bool:
        try:
            daemon.send(film("after"))
        except AssociationError:
            return False
        return True

    wait_until(sent, "the new listener takes an image")
    wait_until(lambda: len(pacs.of("SR")) == 2, "both reports")


@pytest.mark.slow
def test_pacs_that_was_down_gets_everything(
    tmp_path: Path, bundle: Path, database: dict[str, Any]
) -> None:
    port = free_port()
    images = [film("down-1"), film("down-2")]
    with RunningDaemon(tmp_path / "node", bundle, port, database) as daemon:
        daemon.send(*images)
        wait_until(lambda: "the next try is in" in daemon.log, "a failed delivery")
        with RecordingPacs(tmp_path / "pacs", port) as pacs, daemon.store() as store:
            wait_until(lambda: len(pacs.of("SR")) == len(images), "both reports")
            studies = [
                store.results.study(read_header(image).study_instance_uid) for image in images
            ]
            expected = sum(len(study.instances[0].objects) for study in studies)
            # What was tried while the PACS was down waits longer, so it may come after the reports.
            wait_until(lambda: len(pacs.of("OT")) == expected, "every heatmap")
            assert set(pacs.counts.values()) == {1}


@pytest.mark.slow
def test_sigterm_drains_and_loses_nothing(daemon: RunningDaemon, pacs: RecordingPacs) -> None:
    images = [film(f"draining-{number}") for number in range(4)]
    daemon.send(*images)
    status, _ = daemon.stop()
    assert status == 0
    assert "did not stop in time" not in daemon.log
    with daemon.store() as store:
        assert store.jobs.list(state=JobState.RUNNING) == ()
    daemon.start()
    wait_until(lambda: len(pacs.of("SR")) == len(images), "every report after the restart")
    assert set(pacs.counts.values()) == {1}
