"""Real damage: it is found before anything is written, named, and nothing is made worse."""

import contextlib
import os
import shutil
import sqlite3
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from storage.errors import IntegrityError, SpoolUnavailableError, StorageError
from storage.files.spool import MARKER, Spool
from storage.store import Store
from storage.upkeep.integrity import check_sqlite, require_sound
from tests.builders.store_rows import new_instance

ROWS = 300


@pytest.fixture
def house(tmp_path: Path) -> Path:
    """A folder with a store of some size and a spool, as a killed daemon leaves them."""
    folder = tmp_path / "data"
    spool = Spool(folder / "spool")
    with Store.open(f"sqlite:///{folder}/cxrd.sqlite", migrate=True) as store:
        for number in range(ROWS):
            stored = spool.write(f"received/{number % 5}/{number}.dcm", b"%d" % number)
            store.record_instance(
                new_instance(f"1.{number}", str(number), spool_path=stored.path, size=stored.size),
                0,
            )
        # Copied while open: with the write-ahead log that closing would remove.
        shutil.copytree(folder, tmp_path / "killed")
    return tmp_path / "killed"


def sound(folder: Path) -> None:
    require_sound(f"sqlite:///{folder}/cxrd.sqlite", folder / "spool")


def contents(folder: Path) -> dict[str, bytes]:
    """Everything in the folder but SQLite's shared memory, which holds no data."""
    return {
        path.name: path.read_bytes()
        for path in folder.iterdir()
        if path.is_file() and not path.name.endswith("-shm")
    }


def test_a_store_that_was_killed_is_sound_and_is_not_touched(house: Path) -> None:
    assert (house / "cxrd.sqlite-wal").stat().st_size > 0
    before = contents(house)
    sound(house)
    assert contents(house) == before


def test_a_store_that_is_not_there_yet_is_sound(tmp_path: Path) -> None:
    require_sound(f"sqlite:///{tmp_path}/none.sqlite", tmp_path / "spool")
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
    """As a daemon leaves it that goes on: the next connection makes a new file."""
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
        overwrite_header,
        empty,
        remove,
        remove_while_in_use,
        make_a_folder,
    ],
)
def test_a_damaged_store_is_refused_in_one_line_and_left_as_it_is(
    house: Path, damage: Callable[[Path], None]
) -> None:
    damage(house / "cxrd.sqlite")
    before = contents(house)

    with pytest.raises(IntegrityError, match="restore a backup") as caught:
        sound(house)

    assert "\n" not in str(caught.value)
    assert str(house / "cxrd.sqlite") in str(caught.value)
    assert contents(house) == before


def test_a_store_whose_log_was_deleted_opens_with_what_is_left(house: Path) -> None:
    for name in ("cxrd.sqlite-wal", "cxrd.sqlite-shm"):
        (house / name).unlink(missing_ok=True)
    try:
        sound(house)
    except IntegrityError as error:
        assert "restore a backup" in str(error)  # noqa: PT017 - either is right
        return
    with Store.open(f"sqlite:///{house}/cxrd.sqlite", migrate=True) as store:
        assert len(list(store.export.rows())) <= ROWS


def test_a_check_that_takes_too_long_is_ended(house: Path) -> None:
    settle_log(house / "cxrd.sqlite")
    assert check_sqlite(house / "cxrd.sqlite", seconds=60)
    assert not check_sqlite(house / "cxrd.sqlite", seconds=-1)


def test_an_empty_server_with_images_in_the_spool_is_refused(
    database_url: str, tmp_path: Path
) -> None:
    if database_url.startswith("sqlite"):
        pytest.skip("for PostgreSQL")
    require_sound(database_url, tmp_path / "spool")
    Spool(tmp_path / "spool").write("received/aa/aa.dcm", b"pixels")
    with pytest.raises(StorageError, match="restore a backup"):
        require_sound(database_url, tmp_path / "spool")
    Store.open(database_url, migrate=True).close()
    require_sound(database_url, tmp_path / "spool")


@pytest.mark.parametrize("read", [True, False])
def test_files_that_are_gone_or_altered_are_named_by_number(
    house: Path, read: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("storage.upkeep.integrity._PAGE_ROWS", 7)
    spool = Spool(house / "spool")
    spool.delete("received/1/1.dcm")
    spool.path("received/2/2.dcm").write_bytes(b"longer")
    spool.path("received/3/3.dcm").write_bytes(b"4")
    with Store.open(f"sqlite:///{house}/cxrd.sqlite", migrate=False) as store:
        found = [str(fault) for fault in store.integrity.faults(spool, read=read)]

    assert [line.split(":")[0] for line in found] == [
        "instance 2",
        "instance 3",
        *(["instance 4"] if read else []),
    ]
    assert "is missing: have it sent again" in found[0]
    assert ("has changed" if read else "6 bytes instead of 1") in found[1]


@contextlib.contextmanager
def opened(house: Path) -> Iterator[Store]:
    with Store.open(f"sqlite:///{house}/cxrd.sqlite", migrate=False) as store:
        yield store


def test_a_spool_that_is_away_is_not_taken_for_one_without_its_files(house: Path) -> None:
    spool = Spool(house / "spool")
    (house / "spool").rename(house / "away")
    with opened(house) as store:
        for read in (True, False):
            with pytest.raises(SpoolUnavailableError, match="mount its volume"):
                next(store.integrity.faults(spool, read=read))


@pytest.mark.parametrize("mount_point", [False, True])
def test_a_store_without_its_spool_is_refused(house: Path, mount_point: bool) -> None:
    root = house / "spool"
    root.rename(house / "away")
    if mount_point:
        (root / "tmp").mkdir(parents=True)
    with opened(house) as store:
        with pytest.raises(IntegrityError, match="Mount its volume, or restore") as caught:
            store.integrity.require_spool(root)
        assert "\n" not in str(caught.value)
        assert root.exists() is mount_point
        root.mkdir(exist_ok=True)
        (root / MARKER).touch()
        store.integrity.require_spool(root)


def test_a_spool_of_a_version_that_did_not_mark_it_is_known_by_one_file(
    house: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("storage.upkeep.integrity._PAGE_ROWS", 7)
    root = house / "spool"
    (root / MARKER).unlink()
    for number in range(ROWS - 1):
        (root / f"received/{number % 5}/{number}.dcm").unlink()
    with opened(house) as store:
        store.integrity.require_spool(root)
        (root / f"received/{(ROWS - 1) % 5}/{ROWS - 1}.dcm").unlink()
        with pytest.raises(IntegrityError):
            store.integrity.require_spool(root)


def test_a_store_that_names_no_file_needs_no_spool(store: Store, tmp_path: Path) -> None:
    store.integrity.require_spool(tmp_path / "spool")
    assert not (tmp_path / "spool").exists()
