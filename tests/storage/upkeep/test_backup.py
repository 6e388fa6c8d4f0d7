"""A backup holds a snapshot of the store and every file it names, or does not exist."""

import contextlib
import json
import os
import resource
import shutil
import sqlite3
import subprocess
import threading
import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from storage.errors import IntegrityError, StorageError, StoreUnavailableError
from storage.files.folder_spool import FolderSpool
from storage.files.marker import MARKER_NAME
from storage.hosts.leases import LeaseName
from storage.records import JobKind
from storage.store import Store
from storage.tables.database import open_database
from storage.upkeep import backup
from storage.upkeep.backup import WAIT_SECONDS, BackupSummary, back_up, check_backup
from tests.builders.store_rows import claim, new_instance
from tests.servers.postgresql_server import own_database, with_idle_limit

NOW = datetime(2026, 3, 1, 12, 0, tzinfo=UTC)


class House:
    """A store and a spool in a folder, and a folder for their backups."""

    def __init__(self, folder: Path, url: str) -> None:
        self.url = url
        self.spool = FolderSpool(folder / "data" / "spool")
        self.into = folder / "backups"
        self._store = Store.open(url, migrate=True)
        self.leases = self._store.leases

    def receive(self, number: int) -> None:
        data = f"pixels {number}".encode()
        stored = self.spool.write(f"received/{number % 7}/{number}.dcm", data)
        instance = new_instance(
            f"1.{number}",
            data.decode(),
            study_instance_uid=f"2.{number}",
            spool_path=stored.path,
            size=stored.size,
        )
        self._store.record_instance(instance, 0)

    def back_up(
        self, hours: float = 0, wait_seconds: float = WAIT_SECONDS
    ) -> tuple[Path, BackupSummary]:
        now = NOW + timedelta(hours=hours)
        return back_up(self.url, self.spool, self.into, self.leases, now, wait_seconds=wait_seconds)

    def purge(self) -> int:
        while job := self._store.jobs.claim([JobKind.ANALYSE], "me", timedelta(seconds=9)):
            self._store.results.record_refusal(job, int(job.subject), "NOT_CHEST", "")
        while job := self._store.jobs.claim([JobKind.REPORT], "me", timedelta(seconds=9)):
            self._store.jobs.finish(job)
        future = datetime.now(UTC) + timedelta(days=1)
        return len(list(self._store.retention.purge(self.spool, future, ())))

    def close(self) -> None:
        self._store.close()


@pytest.fixture
def house(tmp_path: Path, database_url: str) -> Iterator[House]:
    if database_url.startswith("postgresql") and shutil.which("pg_dump") is None:
        pytest.skip("pg_dump is not installed")
    with contextlib.closing(House(tmp_path, database_url)) as made:
        yield made


@pytest.fixture
def sqlite_house(tmp_path: Path) -> Iterator[House]:
    url = f"sqlite:///{tmp_path}/data/cxrd.sqlite"
    with contextlib.closing(House(tmp_path, url)) as made:
        yield made


def test_a_backup_holds_and_lists_every_file(house: House) -> None:
    for number in range(5):
        house.receive(number)

    folder, summary = house.back_up()

    assert folder.name == "cxrd-20260301T120000Z"
    assert (summary.files, summary.linked, summary.damaged) == (5, 0, ())
    assert check_backup(folder) == (6, ())
    assert (
        subprocess.run(
            ["sha256sum", "--check", "--quiet", "SHA256SUMS"], cwd=folder, check=False
        ).returncode
        == 0
    )
    modes = {path.stat().st_mode & 0o777 for path in folder.rglob("*") if path.is_file()}
    assert modes == {0o600}
    assert [path.name for path in house.into.glob("cxrd-*")] == [folder.name]


def test_the_next_backup_copies_only_new_files(house: House) -> None:
    house.receive(1)
    first, _ = house.back_up()
    house.receive(2)

    second, summary = house.back_up(hours=1)

    assert (summary.files, summary.linked) == (2, 1)
    assert check_backup(second) == (3, ())
    shutil.rmtree(first)
    assert check_backup(second) == (3, ())


def test_purged_files_are_not_backed_up(house: House) -> None:
    house.receive(1)
    assert house.purge() == 1
    house.receive(2)
    folder, summary = house.back_up()
    assert summary.files == 1
    assert check_backup(folder) == (2, ())


def test_a_backup_during_reception_is_complete(house: House) -> None:
    stop = threading.Event()
    received: list[int] = []

    def receive() -> None:
        while not stop.is_set():
            house.receive(len(received))
            received.append(1)

    sender = threading.Thread(target=receive)
    sender.start()
    try:
        backups = []
        for hours in range(4):
            before = len(received)
            while len(received) == before:
                time.sleep(0.01)
            folder, summary = house.back_up(hours)
            assert before <= summary.files <= len(received) + 1
            backups.append((folder, summary))
    finally:
        stop.set()
        sender.join()
    for folder, summary in backups:
        assert check_backup(folder) == (summary.files + 1, ())
    assert backups[-1][1].files > backups[0][1].files > 0


def test_damaged_and_missing_files_are_named_and_left_out(house: House) -> None:
    for number in range(4):
        house.receive(number)
    house.spool.path("received/1/1.dcm").write_bytes(b"altered")
    house.spool.delete("received/2/2.dcm")

    folder, summary = house.back_up()

    assert summary.damaged == ("instance 2", "instance 3")
    good, wrong = check_backup(folder)
    assert good == 3
    assert wrong == tuple(
        f"left out when it was made: {owner}" for owner in ("instance 2", "instance 3")
    )


def test_a_failed_backup_leaves_no_folder(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    house.receive(1)

    def fail(*_: object) -> None:
        raise OSError(28, os.strerror(28))

    with monkeypatch.context() as full_disk:
        full_disk.setattr(os, "fsync", fail)
        with pytest.raises(StorageError, match="no space left"):
            house.back_up()
    assert list(house.into.glob("cxrd-*")) == []


def test_a_backup_of_a_new_store_has_a_spool(house: House) -> None:
    folder, summary = house.back_up()
    assert summary.files == 0
    assert list((folder / "spool").iterdir()) == [folder / "spool" / MARKER_NAME]
    assert check_backup(folder) == (1, ())


def test_only_abandoned_backups_are_removed(house: House) -> None:
    house.receive(1)
    download = house.into / "download.part" / "precious"
    download.parent.mkdir(parents=True)
    download.write_text("x")
    for name in ("cxrd-notes.part", "cxrd-20260301T110000Z.part"):
        (house.into / name).write_text("x")

    house.back_up()

    assert download.exists()
    assert len(list(house.into.glob("*.part"))) == 3


def test_an_abandoned_backup_that_cannot_be_removed_is_reported_on_one_line(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    house.receive(1)
    (house.into / "cxrd-20260301T110000Z.part").mkdir(parents=True)

    def refuse(*_: object, **__: object) -> None:
        raise PermissionError(13, os.strerror(13))

    monkeypatch.setattr(shutil, "rmtree", refuse)
    with pytest.raises(StorageError, match="Permission denied"):
        house.back_up()


def test_an_unreadable_file_is_named_and_left_out(house: House) -> None:
    for number in range(3):
        house.receive(number)
    unreadable = house.spool.path("received/1/1.dcm")
    unreadable.unlink()
    unreadable.mkdir()

    folder, summary = house.back_up()

    assert summary.damaged == ("instance 2",)
    good, wrong = check_backup(folder)
    assert (good, wrong) == (3, ("left out when it was made: instance 2",))


def test_a_damaged_file_of_a_backup_is_not_linked_into_the_next(house: House) -> None:
    for number in range(3):
        house.receive(number)
    first, _ = house.back_up()
    (first / "spool/received/1/1.dcm").write_bytes(b"rotten")

    second, summary = house.back_up(hours=1)

    assert (summary.files, summary.linked) == (3, 2)
    assert check_backup(second) == (4, ())


def test_a_backup_without_its_list_does_not_prevent_the_next(house: House) -> None:
    house.receive(1)
    first, _ = house.back_up()
    (first / "SHA256SUMS").unlink()

    second, summary = house.back_up(hours=1)

    assert summary.linked == 0
    assert check_backup(second) == (2, ())


def test_a_shortened_list_is_detected(house: House) -> None:
    for number in range(2):
        house.receive(number)
    folder, _ = house.back_up()
    sums = folder / "SHA256SUMS"
    sums.write_text("".join(sums.read_text().splitlines(keepends=True)[:-1]))

    _, wrong = check_backup(folder)

    assert "SHA256SUMS lists 1 file(s), of 2 and the store: it was altered" in wrong


def test_an_abandoned_backup_is_removed_and_never_used(house: House) -> None:
    house.receive(1)
    half = house.into / "cxrd-20260301T110000Z.part"
    half.mkdir(parents=True)
    (half / "backup.json").write_text("{}")

    _, summary = house.back_up()

    assert summary.linked == 0
    assert not half.exists()
    with pytest.raises(IntegrityError, match="not a whole backup"):
        check_backup(house.into)


def test_a_backup_waits_for_a_purge(house: House) -> None:
    with (
        house.leases.hold(LeaseName.FILES, 0),
        pytest.raises(StoreUnavailableError, match="try again"),
    ):
        house.back_up(wait_seconds=0.2)
    house.back_up()


def test_a_backup_that_lost_its_lease_is_none(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Another host purged meanwhile: rows of the copied store may name files that are gone."""
    if house.url.startswith("sqlite"):
        pytest.skip("the lock of a file cannot be lost")
    house.receive(1)
    fill = backup._fill

    def filled_while_cut_off(*arguments: Any) -> BackupSummary:
        with open_database(house.url) as database, database.writing() as connection:
            connection.exec_driver_sql("UPDATE leases SET holder = 'another host'")
        return fill(*arguments)

    monkeypatch.setattr(backup, "_fill", filled_while_cut_off)
    with pytest.raises(StoreUnavailableError, match="another host took over the lease"):
        house.back_up()
    assert list(house.into.glob("cxrd-*")) == []


@pytest.mark.parametrize("damage", ["altered", "missing", "store", "row"])
def test_a_damaged_backup_is_detected(sqlite_house: House, damage: str) -> None:
    sqlite_house.receive(1)
    folder, _ = sqlite_house.back_up()
    store, image = folder / "store.sqlite", folder / "spool/received/1/1.dcm"
    if damage == "altered":
        image.write_bytes(b"altered")
    elif damage == "missing":
        image.unlink()
    elif damage == "store":
        store.write_bytes(store.read_bytes()[:5000])
    else:
        sums = folder / "SHA256SUMS"
        sums.write_text(sums.read_text().splitlines()[0] + "\n")
    _, wrong = check_backup(folder)
    assert wrong


def test_without_pg_dump_the_error_names_a_remedy(
    database_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    if database_url.startswith("sqlite"):
        pytest.skip("a SQLite store needs no program")
    monkeypatch.setattr(shutil, "which", lambda _: None)
    with contextlib.closing(House(tmp_path, database_url)) as house:
        with pytest.raises(StorageError, match="pg_dump is not installed"):
            house.back_up()
        assert list(house.into.glob("cxrd-*")) == []


@pytest.mark.network
@pytest.mark.skipif(shutil.which("pg_dump") is None, reason="pg_dump is not installed")
def test_a_dump_may_take_longer_than_a_transaction_may_idle(
    postgresql_socket: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    slow = tmp_path / "pg_dump"
    slow.write_text(f'#!/bin/sh\nsleep 0.6\nexec {shutil.which("pg_dump")} "$@"\n')
    slow.chmod(0o700)
    monkeypatch.setattr(shutil, "which", lambda _: str(slow))
    url = with_idle_limit(own_database(postgresql_socket), 0.2)
    with contextlib.closing(House(tmp_path, url)) as house:
        house.receive(1)
        _, summary = house.back_up()
    assert (summary.store, summary.files) == ("store.pgdump", 1)


def test_a_sqlite_store_is_restored_by_copying(sqlite_house: House, tmp_path: Path) -> None:
    for number in range(3):
        sqlite_house.receive(number)
    folder, _ = sqlite_house.back_up()
    restored = tmp_path / "restored"
    restored.mkdir()
    shutil.copy(folder / "store.sqlite", restored / "cxrd.sqlite")
    shutil.copytree(folder / "spool", restored / "spool")

    spool = FolderSpool(restored / "spool")
    with Store.open(f"sqlite:///{restored}/cxrd.sqlite", migrate=True) as store:
        job = claim(store, JobKind.ANALYSE)
        instance = store.results.instance(int(job.subject))
        spool.verify(instance.spool_path, instance.sha256)
        assert len(store.jobs.list()) == 6
    with contextlib.closing(sqlite3.connect(folder / "store.sqlite")) as copy:
        assert copy.execute("PRAGMA journal_mode").fetchone() == ("delete",)
    assert json.loads((folder / "backup.json").read_text())["store"] == "store.sqlite"


def test_a_postgresql_store_is_restored_by_pg_restore(house: House, database_url: str) -> None:
    if database_url.startswith("sqlite"):
        pytest.skip("for PostgreSQL")
    house.receive(1)
    folder, _ = house.back_up()
    house.receive(2)
    house.close()
    subprocess.run(
        [
            "pg_restore",
            "--clean",
            "--if-exists",
            "--single-transaction",
            f"--dbname={database_url}",
            folder / "store.pgdump",
        ],
        check=True,
    )
    with Store.open(database_url, migrate=False) as store:
        assert len(list(store.export.rows())) == 1


def test_a_store_larger_than_a_file_may_be_is_a_storage_error(house: House) -> None:
    """The error of SQLite's own copy is named like any other."""
    if not house.url.startswith("sqlite"):
        pytest.skip("pg_dump makes the copy of a PostgreSQL store")
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (2**16, hard))
    try:
        with pytest.raises(StorageError, match=r"store\.sqlite: .*: check the disk of the backups"):
            house.back_up()
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert list(house.into.glob("cxrd-*")) == []
