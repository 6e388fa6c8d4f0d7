"""The running daemon under malformed, repeated and parallel traffic: it keeps working."""

import concurrent.futures
import subprocess
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from dicom_io.read.header import read_header
from storage.records import InstanceState
from tests.builders.images.films import (
    ROOT,
    chest_film,
    chest_values,
    data_set_bytes,
    file_bytes,
    film,
)
from tests.builders.malformed_pdus import conversations, hold
from tests.servers.dicom.raw_peer import CR, EXPLICIT, VERIFICATION, RawPeer, associate_rq
from tests.servers.running import RunningDaemon
from tests.servers.watching import Holdings, deaths, holdings, spooled
from tests.tools.installed import require_tool
from tests.tools.ports import HOST, SENDER
from tests.tools.waiting import wait_until

pytestmark = [pytest.mark.daemon, pytest.mark.network]

FILM = data_set_bytes(file_bytes(chest_film(chest_values(20, 16))))
NO_MORE_SECONDS = 30.0
ALLOWED_GROWTH = 1.05


@pytest.fixture(scope="module")
def daemon(tmp_path_factory: pytest.TempPathFactory, bundle: Path) -> Iterator[RunningDaemon]:
    """One daemon for all attacks, without a destination."""
    receives = {"peers": [{"name": "sender", "ae_title": SENDER, "sends": True}]}
    with RunningDaemon(tmp_path_factory.mktemp("attacked"), bundle, 0, receives) as running:
        yield running


def listener(daemon: RunningDaemon) -> Holdings:
    return holdings(daemon.process_of("listener"))


def await_no_more_than(daemon: RunningDaemon, before: Holdings) -> None:
    """Wait until the threads and files of all connections are closed."""

    def gone() -> bool:
        now = listener(daemon)
        return now.threads <= before.threads and now.files <= before.files

    wait_until(gone, f"threads and files as before: {before}", NO_MORE_SECONDS)


def await_analysis(daemon: RunningDaemon, image: bytes) -> None:
    daemon.send(image)
    uid = read_header(image).study_instance_uid

    def analysed() -> bool:
        with daemon.store() as store:
            return [one.state for one in store.results.study(uid).instances] == [
                InstanceState.ANALYSED
            ]

    wait_until(analysed, "the next good image is analysed")


def malformed(daemon: RunningDaemon, count: int) -> None:
    process = daemon.process_of("listener")
    daemon.send(film("before"))
    before = listener(daemon)
    with concurrent.futures.ThreadPoolExecutor(4) as pool:
        talks = conversations(count, count, f"{ROOT}.9", FILM)
        list(pool.map(lambda talk: hold(talk, daemon.port), talks))
    await_no_more_than(daemon, before)
    await_analysis(daemon, film("after"))
    assert daemon.process_of("listener") == process
    assert deaths(daemon) == []
    with daemon.store() as store:
        stuck = [job for job in store.jobs.list(limit=None) if job.attempts > 1]
    assert stuck == []


def test_malformed_pdus_do_no_harm(daemon: RunningDaemon) -> None:
    malformed(daemon, 120)


@pytest.mark.soak
@pytest.mark.timeout(1200)
def test_two_thousand_malformed_pdus_do_no_harm(daemon: RunningDaemon) -> None:
    malformed(daemon, 2000)
    cut = daemon.log.count("cut short")
    print(f"\n2000 malformed conversations: {cut} cut short by the listener, 0 crashes")


def in_parallel(daemon: RunningDaemon, folder: Path, senders: int, each: int) -> float:
    """Send from parallel processes. Return the seconds until the last analysis."""
    command = [require_tool("storescu"), "-aet", SENDER, "-aec", "CXRD", HOST, str(daemon.port)]
    batches = []
    for sender in range(senders):
        files = [folder / f"{sender}-{number}.dcm" for number in range(each)]
        for number, path in enumerate(files):
            path.write_bytes(film(f"of {senders}: {sender}-{number}"))
        batches.append(files)
    done = daemon.log.count("is analysed")
    started = time.monotonic()
    running = [subprocess.Popen([*command, *map(str, files)]) for files in batches]
    assert [process.wait(600) for process in running] == [0] * senders
    wait_until(
        lambda: daemon.log.count("is analysed") >= done + senders * each,
        "every acknowledged image is analysed",
        seconds=3000,
    )
    seconds = time.monotonic() - started
    with daemon.store() as store:
        for path in folder.glob("*.dcm"):
            study = store.results.study(read_header(path).study_instance_uid)
            assert [instance.state for instance in study.instances] == [InstanceState.ANALYSED]
    assert deaths(daemon) == []
    return seconds


@pytest.mark.slow
def test_parallel_senders(daemon: RunningDaemon, tmp_path: Path) -> None:
    in_parallel(daemon, tmp_path, senders=8, each=2)


@pytest.mark.soak
@pytest.mark.timeout(3600)
def test_sixty_four_parallel_senders(daemon: RunningDaemon, tmp_path: Path) -> None:
    seconds = in_parallel(daemon, tmp_path, senders=64, each=20)
    print(f"\n64 senders x 20 images: 1280 of 1280 analysed, {seconds:.0f} s after the first byte")


def stored_of(daemon: RunningDaemon, image: bytes) -> tuple[int, int]:
    """Return the numbers of an image's revisions and of their ANALYSE jobs."""
    with daemon.store() as store:
        study = store.results.study(read_header(image).study_instance_uid)
        numbers = {str(instance.id) for instance in study.instances}
        jobs = [job for job in store.jobs.list(limit=None) if job.kind == "analyse"]
    return len(study.instances), len([job for job in jobs if job.subject in numbers])


def test_the_same_object_on_sixteen_associations_is_kept_once(daemon: RunningDaemon) -> None:
    image, other = film("same"), film("same", seed=2)
    together = threading.Barrier(16)

    def send(data: bytes) -> None:
        together.wait(60)
        daemon.send(data)

    with concurrent.futures.ThreadPoolExecutor(16) as pool:
        list(pool.map(send, [image] * 16))
    wait_until(lambda: has_a_file_for_each_row(daemon), "each file has a row")
    assert stored_of(daemon, image) == (1, 1)
    with concurrent.futures.ThreadPoolExecutor(16) as pool:
        list(pool.map(send, [image, other] * 8))
    wait_until(lambda: has_a_file_for_each_row(daemon), "each file has a row")
    assert stored_of(daemon, image) == (2, 2)
    assert deaths(daemon) == []


def has_a_file_for_each_row(daemon: RunningDaemon) -> bool:
    files = [name for name in spooled(daemon) if name.startswith(("received/", "tmp/"))]
    with daemon.store() as store:
        return len(files) == sum(store.status.instance_counts().values())


def visits(daemon: RunningDaemon, count: int) -> None:
    """Open `count` associations with an echo, and as many connections without data."""
    request = associate_rq(contexts=[(1, VERIFICATION, [EXPLICIT]), (3, CR, [EXPLICIT])])

    def visit(_: int) -> None:
        with RawPeer(daemon.port) as peer:
            assert peer.associate(request).echo() == 0
        RawPeer(daemon.port).socket.close()

    with concurrent.futures.ThreadPoolExecutor(8) as pool:
        list(pool.map(visit, range(count)))


def grown(daemon: RunningDaemon, warm_up: int, count: int) -> float:
    """Return the growth of the listener's memory after `count` associations and probes."""
    visits(daemon, warm_up)
    time.sleep(1)
    before = listener(daemon)
    visits(daemon, count)
    await_no_more_than(daemon, before)
    assert deaths(daemon) == []
    return listener(daemon).resident / before.resident


@pytest.mark.slow
def test_associations_and_probes_leak_nothing(daemon: RunningDaemon) -> None:
    assert grown(daemon, 100, 200) < ALLOWED_GROWTH


@pytest.mark.soak
@pytest.mark.timeout(1200)
def test_two_thousand_associations_and_probes_leak_nothing(daemon: RunningDaemon) -> None:
    ratio = grown(daemon, 300, 2000)
    print(f"\n2000 associations and 2000 probes: the listener's memory is {ratio:.3f} of before")
    assert ratio < ALLOWED_GROWTH
