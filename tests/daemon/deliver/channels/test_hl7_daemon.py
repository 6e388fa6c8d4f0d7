"""The running daemon between a sender, a registration system and an HL7 receiver."""

import socket
from functools import partial
from pathlib import Path
from typing import Any

import hl7
import pytest
from hl7.client import MLLPClient

from dicom_io.read.header import read_header
from storage.audit.records import AuditRow
from storage.records import JobKind, JobState
from tests.builders.images.films import film
from tests.daemon.hl7.messages import MERGE, UPDATE, adt
from tests.faults.points import FORKS
from tests.servers.plain.mllp_receiver import MllpReceiver
from tests.servers.plain.scripted_mllp import framed
from tests.servers.running import RunningDaemon
from tests.tools.ports import HOST, SENDER, free_port
from tests.tools.waiting import wait_until

pytestmark = [pytest.mark.daemon, pytest.mark.network]

COUNTS = [pytest.param(2, marks=pytest.mark.slow), pytest.param(20, marks=pytest.mark.soak)]


class QuickDaemon(RunningDaemon):
    """A daemon that restarts a dead role after one second every time."""

    module = "tests.faults.serve"
    options = ("--only", "listener,analyst,courier")
    variables = {FORKS: "1"}  # noqa: RUF012


def serving(folder: Path, bundle: Path, receiver: MllpReceiver, adt_port: int) -> QuickDaemon:
    destination = {
        "name": "ris",
        "kind": "hl7",
        "host": HOST,
        "port": receiver.port,
        "receives": ["report"],
        "receiving_application": "RIS",
        "result_status": "F",
    }
    feed = {
        "port": adt_port,
        "senders": [{"name": "adt", "hosts": [HOST], "sources": ["sender"]}],
    }
    peers = [{"name": "sender", "ae_title": SENDER, "sends": True}]
    changes = {"peers": peers, "destinations": [destination], "hl7": feed}
    return QuickDaemon(folder, bundle, 1, changes)


class Killer:
    """Kills a role when a message arrives first, and when it is acknowledged first."""

    def __init__(self, daemon: RunningDaemon) -> None:
        self.daemon = daemon
        self.kills: set[tuple[str, str]] = set()

    def arrived(self, control_id: str) -> None:
        self._kill("arrived", control_id)

    def acknowledged(self, control_id: str) -> None:
        self._kill("acknowledged", control_id)

    def _kill(self, moment: str, control_id: str) -> None:
        if (moment, control_id) not in self.kills:
            self.kills.add((moment, control_id))
            self.daemon.kill("courier")


def states(daemon: RunningDaemon) -> list[JobState]:
    with daemon.store() as store:
        return [job.state for job in store.jobs.list(kind=JobKind.DELIVER)]


def rows_of(daemon: RunningDaemon, kind: str) -> list[AuditRow]:
    with daemon.store() as store:
        return [row for row in store.audit.rows() if row.kind == kind]


def value(message: bytes, key: str) -> str:
    return str(hl7.parse(message, encoding="utf-8")[key])


def answer_to(port: int, message: bytes) -> Any:
    """Send a message by the client of python-hl7 and return the answer as that library reads it."""
    with MLLPClient(HOST, port) as client:
        return hl7.parse(client.send_message(message).strip(b"\x0b\x1c\r"))


@pytest.mark.parametrize("studies", COUNTS)
def test_a_killed_courier_repeats_the_message_and_the_receiver_files_it_once(
    tmp_path: Path, bundle: Path, studies: int
) -> None:
    with MllpReceiver() as receiver, serving(tmp_path, bundle, receiver, free_port()) as daemon:
        killer = Killer(daemon)
        receiver.arrived, receiver.acknowledged = killer.arrived, killer.acknowledged
        images = [film(f"study-{number}") for number in range(studies)]
        for image in images:
            daemon.send(image)
        wait_until(
            lambda: states(daemon) == [JobState.DONE] * studies,
            "every result is delivered",
            30 * studies,
        )
        assert len(killer.kills) == 2 * studies
    assert len(receiver.results) == studies
    assert all(times >= 2 for times in receiver.times.values())
    assert receiver.times.total() >= 2 * studies
    patients = {value(message, "PID.F3.R1.C1") for message in receiver.results.values()}
    assert patients == {read_header(image).patient_id for image in images}


@pytest.mark.slow
def test_a_merge_of_patients_is_followed_by_a_corrected_result(
    tmp_path: Path, bundle: Path
) -> None:
    port = free_port()
    image = film("merged")
    prior = read_header(image).patient_id
    with MllpReceiver() as receiver, serving(tmp_path, bundle, receiver, port) as daemon:
        checked = daemon.run("check")
        assert f"HL7 (MLLP) at {HOST}:{port}" in checked.stdout
        assert "no message is sent to test it" in checked.stdout
        daemon.send(image)
        wait_until(lambda: states(daemon) == [JobState.DONE], "the first result is delivered")
        (first,) = receiver.results.values()
        assert value(first, "PID.F3.R1.C1") == prior
        assert value(first, "OBR.F25") == "F"
        message = adt(*MERGE, PID_3="NEW-1", MRG_1=prior, PID_5="Roe^Jane")
        answers = [answer_to(port, message) for _ in range(2)]
        assert [str(one["MSA.F1"]) for one in answers] == ["AA", "AA"]
        assert [str(one["MSA.F3"]) for one in answers] == ["applied", "applied before"]
        wait_until(lambda: states(daemon) == [JobState.DONE] * 2, "the second is delivered")
        (second,) = [one for one in receiver.results.values() if one != first]
        refused = answer_to(port, adt(*UPDATE, PID_3=""))
        assert str(refused["MSA.F1"]) == "AE"
        wait_until(lambda: len(rows_of(daemon, "message_refused")) == 1, "the row is written")
        changes = rows_of(daemon, "patient_changed")
        log = daemon.log
    assert value(second, "PID.F3.R1.C1") == "NEW-1"
    assert value(second, "PID.F5.R1.C1") == "Roe"
    assert value(second, "OBR.F25") == "C"
    assert value(first, "OBX.F5") in second.decode()
    own = first.decode().split("^SR Instance UID||")[1].split("|")[0]
    assert f"|^Predecessor SR Instance UID||{own}|" in second.decode()
    assert len(changes) == 2
    assert "an HL7 message from 127.0.0.1 is refused: AE 101 at PID-3" in log
    for word in (prior, "NEW-1", "Roe"):
        assert word not in log


@pytest.mark.parametrize("messages", COUNTS)
def test_a_killed_listener_loses_no_change_and_makes_none_twice(
    tmp_path: Path, bundle: Path, messages: int
) -> None:
    """The listener is killed while it has a message; the sender repeats what has no answer."""
    port = free_port()
    image = film("changed")
    patient = read_header(image).patient_id
    with MllpReceiver() as receiver, serving(tmp_path, bundle, receiver, port) as daemon:
        daemon.send(image)
        wait_until(lambda: states(daemon) == [JobState.DONE], "the first result is delivered")
        for number in range(messages):
            message = adt(
                *UPDATE,
                MSH_10=f"C{number}",
                PID_3=patient,
                PID_5=f"Roe{number}^Jane",
                EVN_6=f"2026112710{number:02}00+0000",
            )
            send_and_kill(daemon, port, message, after_answer=number % 2 == 1)
            wait_until(partial(is_accepted, port, message), "it is answered")
        rows = rows_of(daemon, "patient_changed")
        with daemon.store() as store:
            (kept,) = store.results.study(read_header(image).study_instance_uid).instances
    assert kept.patient_name == f"Roe{messages - 1}^Jane"
    of_studies = [row for row in rows if "study=" in row.subject]
    assert len(of_studies) == len(rows) - len(of_studies) == messages


def send_and_kill(daemon: RunningDaemon, port: int, message: bytes, *, after_answer: bool) -> None:
    """Send a message; kill the listener before or after its answer is read."""
    with socket.create_connection((HOST, port), 20) as connection:
        connection.sendall(framed(message))
        if after_answer:
            assert b"MSA|AA" in connection.recv(4096)
        daemon.kill("listener")


def is_accepted(port: int, message: bytes) -> bool:
    try:
        return str(answer_to(port, message)["MSA.F1"]) == "AA"
    except (OSError, hl7.ParseException):
        return False
