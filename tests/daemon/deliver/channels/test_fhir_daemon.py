"""The running daemon between a sender and a FHIR server, with a courier that is killed."""

from pathlib import Path
from typing import Any

import pytest

from dicom_io.read.header import read_header
from storage.records import JobKind, JobState
from tests.builders.images.films import film
from tests.faults.points import FORKS
from tests.servers.plain.fhir_server import TOKEN, FhirServer, Resource, fhir_server
from tests.servers.running import RunningDaemon
from tests.tools.ports import SENDER
from tests.tools.waiting import wait_until

pytestmark = [pytest.mark.daemon, pytest.mark.network]


class QuickDaemon(RunningDaemon):
    """A daemon that restarts a dead courier after one second every time."""

    module = "tests.faults.serve"
    options = ("--only", "listener,analyst,courier")
    variables = {FORKS: "1"}  # noqa: RUF012


def serving(folder: Path, bundle: Path, server: FhirServer, **keys: Any) -> QuickDaemon:
    destination = {
        "name": "ehr",
        "kind": "fhir",
        "url": server.url,
        "allow_http": True,
        "token": TOKEN,
        "version": "R5",
        "receives": ["report"],
        **keys,
    }
    peers = [{"name": "sender", "ae_title": SENDER, "sends": True}]
    return QuickDaemon(folder, bundle, 1, {"peers": peers, "destinations": [destination]})


class Killer:
    """Kills the courier when a report arrives first, and when it is committed first."""

    def __init__(self, daemon: RunningDaemon) -> None:
        self.daemon = daemon
        self.kills: set[tuple[str, str]] = set()

    def arrived(self, bundle: Resource) -> None:
        self._kill("arrived", bundle)

    def committed(self, bundle: Resource) -> None:
        self._kill("committed", bundle)

    def _kill(self, moment: str, bundle: Resource) -> None:
        kill = moment, bundle["entry"][-1]["fullUrl"]
        if kill not in self.kills:
            self.kills.add(kill)
            self.daemon.kill("courier")


def states(daemon: RunningDaemon) -> list[JobState]:
    with daemon.store() as store:
        return [job.state for job in store.jobs.list(kind=JobKind.DELIVER)]


@pytest.mark.parametrize(
    "studies", [pytest.param(2, marks=pytest.mark.slow), pytest.param(20, marks=pytest.mark.soak)]
)
def test_a_killed_courier_makes_one_set_of_resources(
    tmp_path: Path, bundle: Path, studies: int
) -> None:
    with fhir_server() as server, serving(tmp_path, bundle, server) as daemon:
        killer = Killer(daemon)
        server.arrived, server.committed = killer.arrived, killer.committed
        images = [film(f"study-{number}", heart_failure=True) for number in range(studies)]
        for image in images:
            daemon.send(image)
        wait_until(
            lambda: states(daemon) == [JobState.DONE] * studies,
            "every report is there",
            30 * studies,
        )
        assert len(killer.kills) == 2 * studies
        with daemon.store() as store:
            (delivery, *_) = store.jobs.list(kind=JobKind.DELIVER)
            kept = store.results.delivery(delivery).object.sop_instance_uid
        studies_named = {
            one["study"][0]["identifier"]["value"].removeprefix("urn:oid:")
            for one in server.of("DiagnosticReport")
        }
    assert studies_named == {read_header(image).study_instance_uid for image in images}
    assert server.counts()["DiagnosticReport"] == studies
    assert server.counts()["Observation"] == 14 * studies
    assert server.counts()["Device"] == 1
    uids = {one["identifier"][1]["value"] for one in server.of("DiagnosticReport")}
    assert f"urn:oid:{kept}" in uids
    for kind in server.counts():
        names = [one["identifier"][0]["value"] for one in server.of(kind)]
        assert len(set(names)) == len(names)


@pytest.mark.slow
def test_a_patient_who_is_registered_later(tmp_path: Path, bundle: Path) -> None:
    """The report is parked with the reason; after the registration a retry delivers it."""
    image = film("unknown patient")
    system = "https://hospital.example/mrn"
    with (
        fhir_server() as server,
        serving(tmp_path, bundle, server, patient_system=system) as daemon,
    ):
        daemon.send(image)
        wait_until(lambda: states(daemon) == [JobState.PARKED], "the report is parked")
        with daemon.store() as store:
            [job] = store.jobs.list(kind=JobKind.DELIVER)
            patient = read_header(image).patient_id
            assert "refuses the report (HTTP 400): 0 resources match" in (job.last_error or "")
            assert patient not in (job.last_error or "")
            assert "resources match" not in daemon.log
            server.add_patient(system, patient)
            store.jobs.retry(job.id)
        wait_until(lambda: states(daemon) == [JobState.DONE], "the report is delivered")
        checked = daemon.run("check")
    assert "runs FHIR 5.0.0 (test server) and takes transactions" in checked.stdout
    assert {one["subject"]["reference"] for one in server.of("Observation")} == {
        "Patient/patient-1"
    }
