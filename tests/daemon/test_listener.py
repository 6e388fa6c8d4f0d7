"""Reception: success is answered only for what is kept, and a refusal leaves nothing behind."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from daemon.listener import Reception
from dicom_io.header import read_header
from dicom_io.node import ReceivedInstance, StoreStatus
from storage.errors import StorageError, StoreUnavailableError
from storage.spool import Spool
from storage.store import Store
from tests.daemon.running import SENDER, film


@dataclass(frozen=True)
class Room:
    """A spool and a store in one folder."""

    folder: Path
    spool: Spool
    store: Store

    @property
    def files(self) -> list[Path]:
        return [path for path in (self.folder / "spool").rglob("*") if path.is_file()]


@pytest.fixture
def room(tmp_path: Path) -> Iterator[Room]:
    with Store.open(f"sqlite:///{tmp_path / 'store.sqlite'}", migrate=True) as store:
        yield Room(tmp_path, Spool(tmp_path / "spool"), store)


def received(data: bytes) -> ReceivedInstance:
    header = read_header(data)
    return ReceivedInstance(
        data=data,
        sop_class_uid=header.sop_class_uid,
        sop_instance_uid=header.sop_instance_uid,
        transfer_syntax_uid=header.transfer_syntax_uid,
        calling_ae_title=SENDER,
        calling_host="127.0.0.1",
        header=header,
    )


def test_success_means_file_row_and_jobs(room: Room) -> None:
    image = film("kept")
    assert Reception(room.spool, room.store, 30).receive(received(image)) is StoreStatus.SUCCESS
    instance = room.store.results.instance(1)
    assert room.spool.read(instance.spool_path) == image
    assert sorted(job.kind for job in room.store.jobs.list()) == ["analyse", "report"]


@pytest.mark.parametrize("damage", ["missing", "altered"])
def test_sending_again_mends_what_was_damaged(room: Room, damage: str) -> None:
    image = film("damaged")
    reception = Reception(room.spool, room.store, 30)
    reception.receive(received(image))
    path = room.store.results.instance(1).spool_path
    if damage == "missing":
        room.spool.delete(path)
    else:
        room.spool.write(path, b"other bytes")
    assert reception.receive(received(image)) is StoreStatus.SUCCESS
    assert room.spool.read(path) == image
    assert len(room.files) == 1


def test_duplicate_is_acknowledged_and_kept_once(room: Room) -> None:
    reception = Reception(room.spool, room.store, 30)
    for _ in range(3):
        assert reception.receive(received(film("again"))) is StoreStatus.SUCCESS
    assert len(room.files) == 1
    assert len(room.store.jobs.list()) == 2


def test_full_disk_is_answered_with_out_of_resources(room: Room) -> None:
    spool = Spool(room.folder / "spool", min_free_bytes=2**62)
    status = Reception(spool, room.store, 30).receive(received(film("full")))
    assert status is StoreStatus.OUT_OF_RESOURCES
    assert room.files == []
    assert room.store.jobs.list() == ()


def test_failed_transaction_takes_the_file_back(
    room: Room, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object) -> None:
        raise StoreUnavailableError("the database is locked")

    monkeypatch.setattr(room.store, "record_instance", fail)
    status = Reception(room.spool, room.store, 30).receive(received(film("locked")))
    assert status is StoreStatus.OUT_OF_RESOURCES
    assert room.files == []


def test_file_stays_when_nobody_can_say_whether_the_row_was_written(
    room: Room, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object, **_options: object) -> None:
        raise StorageError("the answer to COMMIT was lost")

    monkeypatch.setattr(room.store, "record_instance", fail)
    monkeypatch.setattr(room.store, "unnamed", fail)
    status = Reception(room.spool, room.store, 30).receive(received(film("unknown")))
    assert status is StoreStatus.OUT_OF_RESOURCES
    assert len(room.files) == 1
