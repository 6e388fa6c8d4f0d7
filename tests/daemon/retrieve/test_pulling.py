"""`cxrd pull` against dcmtk's archive and a running daemon, which is killed meanwhile."""

import json
import random
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from daemon.preflight.peers import check_archive
from dicom_io.read.header import read_header
from dicom_io.send.association import Destination
from storage.records import InstanceState, JobKind, JobState, Priority
from tests.builders.images.films import changed, film
from tests.servers.archives.backfilled import archive_config
from tests.servers.archives.dcmqrscp import fill, running_dcmqrscp
from tests.servers.dicom.pacs import RecordingPacs
from tests.servers.running import RunningDaemon
from tests.tools.ports import PACS, free_port
from tests.tools.waiting import wait_until

pytestmark = [pytest.mark.daemon, pytest.mark.network, pytest.mark.slow]

DAYS = ("20240102", "20240103", "20240104")
STUDIES = 6


def film_of(number: int) -> bytes:
    return changed(
        film(f"S{number}"),
        StudyDate=DAYS[number % 3],
        AccessionNumber=f"A{number}",
        PatientID=f"P{number}",
    )


@pytest.fixture
def archive(tmp_path: Path) -> Iterator[tuple[Destination, int]]:
    """Run an archive of 6 studies that knows a node at the returned port."""
    port = free_port()
    with running_dcmqrscp(tmp_path / "archive", port) as running:
        fill(running, [film_of(number) for number in range(1, STUDIES + 1)])
        yield running, port


def daemon_of(
    archive: tuple[Destination, int], folder: Path, bundle: Path, pacs_port: int, service: str
) -> RunningDaemon:
    running, port = archive
    peer = {
        "name": "archive",
        "ae_title": running.ae_title,
        "host": running.host,
        "port": running.port,
        "sends": True,
        "query": {"retrieve": service, "max_answers": 3},
    }
    pacs = {
        "name": "pacs",
        "ae_title": PACS,
        "host": running.host,
        "port": pacs_port,
        "receives": ["report"],
    }
    changes = {
        "peers": [peer, pacs],
        "listener": {"port": port},
        "pull": {"max_waiting": 3, "max_per_hour": None},
    }
    daemon = RunningDaemon(folder, bundle, pacs_port, changes)
    daemon.port = port
    return daemon


def kill_while_fetching(daemon: RunningDaemon, kills: int, seed: int) -> None:
    """Kill the roles that films pass through, at random times."""
    rng = random.Random(seed)
    for _ in range(kills):
        time.sleep(rng.uniform(0.05, 0.4))
        role = rng.choice(("courier", "courier", "listener", "analyst"))
        starts = daemon.log.count(f"{role} started")
        daemon.kill(role)
        wait_until(
            lambda role=role, starts=starts: daemon.log.count(f"{role} started") > starts,  # type: ignore[misc]
            f"the {role} is started again",
        )


def backfill_with_kills(
    archive: tuple[Destination, int], folder: Path, bundle: Path, service: str, kills: int
) -> None:
    """Order all studies, kill roles, and check that each film is here once and reported once."""
    seed = random.SystemRandom().randrange(10**6)
    print(f"\n  seed {seed}")
    with RecordingPacs(folder / "pacs") as pacs:
        daemon = daemon_of(archive, folder, bundle, pacs.port, service)
        with daemon:
            ordered = daemon.run(
                *("pull", "--from", "archive", "--date", "2024-01-01..2024-01-31"), "--no-wait"
            )
            assert ordered.returncode == 0, ordered.stderr
            assert ordered.stdout == "order 1: 6 study(ies) from archive\n"
            kill_while_fetching(daemon, kills, seed)
            ended = daemon.run("pull", "--from", "archive", "--date", "2024-01-01..2024-01-31")
            assert ended.returncode == 0, ended.stderr
            assert ended.stdout.endswith("order 2: all 6 study(ies) are here\n")
            wait_until(lambda: len(pacs.counts) == STUDIES, "each study is reported")
            with daemon.store() as store:
                jobs = store.jobs.list(kind=JobKind.ANALYSE, limit=None)
                assert len(jobs) == STUDIES
                assert {job.priority for job in jobs} == {Priority.BACKFILL}
                assert {job.state for job in jobs} == {JobState.DONE}
                films = [store.results.instance(int(job.subject)) for job in jobs]
                assert {film.state for film in films} <= {
                    InstanceState.ANALYSED,
                    InstanceState.NOT_ANALYSED,
                }
                assert store.status.job_counts((JobState.PARKED,)) == {}


@pytest.mark.timeout(280)
def test_a_backfill_survives_kills(
    archive: tuple[Destination, int], tmp_path: Path, bundle: Path
) -> None:
    backfill_with_kills(archive, tmp_path / "node", bundle, "move", kills=4)


@pytest.mark.soak
@pytest.mark.timeout(3600)
@pytest.mark.parametrize("service", ["move", "get"])
@pytest.mark.parametrize("turn", range(5))
def test_a_backfill_survives_many_kills(
    turn: int, service: str, archive: tuple[Destination, int], tmp_path: Path, bundle: Path
) -> None:
    backfill_with_kills(archive, tmp_path / f"node{turn}", bundle, service, kills=12)


def test_the_command_finds_lists_and_stops(
    archive: tuple[Destination, int], tmp_path: Path, bundle: Path
) -> None:
    daemon = daemon_of(archive, tmp_path / "node", bundle, free_port(), "move")
    with daemon:
        found = daemon.run("pull", "--from", "archive", "--accession", "A4", "--dry-run", "--json")
        assert found.returncode == 0, found.stderr
        (study,) = json.loads(found.stdout)["studies"]
        assert study["study"] == read_header(film_of(4)).study_instance_uid
        assert (study["accession"], study["date"]) == ("A4", DAYS[1])
        absent = daemon.run("pull", "--from", "archive", "--accession", "A99")
        assert (absent.returncode, absent.stderr) == (1, "cxrd: archive has no such study\n")
        unknown = daemon.run("pull", "--from", "pacs", "--accession", "A4")
        assert unknown.returncode == 1
        assert "'pacs' is no peer that may be queried" in unknown.stderr
        fetched = daemon.run("pull", "--from", "archive", "--patient", "P4", "--now")
        assert fetched.returncode == 0, fetched.stderr
        listed = json.loads(daemon.run("pull", "--list", "--json").stdout)["orders"]
        assert [(one["order"], one["state"], one["studies"]) for one in listed] == [
            (1, "ended", {"done": 1})
        ]
        stopped = daemon.run("pull", "--stop", "1")
        assert stopped.stdout == "order 1 is stopped: 0 study(ies) are not fetched\n"
        with daemon.store() as store:
            kinds = [str(row.kind) for row in store.audit.rows()]
        assert kinds.count("archive_queried") == 3
        assert kinds.count("retrieval_ordered") == kinds.count("retrieval_stopped") == 1


def test_check_says_what_an_archive_offers(
    archive: tuple[Destination, int], tmp_path: Path
) -> None:
    running, port = archive
    said = {}
    for service in ("move", "get", None):
        config = archive_config(running, port, tmp_path, {}, retrieve=service)
        result = check_archive(config, config.peers[0])
        said[service] = (result.word, result.detail)
    assert said["get"] == ("ok", "it answers queries and offers C-GET")
    assert said[None] == ("ok", "it answers queries; nothing is fetched from it")
    word, detail = said["move"]
    assert word == "warning"
    assert f"it must know this node as CXRD at port {port}" in detail
