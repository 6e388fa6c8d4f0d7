"""Requests and answers for storage commitment survive killed processes."""

import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from dicom_io.commitment.messages import CommitmentRequest, Reference, build_request
from dicom_io.objects.classes import HEATMAP_CLASS, REPORT_CLASS
from dicom_io.read.header import read_header
from storage.records import JobKind, JobState
from tests.builders.images.films import film
from tests.servers.dicom.commitment_archive import (
    Archive,
    all_committed,
    call_back,
    running_archive,
)
from tests.servers.dicom.commitment_peers import modality_association, send_n_action
from tests.servers.running import RunningDaemon
from tests.tools.ports import HOST
from tests.tools.waiting import wait_until

pytestmark = [pytest.mark.daemon, pytest.mark.network]
CLASSES = (REPORT_CLASS, HEATMAP_CLASS)
STUDIES = 4


def serving(folder: Path, bundle: Path, archive: Archive, modality: Archive) -> RunningDaemon:
    """A daemon between a modality and an archive."""
    changes: dict[str, Any] = {
        "peers": [
            {"name": "sender", "ae_title": "STORESCU", "sends": True, "source": "room"},
            {
                "name": "modality",
                "ae_title": "MODALITY",
                "host": HOST,
                "port": modality.port,
                "sends": True,
                "source": "room",
            },
            {
                "name": "archive",
                "ae_title": "ARCHIVE",
                "host": HOST,
                "port": archive.port,
                "receives": ["report", "heatmap"],
                "commitment": True,
            },
        ],
        # An archive does not repeat an answer that met a killed courier.
        "commitment": {
            "delay_seconds": 0.5,
            "answer_seconds": 5,
            "same_association_seconds": 0.5,
        },
    }
    return RunningDaemon(folder, bundle, 1, changes)


@pytest.fixture
def modality() -> Iterator[Archive]:
    with running_archive(Archive()) as listening:
        yield listening


def await_another_request(archive: Archive) -> None:
    asked = len(archive.requests)
    wait_until(lambda: len(archive.requests) > asked, "another request")


def kill_and_await_restart(daemon: RunningDaemon, role: str) -> None:
    old = daemon.process_of(role)
    daemon.kill(role)
    wait_until(lambda: daemon.process_of(role) != old, f"a new {role}")


def committed(daemon: RunningDaemon) -> int:
    """Return the number of studies with a committed report."""
    with daemon.store() as store:
        return sum(" committed " in row["deliveries"] for row in store.export.rows())


@pytest.mark.slow
def test_a_killed_courier_loses_no_request(tmp_path: Path, bundle: Path, modality: Archive) -> None:
    with (
        running_archive(Archive(on_same_association=True), classes=CLASSES) as archive,
        serving(tmp_path, bundle, archive, modality) as daemon,
    ):
        for number in range(STUDIES):
            daemon.send(film(f"study-{number}"))
        for _ in range(2):
            await_another_request(archive)
            kill_and_await_restart(daemon, "courier")
        wait_until(lambda: committed(daemon) == STUDIES, "every report is committed to")
        with daemon.store() as store:
            wait_until(
                lambda: (
                    {job.state for job in store.jobs.list(kind=JobKind.COMMIT)} == {JobState.DONE}
                ),
                "nothing is left to ask",
            )
        assert len(archive.requests) >= STUDIES


@pytest.mark.slow
def test_answers_and_requests_survive_both_processes(
    tmp_path: Path, bundle: Path, modality: Archive
) -> None:
    image = film("asked for")
    header = read_header(image)
    with (
        running_archive(Archive(), classes=CLASSES) as archive,
        serving(tmp_path, bundle, archive, modality) as daemon,
    ):
        daemon.send(image)
        wait_until(lambda: bool(archive.requests), "the archive is asked")
        kept = Reference(header.sop_class_uid, header.sop_instance_uid)
        inquiry = build_request(CommitmentRequest("2.25.77", (kept,)))
        with modality_association(daemon.port) as association:
            assert send_n_action(association, inquiry) == 0x0000
            daemon.kill("listener")
            kill_and_await_restart(daemon, "courier")
        wait_until(lambda: bool(modality.answers), "the modality is called back")
        wait_until(lambda: daemon.log.count("listener started") == 2, "a new listener")
        wait_until(lambda: answered(daemon, archive), "the archive is heard")
        with daemon.store() as store:
            wait_until(lambda: not store.jobs.list(JobState.RUNNING, JobKind.ANSWER), "settled")
        assert committed(daemon) == 1
    assert modality.answers[0].TransactionUID == "2.25.77"
    assert "FailedSOPSequence" not in modality.answers[0]


def answered(daemon: RunningDaemon, archive: Archive) -> bool:
    """Answer every request to the archive. Return True if the listener accepted the answers."""
    try:
        statuses = [call_back(daemon.port, all_committed(request)) for request in archive.requests]
    except AssertionError:
        time.sleep(0.2)
        return False
    return set(statuses) == {0x0000} and committed(daemon) == 1
