"""The checks find real damage before the first write, name it, and change no file."""

import contextlib
import os
import shutil
import sqlite3
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from storage.errors import IntegrityError, SpoolUnavailableError, StorageError
from storage.files.folder_spool import FolderSpool
from storage.files.places import open_spool
from storage.store import Store
from storage.tables.database import open_database
from storage.upkeep.integrity import PAGE_ROWS, Integrity, check_sqlite, check_store
from tests.builders.store_rows import new_instance
from tests.builders.stores.new import new_store

ROWS = 300


@pytest.fixture
def house(tmp_path: Path) -> Path:
    """Return a folder with a store and a spool, as a killed daemon leaves them."""
    folder = tmp_path / "data"
    spool = FolderSpool(folder / "spool")
    with new_store(folder / "cxrd.sqlite") as store:
        for number in range(ROWS):
            stored = spool.write(f"received/{number % 5}/{number}.dcm", b"%d" % number)
            store.record_instance(
                new_instance(f"1.{number}", str(number), spool_path=stored.path, size=stored.size),
                0,
            )
        # Copied while open, with the write-ahead log that closing would remove.
        shutil.copytree(folder, tmp_path / "killed")
    return tmp_path / "killed"


def check(folder: Path) -> None:
    check_store(f"sqlite:///{folder}/cxrd.sqlite", open_spool(folder / "spool"))


def contents(folder: Path) -> dict[str, bytes]:
    """Return the files of a folder, without SQLite's shared memory, which holds no data."""
    return {
        path.name: path.read_bytes()
        for path in folder.iterdir()
        if path.is_file() and not path.name.endswith("-shm")
    }


def test_the_store_of_a_killed_daemon_passes_and_is_unchanged(house: Path) -> None:
    assert (house / "cxrd.sqlite-wal").stat().st_size > 0
    before = contents(house)
    check(house)
    assert contents(house) == before


def test_a_new_store_passes(tmp_path: Path) -> None:
    check_store(f"sqlite:///{tmp_path}/none.sqlite", open_spool(tmp_path / "spool"))
    assert list(tmp_path.iterdir()) == []


def settle_log(store: Path) -> None:
    """Move the write-ahead log into the store."""
    with contextlib.closing(sqlite3.connect(store)) as database:
        database.execute("PRAGMA wal_checkpoint(TRUNCATE)")


def flip_bytes(store: Path) -> None:
    settle_log(store)
    with store.open("r+b") as file:
        for page in range(4, 12):
            file.seek(page * 4096)
            file.write(os.urandom(64))


def truncate(store: Path) -> None:
    settle_log(store)
    os.truncate(store, store.stat().st_size // 2)


def overwrite_header(store: Path) -> None:
    settle_log(store)
    with store.open("r+b") as file:
        file.write(b"\xff" * 100)


def empty(store: Path) -> None:
    settle_log(store)
    os.truncate(store, 0)


def remove(store: Path) -> None:
    settle_log(store)
    store.unlink()


def remove_while_in_use(store: Path) -> None:
    """Delete the store of a running daemon, whose next connection makes a new file."""
    remove(store)
    with contextlib.closing(sqlite3.connect(store)) as database:
        database.execute("PRAGMA journal_mode = WAL")
    assert store.stat().st_size > 0


def make_a_folder(store: Path) -> None:
    remove(store)
    store.mkdir()


@pytest.mark.parametrize(
    "damage",
    [
        flip_bytes,
        truncate,
        remove,
        *(
            pytest.param(damage, marks=pytest.mark.slow)
            for damage in (overwrite_header, empty, remove_while_in_use, make_a_folder)
        ),
    ],
)
def test_a_damaged_store_is_refused_on_one_line_and_unchanged(
    house: Path, damage: Callable[[Path], None]
) -> None:
    damage(house / "cxrd.sqlite")
    before = contents(house)

    with pytest.raises(IntegrityError, match="restore a backup") as caught:
        check(house)

    assert "\n" not in str(caught.value)
    assert str(house / "cxrd.sqlite") in str(caught.value)
    assert contents(house) == before


def test_a_store_without_its_log_opens_with_the_remaining_rows(house: Path) -> None:
    for name in ("cxrd.sqlite-wal", "cxrd.sqlite-shm"):
        (house / name).unlink(missing_ok=True)
    try:
        check(house)
    except IntegrityError as error:
        assert "restore a backup" in str(error)  # noqa: PT017 - both outcomes are correct
        return
    with Store.open(f"sqlite:///{house}/cxrd.sqlite", migrate=True) as store:
        assert len(list(store.export.rows())) <= ROWS


def test_a_check_ends_at_its_time_limit(house: Path) -> None:
    settle_log(house / "cxrd.sqlite")
    assert check_sqlite(house / "cxrd.sqlite", seconds=60)
    assert not check_sqlite(house / "cxrd.sqlite", seconds=-1)


def test_an_empty_database_is_refused_if_the_spool_has_images(
    database_url: str, tmp_path: Path
) -> None:
    if database_url.startswith("sqlite"):
        pytest.skip("for PostgreSQL")
    check_store(database_url, open_spool(tmp_path / "spool"))
    FolderSpool(tmp_path / "spool").write("received/aa/aa.dcm", b"pixels")
    with pytest.raises(StorageError, match="restore a backup"):
        check_store(database_url, open_spool(tmp_path / "spool"))
    Store.open(database_url, migrate=True).close()
    check_store(database_url, open_spool(tmp_path / "spool"))


@contextlib.contextmanager
def integrity_of(house: Path, page_rows: int = PAGE_ROWS) -> Iterator[Integrity]:
    with open_database(f"sqlite:///{house}/cxrd.sqlite") as database:
        yield Integrity(database, page_rows)


@pytest.mark.parametrize("read", [True, False])
def test_missing_and_altered_files_are_named_by_number(house: Path, read: bool) -> None:
    spool = FolderSpool(house / "spool")
    spool.delete("received/1/1.dcm")
    spool.path("received/2/2.dcm").write_bytes(b"longer")
    spool.path("received/3/3.dcm").write_bytes(b"4")
    with integrity_of(house, page_rows=7) as integrity:
        found = [str(fault) for fault in integrity.faults(spool, read=read)]

    assert [line.split(":")[0] for line in found] == [
        "instance 2",
        "instance 3",
        *(["instance 4"] if read else []),
    ]
    assert "is missing: have it sent again" in found[0]
    assert ("has changed" if read else "6 bytes instead of 1") in found[1]


def test_an_unmounted_spool_has_no_missing_files(house: Path) -> None:
    spool = FolderSpool(house / "spool")
    (house / "spool").rename(house / "away")
    with integrity_of(house) as integrity:
        for read in (True, False):
            with pytest.raises(SpoolUnavailableError, match="mount its volume"):
                next(integrity.faults(spool, read=read))
