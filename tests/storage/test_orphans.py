"""Files that no row names are cleared away, and nothing else, whoever works with the spool."""

import dataclasses
import multiprocessing
import signal
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from storage import orphans as sweep_module
from storage.errors import StoreUnavailableError
from storage.files import spool as spool_module
from storage.files.durable import os_errors_named
from storage.files.lock import turn
from storage.files.spool import LOST_AND_FOUND, OBJECTS, RECEIVED, Spool, object_path, received_path
from storage.orphans import Sweep, Swept
from storage.records import JobKind
from storage.store import Store
from tests.builders.store_rows import analysis, claim, made_object, new_instance, receive
from tests.tools.clock import Clock


def no_pause(_seconds: float) -> bool:
    return False


@pytest.fixture
def spool(tmp_path: Path) -> Spool:
    return Spool(tmp_path / "spool")


def lock_of(spool: Spool) -> Path:
    return spool.path("tmp").parent.with_name("maintenance.lock")


def swept(spool: Spool, store: Store) -> Swept:
    return Sweep(spool, store, lock_of(spool), no_pause).run()


def in_area(spool: Spool, area: str) -> list[str]:
    return [path for batch in spool.listed(area) for path in batch]


def keep(spool: Spool, store: Store, name: str) -> str:
    """A received file with its row."""
    stored = spool.write(received_path("1.2", name, "first"), name.encode())
    store.record_instance(new_instance(f"1.{name}", name, spool_path=stored.path), 0)
    return stored.path


def leave(spool: Spool, name: str) -> str:
    """A received file whose writer was killed before its row was there."""
    return spool.write(received_path("1.2", name, "killed"), name.encode()).path


def test_received_files_without_a_row_are_set_aside_and_others_stay(
    spool: Spool, store: Store
) -> None:
    kept = {keep(spool, store, str(number)) for number in range(5)}
    left = [leave(spool, f"left-{number}") for number in range(5)]

    assert swept(spool, store).set_aside == len(left)
    assert set(in_area(spool, RECEIVED)) == kept
    aside = {Path(path).name for path in in_area(spool, LOST_AND_FOUND)}
    assert aside == {Path(path).name for path in left}


def test_what_was_set_aside_goes_once_the_same_bytes_are_kept(spool: Spool, store: Store) -> None:
    leave(spool, "again")
    assert swept(spool, store) == Swept(set_aside=1, waiting=1)

    kept = keep(spool, store, "again")
    spool.write(kept, b"damaged")
    assert swept(spool, store) == Swept(waiting=1)
    spool.write(kept, b"again")
    assert swept(spool, store) == Swept(kept_elsewhere=1)
    assert in_area(spool, LOST_AND_FOUND) == []


def test_objects_without_a_row_are_deleted_and_those_of_an_earlier_model_stay(
    spool: Spool, store: Store, clock: Clock
) -> None:
    (number,) = receive(store, "1.1")
    for name in ("2.1", "2.2", "2.3"):
        spool.write(object_path(name, b"object"), b"object")
    for name in ("2.1", "2.2"):
        made = dataclasses.replace(made_object(name), spool_path=object_path(name, b"object"))
        job = claim(store, JobKind.ANALYSE)
        store.results.record_analysis(job, number, analysis(clock.now, objects=[made]))
        store.jobs.enqueue(JobKind.ANALYSE, str(number))

    assert swept(spool, store).unnamed == 1
    assert set(in_area(spool, OBJECTS)) == {object_path(name, b"object") for name in ("2.1", "2.2")}


def test_a_file_is_left_alone_from_before_it_is_written_until_its_row_is_there(
    spool: Spool, store: Store
) -> None:
    path = received_path("1.2", "3", "now")
    with spool.recording(path):
        spool.write(path, b"3")
        assert swept(spool, store) == Swept(busy=1)
        store.record_instance(new_instance("1.3", "3", spool_path=path), 0)
    assert swept(spool, store) == Swept()
    assert spool.read(path) == b"3"


def test_an_object_made_again_while_the_sweep_takes_the_old_file_stays(
    spool: Spool, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = object_path("2.1", b"object")
    spool.write(path, b"object")
    receive(store, "1.1")
    unnamed = store.unnamed
    began = threading.Event()

    def write_again() -> None:
        with spool.recording(path):
            began.set()
            spool.write(path, b"object")

    def look(paths: tuple[str, ...], *, settled: bool = False) -> tuple[str, ...]:
        found = unnamed(paths, settled=settled)
        if settled:
            writer.submit(write_again)
            assert not began.wait(0.2), "the writer waits for the sweep"
        return found

    monkeypatch.setattr(store, "unnamed", look)
    with ThreadPoolExecutor(1) as writer:
        assert swept(spool, store).unnamed == 1
    assert spool.read(path) == b"object"


_RECORDER = """
import sys, time
from pathlib import Path
from storage.spool import Spool
spool = Spool(Path(sys.argv[1]))
with spool.recording(sys.argv[2]):
    spool.write(sys.argv[2], b"x")
    print("written", flush=True)
    time.sleep(60)
"""


def test_a_living_process_is_waited_for_and_a_killed_one_is_not(
    spool: Spool, store: Store, tmp_path: Path
) -> None:
    path = received_path("1.2", "x", "killed")
    command = [sys.executable, "-c", _RECORDER, str(tmp_path / "spool"), path]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as recorder:
        assert recorder.stdout is not None
        assert recorder.stdout.readline() == "written\n"
        while_alive = swept(spool, store)
        recorder.send_signal(signal.SIGKILL)

    assert while_alive == Swept(busy=1)
    assert swept(spool, store).set_aside == 1


def _receive_many(url: str, root: Path, worker: int, count: int) -> None:
    spool = Spool(root)
    with Store.open(url, migrate=False) as store:
        for number in range(count):
            name = f"{worker}.{number}"
            path = received_path("1.2", name, "only")
            with spool.recording(path):
                spool.write(path, name.encode())
                store.record_instance(new_instance(f"1.{name}", name, spool_path=path), 0)


def test_sweeps_beside_busy_receivers_take_nothing(
    spool: Spool, store: Store, database_url: str, tmp_path: Path
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
        taken += swept(spool, store).set_aside
        sweeps += 1
    assert [worker.exitcode for worker in workers] == [0, 0]
    assert sweeps > 1
    assert taken == 0
    assert len(in_area(spool, RECEIVED)) == 2 * count
    assert store.unnamed(in_area(spool, RECEIVED)) == ()


def test_files_come_in_batches_of_one_folder(spool: Spool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(spool_module, "_BATCH", 3)
    for folder in ("aa", "bb"):
        for number in range(4):
            spool.write(f"{RECEIVED}/{folder}/{number}", b"x")

    batches = list(spool.listed(RECEIVED))

    assert [len(batch) for batch in batches] == [3, 1, 3, 1]
    folders = [{Path(path).parent.name for path in batch} for batch in batches]
    assert folders == [{"aa"}, {"aa"}, {"bb"}, {"bb"}]
    assert list(spool.listed(OBJECTS)) == []


def test_a_sweep_that_is_told_to_stop_stops(spool: Spool, store: Store) -> None:
    for number in range(3):
        leave(spool, f"left-{number}")

    assert Sweep(spool, store, lock_of(spool), lambda _: True).run().set_aside == 1


def test_a_file_that_its_writer_takes_back_stops_no_sweep(
    spool: Spool, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    gone, left = leave(spool, "gone"), leave(spool, "left")
    unnamed = store.unnamed

    def look(paths: tuple[str, ...], *, settled: bool = False) -> tuple[str, ...]:
        found = unnamed(paths, settled=settled)
        if settled:
            spool.delete(gone)
        return found

    monkeypatch.setattr(store, "unnamed", look)
    assert swept(spool, store) == Swept(set_aside=1, waiting=1)
    assert [Path(path).name for path in in_area(spool, LOST_AND_FOUND)] == [Path(left).name]


def test_of_what_was_set_aside_a_file_that_is_gone_or_unreadable_hinders_no_other(
    spool: Spool, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    names = ("gone", "unreadable", "again")
    gone, unreadable, _ = (f"{LOST_AND_FOUND}/{Path(leave(spool, one)).name}" for one in names)
    assert swept(spool, store).set_aside == 3
    keep(spool, store, "again")
    digest = spool.digest

    def read(path: str) -> str:
        if path == gone:
            spool.delete(gone)
        if path == unreadable:
            with os_errors_named(spool.path(path)):
                raise PermissionError
        return digest(path)

    monkeypatch.setattr(spool, "digest", read)
    assert swept(spool, store) == Swept(kept_elsewhere=1, waiting=1)


def test_a_batch_that_fails_is_told_and_the_next_ones_are_swept(
    spool: Spool, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    left = [leave(spool, f"left-{number}") for number in range(5)]
    unnamed = store.unnamed
    asked: list[str] = []

    def look(paths: tuple[str, ...], *, settled: bool = False) -> tuple[str, ...]:
        asked.extend(paths)
        if len(asked) == len(paths):
            raise StoreUnavailableError("no answer")
        return unnamed(paths, settled=settled)

    monkeypatch.setattr(store, "unnamed", look)
    done = swept(spool, store)
    assert (done.batches_failed, done.failure) == (1, "no answer")
    assert 0 < done.set_aside < len(left)


def test_nothing_is_deleted_while_a_backup_is_made(
    spool: Spool, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sweep_module, "_TRIES", 2)
    path = object_path("2.1", b"object")
    leave(spool, "again")
    swept(spool, store)
    spool.write(path, b"object")
    keep(spool, store, "again")
    with turn(lock_of(spool)) as mine:
        assert mine
        assert swept(spool, store) == Swept(busy=1, waiting=1)
    assert swept(spool, store) == Swept(unnamed=1, kept_elsewhere=1)
