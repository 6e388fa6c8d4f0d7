"""The sweep removes orphans and no other file, also while other processes use the spool."""

import dataclasses
import multiprocessing
import signal
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from storage.errors import StoreUnavailableError
from storage.files.durable import storage_errors
from storage.files.folder_spool import FolderSpool
from storage.files.spool import LOST_AND_FOUND, OBJECTS, RECEIVED, object_path, received_path
from storage.hosts.leases import LeaseName
from storage.orphans import Sweep, Swept
from storage.records import JobKind
from storage.store import Store
from tests.builders.store_rows import analysis, claim, made_object, new_instance, receive
from tests.tools.clock import Clock


def no_pause(_seconds: float) -> bool:
    return False


def sweep(spool: FolderSpool, store: Store) -> Swept:
    return Sweep(spool, store, no_pause).run()


def in_area(spool: FolderSpool, area: str) -> list[str]:
    return [path for batch in spool.batches(area) for path in batch]


def keep(spool: FolderSpool, store: Store, name: str) -> str:
    """Write a received file with its row."""
    stored = spool.write(received_path("1.2", name, "first"), name.encode())
    store.record_instance(new_instance(f"1.{name}", name, spool_path=stored.path), 0)
    return stored.path


def leave(spool: FolderSpool, name: str) -> str:
    """Write a received file without a row, as a killed writer leaves it."""
    return spool.write(received_path("1.2", name, "killed"), name.encode()).path


def test_received_files_without_a_row_are_set_aside(spool: FolderSpool, store: Store) -> None:
    kept = {keep(spool, store, str(number)) for number in range(5)}
    left = [leave(spool, f"left-{number}") for number in range(5)]

    assert sweep(spool, store).set_aside == len(left)
    assert set(in_area(spool, RECEIVED)) == kept
    aside = {Path(path).name for path in in_area(spool, LOST_AND_FOUND)}
    assert aside == {Path(path).name for path in left}


def test_a_file_set_aside_is_deleted_when_the_same_bytes_have_a_row(
    spool: FolderSpool, store: Store
) -> None:
    leave(spool, "again")
    assert sweep(spool, store) == Swept(set_aside=1, waiting=1)

    kept = keep(spool, store, "again")
    spool.write(kept, b"damaged")
    assert sweep(spool, store) == Swept(waiting=1)
    spool.write(kept, b"again")
    assert sweep(spool, store) == Swept(duplicates=1)
    assert in_area(spool, LOST_AND_FOUND) == []


def test_objects_without_a_row_are_deleted_and_objects_of_an_earlier_model_stay(
    spool: FolderSpool, store: Store, clock: Clock
) -> None:
    (number,) = receive(store, "1.1")
    for name in ("2.1", "2.2", "2.3"):
        spool.write(object_path(name, b"object"), b"object")
    for name in ("2.1", "2.2"):
        made = dataclasses.replace(made_object(name), spool_path=object_path(name, b"object"))
        job = claim(store, JobKind.ANALYSE)
        store.results.record_analysis(job, number, analysis(clock.now, objects=[made]))
        store.jobs.enqueue(JobKind.ANALYSE, str(number))

    assert sweep(spool, store).objects == 1
    assert set(in_area(spool, OBJECTS)) == {object_path(name, b"object") for name in ("2.1", "2.2")}


def test_a_file_is_not_swept_while_its_writer_holds_the_folder(
    spool: FolderSpool, store: Store
) -> None:
    path = received_path("1.2", "3", "now")
    with spool.folders_held(path):
        spool.write(path, b"3")
        assert sweep(spool, store) == Swept(busy=1)
        store.record_instance(new_instance("1.3", "3", spool_path=path), 0)
    assert sweep(spool, store) == Swept()
    assert spool.path(path).read_bytes() == b"3"


def test_an_object_written_again_during_its_deletion_stays(
    spool: FolderSpool, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = object_path("2.1", b"object")
    spool.write(path, b"object")
    receive(store, "1.1")
    unreferenced = store.unreferenced
    began = threading.Event()

    def write_again() -> None:
        with spool.folders_held(path):
            began.set()
            spool.write(path, b"object")

    def query(paths: tuple[str, ...], *, wait_for_writers: bool = False) -> tuple[str, ...]:
        found = unreferenced(paths, wait_for_writers=wait_for_writers)
        if wait_for_writers:
            writer.submit(write_again)
            assert not began.wait(0.2), "the writer waits for the sweep"
        return found

    monkeypatch.setattr(store, "unreferenced", query)
    with ThreadPoolExecutor(1) as writer:
        assert sweep(spool, store).objects == 1
    assert spool.path(path).read_bytes() == b"object"


_RECORDER = """
import sys, time
from pathlib import Path
from storage.files.folder_spool import FolderSpool
spool = FolderSpool(Path(sys.argv[1]))
with spool.folders_held(sys.argv[2]):
    spool.write(sys.argv[2], b"x")
    print("written", flush=True)
    time.sleep(60)
"""


def test_files_of_a_running_writer_stay_and_files_of_a_killed_writer_are_swept(
    spool: FolderSpool, store: Store, tmp_path: Path
) -> None:
    path = received_path("1.2", "x", "killed")
    command = [sys.executable, "-c", _RECORDER, str(tmp_path / "spool"), path]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as recorder:
        assert recorder.stdout is not None
        assert recorder.stdout.readline() == "written\n"
        while_alive = sweep(spool, store)
        recorder.send_signal(signal.SIGKILL)

    assert while_alive == Swept(busy=1)
    assert sweep(spool, store).set_aside == 1


def _receive_many(url: str, root: Path, worker: int, count: int) -> None:
    spool = FolderSpool(root)
    with Store.open(url, migrate=False) as store:
        for number in range(count):
            name = f"{worker}.{number}"
            path = received_path("1.2", name, "only")
            with spool.folders_held(path):
                spool.write(path, name.encode())
                store.record_instance(new_instance(f"1.{name}", name, spool_path=path), 0)


@pytest.mark.slow
def test_sweeps_during_reception_take_no_file(
    spool: FolderSpool, store: Store, database_url: str, tmp_path: Path
) -> None:
    spawn = multiprocessing.get_context("spawn")
    count = 40
    workers = [
        spawn.Process(target=_receive_many, args=(database_url, tmp_path / "spool", number, count))
        for number in range(2)
    ]
    for worker in workers:
        worker.start()
    sweeps, taken = 0, 0
    while any(worker.is_alive() for worker in workers):
        taken += sweep(spool, store).set_aside
        sweeps += 1
    assert [worker.exitcode for worker in workers] == [0, 0]
    assert sweeps > 1
    assert taken == 0
    assert len(in_area(spool, RECEIVED)) == 2 * count
    assert store.unreferenced(in_area(spool, RECEIVED)) == ()


def test_a_batch_holds_files_of_one_folder(spool: FolderSpool) -> None:
    for folder in ("aa", "bb"):
        for number in range(4):
            spool.write(f"{RECEIVED}/{folder}/{number}", b"x")

    batches = list(spool.batches(RECEIVED, batch_files=3))

    assert [len(batch) for batch in batches] == [3, 1, 3, 1]
    folders = [{Path(path).parent.name for path in batch} for batch in batches]
    assert folders == [{"aa"}, {"aa"}, {"bb"}, {"bb"}]
    assert list(spool.batches(OBJECTS)) == []


def test_a_sweep_stops_on_request(spool: FolderSpool, store: Store) -> None:
    for number in range(3):
        leave(spool, f"left-{number}")

    assert Sweep(spool, store, lambda _: True).run().set_aside == 1


def test_a_file_deleted_by_its_writer_is_skipped(
    spool: FolderSpool, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    gone, left = leave(spool, "gone"), leave(spool, "left")
    unreferenced = store.unreferenced

    def query(paths: tuple[str, ...], *, wait_for_writers: bool = False) -> tuple[str, ...]:
        found = unreferenced(paths, wait_for_writers=wait_for_writers)
        if wait_for_writers:
            spool.delete(gone)
        return found

    monkeypatch.setattr(store, "unreferenced", query)
    assert sweep(spool, store) == Swept(set_aside=1, waiting=1)
    assert [Path(path).name for path in in_area(spool, LOST_AND_FOUND)] == [Path(left).name]


def test_a_missing_or_unreadable_file_set_aside_is_skipped(
    spool: FolderSpool, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    names = ("gone", "unreadable", "again")
    gone, unreadable, _ = (f"{LOST_AND_FOUND}/{Path(leave(spool, name)).name}" for name in names)
    assert sweep(spool, store).set_aside == 3
    keep(spool, store, "again")
    digest = spool.digest

    def read(path: str) -> str:
        if path == gone:
            spool.delete(gone)
        if path == unreadable:
            with storage_errors(spool.path(path)):
                raise PermissionError
        return digest(path)

    monkeypatch.setattr(spool, "digest", read)
    assert sweep(spool, store) == Swept(duplicates=1, waiting=1)


def test_a_failed_batch_is_reported_and_the_next_batches_are_swept(
    spool: FolderSpool, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    left = [leave(spool, f"left-{number}") for number in range(5)]
    unreferenced = store.unreferenced
    asked: list[str] = []

    def query(paths: tuple[str, ...], *, wait_for_writers: bool = False) -> tuple[str, ...]:
        asked.extend(paths)
        if len(asked) == len(paths):
            raise StoreUnavailableError("no answer")
        return unreferenced(paths, wait_for_writers=wait_for_writers)

    monkeypatch.setattr(store, "unreferenced", query)
    done = sweep(spool, store)
    assert (done.failed_batches, done.failure) == (1, "no answer")
    assert 0 < done.set_aside < len(left)


def test_no_file_is_deleted_during_a_backup(spool: FolderSpool, store: Store) -> None:
    path = object_path("2.1", b"object")
    leave(spool, "again")
    sweep(spool, store)
    spool.write(path, b"object")
    keep(spool, store, "again")
    with store.leases.hold(LeaseName.FILES, 0):
        during_backup = Sweep(spool, store, no_pause, max_tries=2).run()
    assert during_backup == Swept(busy=1, waiting=1)
    assert sweep(spool, store) == Swept(objects=1, duplicates=1)
