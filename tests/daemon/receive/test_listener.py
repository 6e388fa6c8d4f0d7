"""Reception: SUCCESS means that an instance is stored; a refused instance leaves no file."""

import errno
import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from daemon.config.peers import PeerConfig
from daemon.config.routing import source_of_caller
from daemon.receive.reception import Reception
from dicom_io.objects.encode import to_bytes
from dicom_io.read.header import read_dataset
from dicom_io.receive.store_request import StoreStatus
from storage.errors import StorageError, StoreUnavailableError
from storage.files.folder_spool import FolderSpool
from storage.files.marker import MARKER_NAME
from storage.store import Store
from tests.builders.images.films import film, received
from tests.builders.stores.new import new_store
from tests.tools.ports import SENDER


@dataclass(frozen=True)
class Room:
    """A spool and a store in one folder."""

    folder: Path
    spool: FolderSpool
    store: Store

    @property
    def files(self) -> list[Path]:
        found = (self.folder / "spool").rglob("*")
        return [path for path in found if path.is_file() and path.name != MARKER_NAME]


@pytest.fixture
def room(tmp_path: Path) -> Iterator[Room]:
    with new_store(tmp_path / "store.sqlite") as store:
        yield Room(tmp_path, FolderSpool(tmp_path / "spool"), store)


def test_success_means_file_row_and_jobs(room: Room) -> None:
    image = film("kept")
    assert Reception(room.spool, room.store, 30).receive(received(image)) is StoreStatus.SUCCESS
    instance = room.store.results.instance(1)
    assert room.spool.read(instance.spool_path, instance.sha256) == image
    assert sorted(job.kind for job in room.store.jobs.list()) == ["analyse", "report"]


def test_an_object_belongs_to_the_source_of_its_sender(room: Room) -> None:
    """Two peers may share an AE title; the address tells them apart."""
    peers = (
        PeerConfig(name="north", ae_title=SENDER, host="127.0.0.1", sends=True),
        PeerConfig(name="south", ae_title=SENDER, host="127.0.0.2", sends=True, source="hospital"),
    )
    reception = Reception(room.spool, room.store, 30, partial(source_of_caller, peers))
    sent = received(film("shared"))
    for host in ("127.0.0.1", "127.0.0.2"):
        answer = reception.receive(replace(sent, calling_host=host))
        assert answer is StoreStatus.SUCCESS
    found = [room.store.results.instance(number) for number in (1, 2)]
    assert [(item.source, item.revision) for item in found] == [("north", 1), ("hospital", 1)]
    assert found[0].patient_name == sent.header.patient_name != ""
    assert found[0].view_position == sent.header.view_position == "PA"

    stranger = replace(sent, calling_host="127.0.0.3")
    assert reception.receive(stranger) is StoreStatus.OUT_OF_RESOURCES


def test_a_film_taken_back_by_its_sender_keeps_its_one_file(room: Room) -> None:
    reception = Reception(room.spool, room.store, 30)
    first, other = film("first"), read_dataset(film("first"))
    other.PatientID = "ANOTHER"
    for data in (first, to_bytes(other), first):
        assert reception.receive(received(data)) is StoreStatus.SUCCESS
    assert room.store.results.instance(1).revision == 3
    assert len(room.files) == 2


@pytest.mark.parametrize("damage", ["missing", "altered"])
def test_a_second_copy_restores_a_damaged_file(room: Room, damage: str) -> None:
    image = film("damaged")
    reception = Reception(room.spool, room.store, 30)
    reception.receive(received(image))
    instance = room.store.results.instance(1)
    path = instance.spool_path
    if damage == "missing":
        room.spool.delete(path)
    else:
        room.spool.write(path, b"other bytes")
    assert reception.receive(received(image)) is StoreStatus.SUCCESS
    assert room.spool.read(path, instance.sha256) == image
    assert len(room.files) == 1


def test_a_duplicate_is_acknowledged_and_stored_once(room: Room) -> None:
    reception = Reception(room.spool, room.store, 30)
    for _ in range(3):
        assert reception.receive(received(film("again"))) is StoreStatus.SUCCESS
    assert len(room.files) == 1
    assert len(room.store.jobs.list()) == 2


def test_full_disk_is_answered_with_out_of_resources(room: Room) -> None:
    spool = FolderSpool(room.folder / "spool", min_free_bytes=2**62)
    status = Reception(spool, room.store, 30).receive(received(film("full")))
    assert status is StoreStatus.OUT_OF_RESOURCES
    assert room.files == []
    assert room.store.jobs.list() == ()


def test_an_unmounted_spool_is_answered_with_out_of_resources_and_not_created(
    room: Room,
) -> None:
    reception = Reception(FolderSpool(room.folder / "spool", create=False), room.store, 30)
    assert reception.receive(received(film("before"))) is StoreStatus.SUCCESS
    (room.folder / "spool").rename(room.folder / "away")
    status = reception.receive(received(film("meanwhile")))
    assert status is StoreStatus.OUT_OF_RESOURCES
    assert not (room.folder / "spool").exists()
    (room.folder / "away").rename(room.folder / "spool")
    assert reception.receive(received(film("meanwhile"))) is StoreStatus.SUCCESS
    assert len(room.files) == 2


@pytest.mark.parametrize("is_replaced", [False, True])
def test_a_store_that_was_deleted_under_the_listener_acknowledges_nothing(
    room: Room, caplog: pytest.LogCaptureFixture, is_replaced: bool
) -> None:
    reception = Reception(room.spool, room.store, 30)
    assert reception.receive(received(film("before"))) is StoreStatus.SUCCESS
    for path in room.folder.glob("store.sqlite*"):
        path.unlink()
    if is_replaced:
        new_store(room.folder / "store.sqlite").close()
    for image in (film("after"), film("before")):
        assert reception.receive(received(image)) is StoreStatus.OUT_OF_RESOURCES
    assert "was deleted or replaced while it is in use: stop the daemon" in caplog.text
    assert len(room.files) == 1


def test_a_failed_transaction_deletes_the_file(room: Room, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object) -> None:
        raise StoreUnavailableError("the database is locked")

    monkeypatch.setattr(room.store, "record_instance", fail)
    status = Reception(room.spool, room.store, 30).receive(received(film("locked")))
    assert status is StoreStatus.OUT_OF_RESOURCES
    assert room.files == []


def test_the_file_stays_if_the_commit_may_have_succeeded(
    room: Room, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object, **_options: object) -> None:
        raise StorageError("the answer to COMMIT was lost")

    monkeypatch.setattr(room.store, "record_instance", fail)
    monkeypatch.setattr(room.store, "unreferenced", fail)
    status = Reception(room.spool, room.store, 30).receive(received(film("unknown")))
    assert status is StoreStatus.OUT_OF_RESOURCES
    assert len(room.files) == 1


def fail_once(monkeypatch: pytest.MonkeyPatch, code: int, matches: Callable[[Path], bool]) -> None:
    """Make the first fsync of a matching path fail. The next one succeeds, as Linux does."""
    real = os.fsync
    failed: list[Path] = []

    def fsync(descriptor: int) -> None:
        path = Path(f"/proc/self/fd/{descriptor}").readlink()
        if matches(path) and not failed:
            failed.append(path)
            raise OSError(code, os.strerror(code))
        real(descriptor)

    monkeypatch.setattr(os, "fsync", fsync)


def is_unfinished_file(path: Path) -> bool:
    return path.suffix == ".part"


def is_folder_of_a_finished_file(path: Path) -> bool:
    return path.is_dir() and "received" in path.parts and any(path.glob("*.dcm"))


@pytest.mark.parametrize("code", [errno.EIO, errno.ENOSPC])
@pytest.mark.parametrize("matches", [is_unfinished_file, is_folder_of_a_finished_file])
def test_an_instance_that_was_not_synced_is_refused_and_written_again(
    room: Room, monkeypatch: pytest.MonkeyPatch, code: int, matches: Callable[[Path], bool]
) -> None:
    fail_once(monkeypatch, code, matches)
    reception = Reception(room.spool, room.store, 30)
    image = film("unsynced")

    assert reception.receive(received(image)) is StoreStatus.OUT_OF_RESOURCES
    assert (room.files, room.store.jobs.list()) == ([], ())
    assert reception.receive(received(image)) is StoreStatus.SUCCESS
    assert [path.read_bytes() for path in room.files] == [image]


def test_an_unreadable_first_copy_is_replaced(room: Room, monkeypatch: pytest.MonkeyPatch) -> None:
    image = film("bad sector")
    reception = Reception(room.spool, room.store, 30)
    reception.receive(received(image))
    path = room.spool.path(room.store.results.instance(1).spool_path)
    unreadable = path.stat().st_ino
    real = Path.open

    def read(self: Path, *arguments: Any, **options: Any) -> Any:
        if self == path and path.stat().st_ino == unreadable:
            raise OSError(errno.EIO, os.strerror(errno.EIO))
        return real(self, *arguments, **options)

    monkeypatch.setattr(Path, "open", read)
    assert reception.receive(received(image)) is StoreStatus.SUCCESS
    assert path.read_bytes() == image
    assert room.files == [path]
