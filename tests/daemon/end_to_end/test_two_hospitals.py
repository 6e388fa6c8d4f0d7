"""Two hospitals that send and receive: neither gets an object of the other one."""

import random
from pathlib import Path
from typing import Any

import pytest

from dicom_io.read.header import read_dataset, read_header
from storage.records import JobState
from tests.builders.images.films import film
from tests.daemon.conftest import database_keys
from tests.servers.dicom.pacs import RecordingPacs
from tests.servers.running import RunningDaemon
from tests.tools.ports import HOST
from tests.tools.waiting import wait_until

pytestmark = [pytest.mark.daemon, pytest.mark.network]

NORTH, SOUTH, SOUTH_ER = "NORTH_PACS", "SOUTH_PACS", "SOUTH_ER"
HOSPITALS = {NORTH: NORTH, SOUTH: SOUTH, SOUTH_ER: SOUTH}
"""The PACS of each sender."""


def peers(north: int, south: int) -> list[dict[str, object]]:
    """Return two PACS at these ports, and a sender of the southern one."""
    receives = ["report", "heatmap"]
    return [
        {"name": "north", "ae_title": NORTH, "host": HOST, "port": north, "sends": True}
        | {"receives": receives},
        {"name": "south", "ae_title": SOUTH, "host": HOST, "port": south, "sends": True}
        | {"receives": receives},
        {"name": "south-er", "ae_title": SOUTH_ER, "sends": True, "source": "south"},
    ]


def patient_of(path: Path) -> str:
    return str(read_dataset(path, with_pixels=False).PatientID)


@pytest.fixture
def database(request: pytest.FixtureRequest) -> dict[str, Any]:
    """The keys of the configuration that name the store."""
    return database_keys(request)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("count", "database"),
    [(2, "sqlite"), (20, "sqlite"), (2, "postgresql")],
    indirect=["database"],
)
def test_no_object_arrives_at_the_other_hospital(
    tmp_path: Path, bundle: Path, count: int, database: dict[str, Any]
) -> None:
    """Every third study of a hospital has the UIDs of a study of the other one."""
    sent = []
    for number in range(count):
        sent += [(title, number % 3 == 0, number) for title in (NORTH, SOUTH)]
    sent.append((SOUTH_ER, False, 0))
    random.Random(1).shuffle(sent)
    with (
        RecordingPacs(tmp_path / "north", ae_title=NORTH) as north,
        RecordingPacs(tmp_path / "south", ae_title=SOUTH) as south,
    ):
        changes = {"peers": peers(north.port, south.port), **database}
        with RunningDaemon(tmp_path / "node", bundle, 0, changes) as daemon:
            patients: dict[str, dict[str, str]] = {NORTH: {}, SOUTH: {}}
            for title, is_shared, number in sent:
                patient = f"{title}-{number}"
                study = f"{'shared' if is_shared else title}-{number}"
                image = film(study, patient_id=patient)
                daemon.send(image, ae_title=title)
                patients[HOSPITALS[title]][patient] = read_header(image).study_instance_uid
            wait_until(
                lambda: (
                    len(north.of("SR")) >= count
                    and len(south.of("SR")) > count
                    and not _waiting(daemon)
                ),
                "every report",
                60 + 5 * len(sent),
            )
    for pacs, title in ((north, NORTH), (south, SOUTH)):
        reports = {patient_of(path): pacs.studies[path.stem] for path in pacs.of("SR")}
        assert reports == patients[title]
        heatmaps = pacs.of("OT")
        assert heatmaps
        assert {patient_of(path) for path in heatmaps} <= patients[title].keys()
        assert set(pacs.counts.values()) == {1}


def _waiting(daemon: RunningDaemon) -> bool:
    with daemon.store() as store:
        assert store.jobs.list(state=JobState.PARKED) == ()
        return bool(
            store.jobs.list(state=JobState.QUEUED) or store.jobs.list(state=JobState.RUNNING)
        )
